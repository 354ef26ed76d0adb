"""One HTML page: hours, gates, features, model, from recorded facts alone; it names no outside address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from spark_jobs.storage.files import write_whole
from spark_jobs.values import printable, text

_LONGEST = 200  # characters of one cell


def write_page(path: Path, facts: dict[str, Any]) -> Path:
    """Write the page of `facts` (see `report.story`) to `path`; the same facts give the same bytes."""
    engine = Environment(
        loader=PackageLoader("spark_jobs.report", "."),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    engine.filters["shown"] = _shown
    write_whole(path, engine.get_template("page.html").render(facts=facts))
    return path


def _shown(value: object) -> str:
    """A cell: the exact value, printable, cut with a mark when long; nothing for null."""
    return "" if value is None else printable(text(value), _LONGEST)
