"""One HTML page: hours, gates, features, model, from recorded facts alone; it names no outside address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def write_page(path: Path, facts: dict[str, Any]) -> Path:
    """Write the page of `facts` (see `report.story`) to `path`; the same facts give the same bytes."""
    engine = Environment(
        loader=PackageLoader("spark_jobs.report", "."), autoescape=select_autoescape(["html"]), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    fresh.write_text(engine.get_template("page.html").render(facts=facts), encoding="utf-8")
    fresh.rename(path)
    return path
