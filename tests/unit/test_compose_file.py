"""docker-compose.yaml and docker/ as files: what may be reached, who holds which secret, what a container may do."""

from __future__ import annotations

import importlib.util
import re
import stat
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "docker-compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
ENDS = {"airflow-init"}  # runs once; it has no health and no restart
HOLDERS = {  # secret -> the services that may have it
    "POSTGRES_PASSWORD": {"postgres"},
    "AIRFLOW_DB_PASSWORD": {"postgres", *(name for name in SERVICES if name.startswith("airflow-"))},
    "AIRFLOW_FERNET_KEY": {name for name in SERVICES if name.startswith("airflow-")},
    "AIRFLOW_ADMIN_PASSWORD": {"airflow-init"},
    "AIRFLOW_API_SECRET_KEY": {"airflow-api"},
    "AIRFLOW_JWT_SECRET": {"airflow-api", "airflow-scheduler"},
    "MLFLOW_DB_PASSWORD": {"postgres", "mlflow"},
    "MLFLOW_ADMIN_PASSWORD": {"mlflow", "airflow-scheduler"},
    "MLFLOW_SECRET_KEY": {"mlflow"},
    "UPSTREAM_DB_PASSWORD": {"postgres", "upstream"},
    "PLANES_PASSWORD": {"postgres", "airflow-scheduler"},
    "SPARK_AUTH_SECRET": {"spark-master", "spark-worker-1", "spark-worker-2", "airflow-scheduler"},
}


@pytest.fixture(scope="module")
def dot_env() -> ModuleType:
    """docker/dot_env.py, which lies outside of any package."""
    spec = importlib.util.spec_from_file_location("dot_env", CHECKOUT / "docker" / "dot_env.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_the_loopback_alone_and_can_be_changed(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-\d+\}:\d+", port)
    assert name != "postgres" or "ports" not in SERVICES[name]
    assert "network_mode" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_no_more_than_it_must(name: str) -> None:
    one = SERVICES[name]
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["read_only"] is True
    assert {"cap_add", "privileged", "pid", "ipc", "devices"}.isdisjoint(one)
    assert one["mem_limit"]
    assert one["pids_limit"] <= 1024
    assert one.get("user") in ("10001:10001", "postgres") or name == "mail-sink"  # its image sets a user
    assert not any("docker.sock" in str(volume) for volume in one.get("volumes", []))
    assert all(volume.endswith(":ro") for volume in one.get("volumes", []) if volume.startswith("."))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_version_a_health_and_its_order(name: str) -> None:
    one = SERVICES[name]
    assert re.fullmatch(r"[a-z0-9/]+:(\d[\w.\-]*|\$\{TIDEGATE_VERSION:-\d[\w.]*\})", one["image"])
    assert ("healthcheck" in one) is (name not in ENDS)
    for condition in one.get("depends_on", {}).values():
        assert condition["condition"] in ("service_healthy", "service_completed_successfully")


@pytest.mark.parametrize("secret", HOLDERS)
def test_a_secret_is_given_to_those_who_need_it_and_nothing_starts_without_it(secret: str) -> None:
    given = {name for name, one in SERVICES.items() if f"${{{secret}:?" in str(one.get("environment", ""))}
    assert given == HOLDERS[secret]
    assert not any(secret in str(one.get(part, "")) for one in SERVICES.values() for part in ("command", "healthcheck"))
    assert set(re.findall(r"\$\{(\w+):\?[^}]*\}", TEXT)) == set(HOLDERS)


def test_no_password_stands_in_the_tree(dot_env: ModuleType) -> None:
    """Every value that a service reads as a secret comes from .env, which git does not see."""
    assert set(dot_env.SECRETS) == set(HOLDERS)
    assert "/.env" in (CHECKOUT / ".gitignore").read_text().splitlines()
    for name, one in SERVICES.items():
        for variable, value in one.get("environment", {}).items():
            if re.search(r"(?i)password|secret|_key|sql_alchemy|_uri", variable):
                assert re.search(r"\$\{\w+:\?run make init\}", value), f"{name}: {variable}"
    for path in (path for path in (CHECKOUT / "docker").iterdir() if path.is_file()):
        assert not re.search(r"(?i)password['\"]?\s*[:=]\s*['\"][a-z0-9]", path.read_text()), path.name


def test_init_writes_secrets_that_only_the_owner_reads_and_keeps_what_is_there(
    dot_env: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / ".env"
    assert set(dot_env.init(path)) >= set(HOLDERS)
    first = dot_env.read(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert dot_env.faults(path) == []
    assert len({first[name] for name in HOLDERS}) == len(HOLDERS)
    path.write_text(path.read_text() + "AIRFLOW_PORT=9999\n")
    assert dot_env.init(path) == []
    assert dot_env.read(path) == first | {"AIRFLOW_PORT": "9999"}


@pytest.mark.parametrize("value", ["", "short", "changeme-changeme-changeme", "my-secret-of-the-year-2013"])
def test_nothing_starts_with_an_empty_short_or_copied_secret(value: str, dot_env: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    dot_env.init(path)
    lines = [line for line in path.read_text().splitlines() if not line.startswith("MLFLOW_SECRET_KEY")]
    path.write_text("\n".join([*lines, f"MLFLOW_SECRET_KEY={value}"]) + "\n")
    [fault] = dot_env.faults(path)
    assert fault.startswith("MLFLOW_SECRET_KEY: ")
    assert not value or value not in fault


def test_the_version_is_said_once(dot_env: ModuleType) -> None:
    """pyproject.toml, Makefile and docker-compose.yaml name one version."""
    [version] = re.findall(r'(?m)^version = "(.+)"', (CHECKOUT / "pyproject.toml").read_text())
    assert re.findall(r"(?m)^VERSION := (.+)$", (CHECKOUT / "Makefile").read_text()) == [version]
    assert set(re.findall(r"TIDEGATE_VERSION:-([\w.]+)", TEXT)) == {version}
