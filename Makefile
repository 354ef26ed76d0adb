# Everything generated goes below .cache/, .venv/, .uv/ or var/.
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
BIN := .venv/bin
DATA := $(or $(TIDEGATE_DATA),var)
STAMP := .cache/environment.stamp
# Content, not times: a checkout or a copy changes every time stamp and no byte.
LOCKED = $$(cat uv.lock pyproject.toml | python3 -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')

VERSION := 0.1.0
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

.PHONY: help setup demo test test-long test-platform bench bench-cluster test-demo-kills lint docs airflow-ui mlflow-ui \
	init image up down ps logs urls backup restore audit clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## Python packages, Java, jars, start-up cache; nothing to do when they match the locks
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "setup: python3 is $$(python3 --version 2>&1); needed: Python 3.11 or later on PATH" >&2; exit 64; }
	@if [ "$$(cat $(STAMP) 2>/dev/null)" != "$(LOCKED) $(CURDIR)" ] || ! $(BIN)/python -c '' 2>/dev/null; then \
	  $(MAKE) .environment; fi
	@PYTHONPATH=. $(BIN)/python -m spark_jobs.runtime.install

.PHONY: .environment .uv-program
.environment: .uv-program
	@echo "setup: Python packages of uv.lock into .venv"
	@uv=$$(command -v uv || echo .uv/bin/uv); \
	  UV_PROJECT_ENVIRONMENT=.venv "$$uv" sync --locked --all-extras --no-extra platform --compile-bytecode --quiet
	@mkdir -p .cache && echo "$(LOCKED) $(CURDIR)" > $(STAMP).part && mv $(STAMP).part $(STAMP)

# uv on PATH, else one of our own: by venv, or by pip alone where Debian's python3-venv is missing.
.uv-program:
	@command -v uv >/dev/null || .uv/bin/uv --version >/dev/null 2>&1 || { \
	  echo "setup: uv $(UV_VERSION) into .uv"; rm -rf .uv; \
	  if python3 -c 'import ensurepip, venv' 2>/dev/null && python3 -m venv .uv; then \
	    .uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	  elif python3 -m pip --version >/dev/null 2>&1; then \
	    python3 -m pip install --quiet --disable-pip-version-check --target .uv uv==$(UV_VERSION); \
	  else \
	    echo "setup: python3 has neither venv nor pip, and uv is not on PATH" >&2; \
	    echo "  do: apt-get install python3-venv (or put uv on PATH: https://docs.astral.sh/uv), then: make setup" >&2; \
	    exit 64; \
	  fi; }

demo: setup ## the whole story on real data: replay, backfill, Airflow, a blocked hour, training, scoring
	@$(BIN)/python demo/run.py

test: lint ## lint, then every test
	@$(BIN)/pytest -n 2 --no-loadscope-reorder --durations=25

test-long: setup ## what takes an hour: a million schedules, a driver killed at every failpoint on a real JVM
	@TIDEGATE_TEST_HEAP_MB=4096 $(BIN)/pytest -m long

bench: setup ## CPU seconds of a year of drops beside DuckDB, and of the gate beside a scan; about ten minutes
	@PYTHONPATH=. $(BIN)/python bench/ingest.py --data $(DATA)/bench
	@PYTHONPATH=. $(BIN)/python bench/gate.py --data $(DATA)/bench

bench-cluster: setup ## a year's backfill on the running platform (make up), with one executor and with two; half an hour
	@PYTHONPATH=. $(BIN)/python bench/cluster.py

test-demo-kills: setup ## the demo killed once in each stage, started again, compared with the last make demo
	@$(BIN)/python tests/faults/kill_demo.py

lint: setup ## ruff, mypy strict, import contracts, spelling, documentation builds
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict spark_jobs
	@MYPYPATH=dags $(BIN)/mypy --strict --explicit-package-bases dags/dag_builder dags/nycflights13.py
	@$(BIN)/lint-imports
	@$(BIN)/codespell
	@$(MAKE) docs

docs: setup ## the documentation as pages, in .cache/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

airflow-ui: setup ## Airflow of the last demo, until Ctrl-C
	@$(BIN)/python demo/airflow_services.py serve --data $(DATA)

mlflow-ui: setup ## MLflow of the last demo, until Ctrl-C, at http://127.0.0.1:5000
	@test -e $(DATA)/mlflow/mlflow.db || { echo "mlflow-ui: no $(DATA)/mlflow/mlflow.db yet; do: make demo" >&2; exit 64; }
	@MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true $(BIN)/mlflow ui --host 127.0.0.1 --port 5000 \
	  --backend-store-uri sqlite:///$(abspath $(DATA)/mlflow/mlflow.db)

init: ## the platform's secrets into .env, mode 0600; what is there stays
	@python3 docker/dot_env.py

# The legacy builder where there is no buildx: it is what compose 1.29 and Debian's docker have.
image: setup
	@docker image inspect debian:bookworm-slim >/dev/null 2>&1 || docker pull -q debian:bookworm-slim
	@DOCKER_BUILDKIT=$$(docker buildx version >/dev/null 2>&1 && echo 1 || echo 0) docker build --quiet \
	  --build-arg UV_VERSION=$(UV_VERSION) \
	  --build-arg CODE_VERSION=$$(git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo $(VERSION)) \
	  --tag tidegate:$(VERSION) --file docker/Dockerfile . >/dev/null

up: init image ## the platform by docker compose: Airflow, Spark master and two workers, MLflow, PostgreSQL, mail sink
	@python3 docker/dot_env.py --check
	@$(COMPOSE) up -d
	@python3 docker/wait.py $(COMPOSE)
	@$(MAKE) urls

down: ## stop the platform; its data stay (docker volume ls), `make down VOLUMES=1` removes them
	@$(COMPOSE) down --remove-orphans $(if $(VOLUMES),--volumes)

ps: ## the platform's containers and their health
	@$(COMPOSE) ps

logs: ## follow the platform's logs
	@$(COMPOSE) logs --follow --tail 100

urls: ## where the platform's pages are, and how to sign in
	@python3 docker/dot_env.py --urls

backup: ## the platform's databases, lake and models into a new folder, mode 0700: make backup TO=dir
	@bash docker/backup.sh "$(TO)" $(COMPOSE)

restore: ## what `make backup` wrote, into a platform that is up and empty: make restore FROM=dir (FORCE=1: over what is there)
	@FORCE="$(FORCE)" bash docker/restore.sh "$(FROM)" $(COMPOSE)

audit: setup .uv-program ## uv.lock against today's advisories (network), or FROM=clone of pypa/advisory-database; docker/advisories.json
	@$(BIN)/python docker/audit.py "$$(command -v uv || echo .uv/bin/uv)" "$(FROM)"

test-platform: setup ## the platform from nothing, tested and taken down again; needs docker and compose (ONLY="story traces": these files)
	@$(BIN)/pytest -m platform -rs --durations=20 $(or $(ONLY:%=tests/platform/test_%.py),tests/platform)

clean: ## remove what runs wrote (var/) and tool caches; keeps .venv, .uv and .cache
	@rm -rf var spark-warehouse metastore_db derby.log .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
