"""Which room may know which: the import contracts, and what no room may say at all."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = sorted((CHECKOUT / "spark_jobs").rglob("*.py"))


def test_code_depends_one_way() -> None:
    """The contracts of pyproject.toml; they need three seconds."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_yaml_is_read_in_one_place() -> None:
    """Everything else gets frozen models."""
    found = {path.relative_to(CHECKOUT / "spark_jobs").as_posix() for path in SOURCES if "yaml" in _imports(path)}
    assert found == {"config/yaml_file.py"}


def test_no_two_modules_of_the_tests_share_a_name() -> None:
    """pytest imports them by their bare names: the second of a name would get the first one's content."""
    paths = [path for path in (CHECKOUT / "tests").rglob("*.py") if path.stem not in ("__init__", "conftest")]
    twice = Counter(path.name for path in paths)
    assert [path.relative_to(CHECKOUT).as_posix() for path in paths if twice[path.name] > 1] == []


def _imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name.partition(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {(node.module or "").partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}


def test_the_example_has_no_word_in_the_code() -> None:
    """spark_jobs/ serves any hourly feed; flights live in conf/, expectations/, demo/ and tests/."""
    words = re.compile(r"\b(nycflights\w*|flights?|carriers?|tail_?num\w*|airports?|airlines?)\b", re.IGNORECASE)
    said = [
        f"{path.relative_to(CHECKOUT)}: {match[0]}" for path in SOURCES for match in words.finditer(path.read_text())
    ]
    assert said == []


def test_no_room_is_called_utils() -> None:
    """A module is named for what it holds."""
    banned = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}
    assert [path for path in SOURCES if path.stem in banned or banned & set(path.parts)] == []
