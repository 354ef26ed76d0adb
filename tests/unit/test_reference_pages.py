"""The generated pages of docs/reference/ are never stale, and describe every command, table and code."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import typer.main

from spark_jobs.cli.app import app
from spark_jobs.generated_pages import table
from spark_jobs.ledger.schemas import SCHEMAS
from spark_jobs.reference import __main__ as program
from spark_jobs.reference import command_line, ledger, tables
from spark_jobs.reference.pages import WRITE, pages

PAGES = pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_current(path: Path) -> None:
    """Stale: write it again with `python -m spark_jobs.reference --write`."""
    assert path.read_text(encoding="utf-8") == PAGES[path], WRITE


def test_every_command_has_a_section() -> None:
    """Commands of groups included."""
    page = command_line.page()
    for words, command in command_line.commands(typer.main.get_command(app)):
        assert f"## {' '.join(words)}\n" in page
        assert command.help in page
    assert "## tidegate release rollback\n" in page


def test_an_option_has_its_default_and_its_variable() -> None:
    """Written by hand: a required argument, an option with a default, a flag, a variable."""
    page = command_line.page()
    for row in (
        "| `PIPELINE` | required | Name of a folder in conf/pipelines. |",
        "| `--seed VALUE` | `1` | Chooses hours, rows and values. |",
        "| `--changed` |  | ",
        "| `--env VALUE` | `local`, or `TIDEGATE_ENV` | ",
    ):
        assert row in page


def test_every_column_of_the_ledger_has_a_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new column without one stops the generator."""
    page = ledger.page()
    for name, schema in SCHEMAS.items():
        assert f"## {name}\n" in page
        assert all(f"| `{column}` |" in page for column in schema.names)
    monkeypatch.setitem(SCHEMAS, "releases", SCHEMAS["releases"].append(pa.field("mood", pa.string())))
    with pytest.raises(KeyError, match="mood"):
        ledger.page()


def test_columns_that_conf_defines_are_not_in_the_page_of_tables() -> None:
    """Fixed columns of each kind of table, and none of the example's."""
    page = tables.page()
    for row in (
        "| `rules` | array of string | every rule that the row broke |",
        "| `cols` | map of string to string | ",
        "| `n` | long | ",
        "| `covered_h` | integer | ",
        "| `label` | integer | 0 or 1 |",
    ):
        assert row in page
    assert "departure" not in page
    assert "temperature" not in page


def test_cells_escape_what_ends_a_cell_or_begins_a_tag() -> None:
    """Markdown would cut the row at the bar and hide the tag."""
    assert table(["a"], [["x|y <z>"]]).splitlines()[-1] == "| x\\|y \\<z> |"


def test_a_wrong_argument_writes_nothing_and_exits_64() -> None:
    """Only --write writes."""
    assert program.main(["--wirte"]) == 64
