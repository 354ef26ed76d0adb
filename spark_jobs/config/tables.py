"""conf/pipelines/<name>/tables.yaml: the silver tables, each with grain, key, event time and the meaning of every column."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

from pydantic import Field

from spark_jobs.config.section import Duration, Name, Section, Severity, TransformCall, Zone

ColumnType = Literal["string", "int", "bigint", "double", "timestamp", "date", "boolean"]


class Column(Section):
    """One typed column of a silver table."""

    source: str = Field(default="", alias="from", description="column of the source; the same name when left out")
    type: ColumnType = Field(
        description="string, int, bigint, double, date (2013-11-01), boolean (true, t, yes, y, 1 and their opposites), or"
        " timestamp: a day, or a day with a time, such as 2013-11-01T12:00:00Z, in UTC unless it says an offset such as +02:00;"
        " no names of zones; a value that the type cannot hold exactly is a type fault: fractions finer than a microsecond,"
        " years outside 1 to 9999 (UTC), 1.0 as int, whole numbers that are not a double (9007199254740993); fractions"
        " become the nearest double"
    )
    renamed_from: Name | None = Field(
        default=None,
        description="former name of the column: `tidegate migrate` renames it in published rows, which steps wait for; may be"
        " removed afterwards; example: amount",
    )
    default: bool | int | float | str | date | None = Field(
        default=None,
        description="value for rows that were published before the column was added: `tidegate migrate` writes it into them,"
        " which steps wait for; none: null. New rows never get it, and changing it later changes nothing; example: 0",
    )
    unit: str = Field(default="", description="unit of the values, for example min, mi, degF")
    required: bool = Field(default=False, description="a row without a value is quarantined")
    meaning: str = Field(min_length=1, description="one sentence on what the value says and what null means")
    sensitive: bool = Field(
        default=False,
        description="values never stand in verdicts, messages, reports or what `quarantine` prints: masked",
    )


class LookUp(Section):
    """A column fetched by the shared key from another silver table, as known when the row was: a later version changes nothing."""

    table: Name = Field(description="silver table that is looked into; it has the same key")
    column: Name = Field(description="its column")
    within: Duration = Field(
        default=timedelta(days=3),
        description="drops of that table more than this before the row's hour are not read, for example 3d",
    )
    meaning: str = Field(min_length=1, description="one sentence on what the value says and what null means")


class EventWithin(Section):
    """How far a row's event may lie from the hour of its drop; versions of one key may lie any time apart."""

    lateness: Duration = Field(default=timedelta(0), description="how long before the hour, for example 24h")
    ahead: Duration = Field(default=timedelta(0), description="how long after the hour's end, for example 1h")


class Volume(Section):
    """How many rows an hour's drop should have, by the same hour of the weeks before: a rule that every table has."""

    weeks: int = Field(default=4, ge=2, le=26, description="so many weeks back; the median of their counts is expected")
    at_least: float = Field(default=0.5, ge=0, le=1, description="smallest legal share of the expected rows")
    at_most: float = Field(default=2.0, ge=1, description="largest legal multiple of the expected rows")
    min_rows: int = Field(
        default=20,
        ge=1,
        description="judged only where at least so many rows are expected; few vary too much; unit: rows",
    )
    zone: Zone = Field(
        default="UTC",
        description="zone on whose wall clock the hours are the same, for rows that follow people's clocks; example:"
        " America/New_York",
    )
    severity: Severity = Field(default="warning", description="critical blocks the publication; warning and info tell")


class SilverTable(Section):
    """One typed, de-duplicated table."""

    source: Name = Field(description="source whose drops fill it")
    grain: str = Field(min_length=1, description="what one row is")
    key: list[Name] = Field(min_length=1, description="columns that name one row; the newest version of a key counts")
    event_at: TransformCall = Field(description="instant at which the source could first know the row")
    event_within: EventWithin = EventWithin()
    volume: Volume = Volume()
    columns: dict[Name, Column] = Field(min_length=1, description="typed columns by name")
    lookups: dict[Name, LookUp] = Field(default={}, description="columns fetched from other silver tables, by name")
    valid_from: Name | None = Field(
        default=None,
        description="makes it a slowly changing table: required column with the instant from which a row's facts hold; a key"
        " has one row an instant, readers see valid_to beside it, the instant of the key's next row; example: changed_at",
    )

    @property
    def version_key(self) -> list[str]:
        """Columns that name one row: the key, and the instant from which it holds in a slowly changing table."""
        return [*self.key, self.valid_from] if self.valid_from else self.key


class TablesFile(Section):
    """The whole of tables.yaml."""

    tables: dict[Name, SilverTable] = Field(min_length=1, description="silver tables by name")
