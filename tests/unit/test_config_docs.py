"""conf/README.md is generated from the models and never stale."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from spark_jobs.config import docs


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for inner, _, _ in docs._models_in(field.annotation, "", []):
            yield from _models(inner)


def test_the_page_is_what_the_models_say_now() -> None:
    """Stale: renew it with `python -m spark_jobs.config.docs --write`."""
    assert docs.README.read_text(encoding="utf-8") == docs.page(), docs.WRITE


def test_every_section_and_every_field_says_what_it_means() -> None:
    """A field without a description, or a section without a docstring, is not documented."""
    silent = [
        f"{model.__name__}.{name}"
        for top in docs.files().values()
        for model in _models(top)
        for name, field in model.model_fields.items()
        if not (field.description or docs._about_section(field))
    ]
    assert silent == []


def test_a_row_states_type_with_bounds_default_meaning_and_example() -> None:
    """Written by hand: a bounded number, a duration, a choice, an alias."""
    page = docs.page()
    for row in (
        "| `min_hours` | whole number ≥ 1, ≤ 168 | `160` | hours of the week that must be published, of 168 | `160` |",
        "| `timeout` | duration | `30m` | longest time of one task | `30m` |",
        "| `format` | `csv` or `jsonl` or `parquet` | required |",
        "| `register` | section | its own defaults | bars to register |  |",
        "| `expect_column_values_to_be_in_set` | row | column | **value_set** |",
        "| `at_least` | 1 | `threshold` (float) |",
    ):
        assert row in page


def test_a_wrong_word_writes_nothing_and_exits_64() -> None:
    """Only --write writes."""
    assert docs.main(["--wirte"]) == 64
