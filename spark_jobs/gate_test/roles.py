"""Which delivered columns of a silver table are keys, measures, codes and instants: by their types, never by their names."""

from __future__ import annotations

from dataclasses import dataclass

from spark_jobs.config.tables import SilverTable

_NUMBERS = ("int", "bigint", "double")


@dataclass(frozen=True)
class Roles:
    """Delivered columns of one table by what they are, each in the order of tables.yaml.

    key: what names one row. measures: numbers outside of the key. codes: texts. instants: timestamps. whole: numbers
    without a fraction. `typed`: name in tables.yaml by delivered name.
    """

    key: tuple[str, ...]
    measures: tuple[str, ...]
    codes: tuple[str, ...]
    instants: tuple[str, ...]
    whole: frozenset[str]
    typed: dict[str, str]

    @property
    def facts(self) -> tuple[str, ...]:
        """Everything that is not part of the key."""
        return tuple(name for name in self.typed if name not in self.key)

    @property
    def key_codes(self) -> tuple[str, ...]:
        """Texts of the key, such as the place that a row is from."""
        return tuple(name for name in self.codes if name in self.key)


def roles_of(table: SilverTable) -> Roles:
    """The roles of the columns that `table` takes from its source."""
    kinds = {settings.source or name: settings.type for name, settings in table.columns.items()}
    typed = {settings.source or name: name for name, settings in table.columns.items()}
    key = tuple(name for name, column in typed.items() if column in table.version_key)
    return Roles(
        key,
        tuple(name for name, kind in kinds.items() if kind in _NUMBERS and name not in key),
        tuple(name for name, kind in kinds.items() if kind == "string"),
        tuple(name for name, kind in kinds.items() if kind == "timestamp"),
        frozenset(name for name, kind in kinds.items() if kind in ("int", "bigint")),
        typed,
    )
