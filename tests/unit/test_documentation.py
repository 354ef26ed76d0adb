"""What the documentation refers to is in the tree: files, modules, tests; two pages stay as short as they promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TOP = [CHECKOUT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")]
PAGES = [*TOP, *sorted((CHECKOUT / "docs").rglob("*.md"))]
TESTS = sorted((CHECKOUT / "tests").rglob("*.py"))
SOURCES = [path for folder in ("spark_jobs", "dags", "demo", "docker") for path in (CHECKOUT / folder).rglob("*.py")]
MATRIX = CHECKOUT / "docs/design/fault-matrix.md"
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:[\w.-]+/)+[\w.-]+\.(?:py|md|sh|yaml|json|toml)|(?:[\w.-]+/)+")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_FAULT = re.compile(r"^def test_((?:[A-Z]\d+_)+)", re.MULTILINE)
# Folders of a user, of a run, of a container or of a backup; the tutorial's own files; files of other checkouts.
_ELSEWHERE = re.compile(
    r"^(?:var/|/|alerts/|data/|day=|orders/|weather/|staging/|conf/pipelines/shop/|_delta_log/)|[<>*{}…]|NAME"
)


def _is_there(path: str) -> bool:
    """Whether `path` is in the checkout or, as modules are named on pages, below spark_jobs or one of its packages."""
    packages = [CHECKOUT, CHECKOUT / "spark_jobs", CHECKOUT / "expectations", CHECKOUT / "conf"]
    return any((place / path).exists() for place in packages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Paths in code marks and targets of links."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    named = [code for code in _CODE.findall(text) if _PATH.fullmatch(code) and not _ELSEWHERE.search(code)]
    linked = [link for link in _LINK.findall(text) if not link.startswith(("http:", "https:"))]
    missing = [path for path in named if not _is_there(path)]
    assert missing + [link for link in linked if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_tests_that_a_page_names_exist(page: Path) -> None:
    """A test that was renamed is renamed on the pages as well."""
    defined = set(re.findall(r"^def (test_\w+)", "\n".join(path.read_text() for path in TESTS), re.MULTILINE))
    files = {path.stem for path in TESTS}
    named = {code for code in _CODE.findall(page.read_text()) if re.fullmatch(r"test_\w*[a-z0-9]", code)}
    assert sorted(named - defined - files) == []


def test_every_fault_that_a_test_injects_is_in_the_matrix() -> None:
    """By the codes in the names of tests."""
    codes = {code for path in TESTS for codes in _FAULT.findall(path.read_text()) for code in codes.split("_") if code}
    rows = set(re.findall(r"^\| ([A-Z]\d+) \|", MATRIX.read_text(), re.MULTILINE))
    assert sorted(codes - rows) == []


def test_nothing_refers_to_documents_outside_of_the_tree() -> None:
    """Reasons are given where they are needed, or in docs/design."""
    outside = re.compile(r"first plan|shared/design|(?<![/(])\b(?:data-model|faults|facts|language|ease|style)\.md")
    own = Path(__file__)
    files = [*PAGES, *SOURCES, *(path for path in TESTS if path != own)]
    found = [
        (path.relative_to(CHECKOUT).as_posix(), match[0])
        for path in files
        for match in outside.finditer(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(("name", "limit"), [("README.md", 800), ("CONTRIBUTING.md", 600)])
def test_a_page_is_short_enough_to_be_read(name: str, limit: int) -> None:
    """Words as `wc -w` counts them."""
    assert len((CHECKOUT / name).read_text().split()) <= limit


def test_every_entry_of_the_changelog_is_below_a_heading_of_its_kind() -> None:
    """Git merges the file by `union`, which can put the lines of a branch anywhere."""
    kind, kinds = "", {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for line in (CHECKOUT / "CHANGELOG.md").read_text().splitlines():
        kind = line.removeprefix("### ") if line.startswith("#") else kind
        assert not line.startswith("- ") or kind in kinds, line
