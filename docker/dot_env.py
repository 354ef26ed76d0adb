"""`make init`: every secret of the platform into .env (mode 0600), made here and nowhere else; what is there stays.

--check refuses empty values and those that a person copied from an example; --urls says where the pages are.
Only Python's own library: it runs before anything is installed.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / ".env"
FEWEST = 16  # characters of a secret
PAGES = {
    "Airflow": ("AIRFLOW_PORT", 8080),
    "Spark": ("SPARK_PORT", 8081),
    "MLflow": ("MLFLOW_PORT", 5000),
    "mail": ("MAIL_PORT", 1080),
    "webhooks": ("WEBHOOK_PORT", 8090),
}
SECRETS = {
    "POSTGRES_PASSWORD": lambda: secrets.token_urlsafe(24),
    "AIRFLOW_DB_PASSWORD": lambda: secrets.token_urlsafe(24),
    "MLFLOW_DB_PASSWORD": lambda: secrets.token_urlsafe(24),
    "UPSTREAM_DB_PASSWORD": lambda: secrets.token_urlsafe(24),
    "PLANES_PASSWORD": lambda: secrets.token_urlsafe(24),
    "AIRFLOW_FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "AIRFLOW_JWT_SECRET": lambda: secrets.token_urlsafe(48),
    "AIRFLOW_API_SECRET_KEY": lambda: secrets.token_urlsafe(32),
    "AIRFLOW_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(18),
    "MLFLOW_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(18),
    "MLFLOW_SECRET_KEY": lambda: secrets.token_urlsafe(32),
    "SPARK_AUTH_SECRET": lambda: secrets.token_urlsafe(32),
}


def read(path: Path = FILE) -> dict[str, str]:
    """Names and values of the file; none where it is not there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def init(path: Path = FILE) -> list[str]:
    """Write what is missing; returns the names written."""
    there = read(path)
    new = {name: make() for name, make in SECRETS.items() if name not in there}
    if "COMPOSE_PROJECT_NAME" not in there:
        new["COMPOSE_PROJECT_NAME"] = "tidegate"
    if new:
        text = path.read_text(encoding="utf-8") if path.exists() else "# Written by `make init`; never commit it.\n"
        handle = os.open(path.with_suffix(".part"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "".join(f"{name}={value}\n" for name, value in new.items()))
        path.with_suffix(".part").replace(path)
    path.chmod(0o600)
    return list(new)


def faults(path: Path = FILE) -> list[str]:
    """Secrets with which nothing may start: absent, short, a word that stands for one, or the same one twice."""
    there = read(path)
    found = []
    for name in SECRETS:
        value = there.get(name, "")
        if len(value) < FEWEST:
            found.append(f"{name}: {len(value)} characters, at least {FEWEST} are needed")
        elif any(word in value.lower() for word in ("change", "secret", "password", "placeholder", "example")):
            found.append(f"{name}: looks like a placeholder")
        elif [there.get(other) for other in SECRETS].count(value) > 1:
            found.append(f"{name}: the value of another secret, too")
    return found


def main(words: list[str]) -> int:
    """Exit code: 64 when a secret cannot be used."""
    if words == ["--urls"]:
        there = read()
        for page, (name, port) in PAGES.items():
            print(f"{page:<9} http://localhost:{there.get(name, port)}")
        print(f"user admin; passwords: AIRFLOW_ADMIN_PASSWORD, MLFLOW_ADMIN_PASSWORD in {FILE.name}")
        return 0
    if words == ["--check"]:
        bad = faults()
        for line in bad:
            print(f".env: {line}\n  do: remove the line, then: make init", file=sys.stderr)
        return 64 if bad else 0
    new = init()
    if new:
        print(f"init: {len(new)} values written to {FILE.name}, mode 0600")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
