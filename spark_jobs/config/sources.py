"""sources.yaml: where rows come from, in which format, under which names, and how late they may be.

What a column means and which type it has is tables.yaml's; this section only says what an upstream delivers.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from spark_jobs.config.database_source import DatabaseConf
from spark_jobs.config.drop_files import CompleteConf, DropFormat, HourPath
from spark_jobs.config.http_source import HttpConf
from spark_jobs.config.remote_source import RemoteConf
from spark_jobs.config.section import Duration, Name, Section, UtcHour

RESERVED = frozenset(
    {
        *("day", "hour", "known_at", "pub"),
        *("file", "line", "drop_sha256", "arrived_at", "raw", "fault"),
        *("event_at", "business_key", "rules", "reason", "cols"),
    }
)
SourceKind = Literal["files", "http", "database"]
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def _columns(value: list[str]) -> list[str]:
    for name in value:
        if not _COLUMN.fullmatch(name):
            raise ValueError(f"'{name}' is not a column name; use letters, digits and _, no digit first, at most 63")
        if name.lower() in RESERVED:
            raise ValueError(
                f"'{name}' is a name that every lake row has already; reserved: {', '.join(sorted(RESERVED))}"
            )
    twice = sorted({name for name in value if sum(name.lower() == other.lower() for other in value) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)}: named more than once (upper and lower case count as one)")
    return value


class SourceConf(Section):
    """One upstream, with one drop an hour: a file and a manifest, the manifest last."""

    kind: SourceKind = Field(
        description="where the rows come from: files (of the landing folder, or of another file system where there is a"
        " section remote), http (pages of an API) or database (rows of a table); all but files of the landing folder are"
        " landed by task `fetch_<source>` and by `tidegate fetch`; example: files"
    )
    http: HttpConf | None = Field(default=None)
    database: DatabaseConf | None = Field(default=None)
    remote: RemoteConf | None = Field(default=None)
    manifests: HourPath = Field(
        description="path of an hour's manifest below landing/<pipeline>; {day} is YYYY-MM-DD, {hour} is HH, both UTC;"
        " a correction adds .2, .3 … after {hour}; the data file lies beside it, named by the manifest;"
        " example: orders/{day}/{hour}.manifest.json"
    )
    complete: CompleteConf = CompleteConf()
    format: DropFormat = Field(
        description="csv (a header line, then records as RFC 4180 defines them: comma, double quotes, line breaks only inside"
        " quotes; a quote that hides where records begin refuses the file), jsonl (one object per line) or, of kind files, parquet"
        " (one file, values become the text that reads back as the same value, naive timestamps are UTC, no nested and no"
        " binary column); a csv or jsonl file that ends in .gz is unpacked; UTF-8; of kind http: csv pages stay csv, JSON"
        " pages become jsonl; of kind database: jsonl; example: csv"
    )
    grace: Duration = Field(
        default=timedelta(minutes=15),
        description="time after the end of the hour in which a drop is still on time; unit: m, h or d; example: 15m",
    )
    clock_skew: Duration = Field(
        default=timedelta(minutes=5),
        description="how far the arrival of a drop may lie ahead of this machine's clock; a later one refuses the drop, whose"
        " rows would be known in the future; unit: m, h or d; example: 5m",
    )
    history_until: UtcHour | None = Field(
        default=None,
        description="drops of hours before this one are history that was delivered in bulk: the first version of each counts"
        " as known at the end of its own hour, whenever it arrived, and corrections since they arrived; left out: every drop is"
        " known since it arrived, so features of hours before that do not see its rows; example: 2026-01-01T00:00:00Z",
    )
    nulls: list[str] = Field(
        default=["", "NA"], description='texts that mean "no value", compared with the whole field; example: ["", "NA"]'
    )
    columns: Annotated[list[str], AfterValidator(_columns)] = Field(
        min_length=1,
        description="names that the upstream delivers, in any order; a missing or a new column refuses the drop (jsonl:"
        " quarantines the line, since each line has its own keys); example: [order_id, placed_at, amount]",
    )
    drift: Literal["quarantine", "refuse"] = Field(
        default="quarantine",
        description="a value that is not of its column's type in tables.yaml, as after a change of type: quarantine (the row;"
        " too many refuse the hour) or refuse (one such value refuses the hour, by the rule type_drift); it is never read"
        " as null; example: refuse",
    )

    _hides_names: bool = PrivateAttr(default=False)  # not of sources.yaml: `load_pipeline` sets it from tables.yaml

    @property
    def hides_names(self) -> bool:
        """Whether names that a delivery makes up are counted, never shown: without its header they are values."""
        return self._hides_names

    def hide_names(self) -> None:
        """Count unknown names from now on, because a table of this source has a sensitive column."""
        self._hides_names = True

    @model_validator(mode="after")
    def _sections_belong_to_their_kind(self) -> SourceConf:
        for kind, section, example in (
            ("http", self.http, "{url: https://…}"),
            ("database", self.database, "{url: …, table: …}"),
        ):
            if self.kind == kind and section is None:
                raise ValueError(f"kind: {kind} needs a section {kind}, such as {kind}: {example}")
            if self.kind != kind and section is not None:
                raise ValueError(f"{kind}: belongs to kind {kind}, this source is of kind {self.kind}")
        if self.http and self.http.rows and self.format == "csv":
            raise ValueError("http.rows: names a place in a JSON page; leave it out, or write format: jsonl")
        if self.database and self.format != "jsonl":
            raise ValueError(f"format: rows of a database land as jsonl, not {self.format}; write format: jsonl")
        if self.database and self.database.changed_at and self.database.changed_at not in self.columns:
            raise ValueError(f"database.changed_at: '{self.database.changed_at}' is none of columns; add it there")
        part = self.database.partition if self.database else None
        if part and part.column not in self.columns:
            raise ValueError(f"database.partition.column: '{part.column}' is none of columns; add it there")
        return self

    @model_validator(mode="after")
    def _files_belong_to_their_kind(self) -> SourceConf:
        if self.kind != "files" and self.complete.by != "manifest":
            raise ValueError(f"complete: belongs to kind files, this source is of kind {self.kind}")
        if self.kind != "files" and self.remote:
            raise ValueError(f"remote: belongs to kind files, this source is of kind {self.kind}")
        if self.kind == "http" and self.format == "parquet":
            raise ValueError("format: pages of kind http are csv or JSON; write csv or jsonl")
        if self.remote:
            self.require_times(self.remote.root)
        self.complete.check_beside(self.manifests, self.grace)
        return self

    @model_validator(mode="before")
    @classmethod
    def _former_kinds_are_refused(cls, value: Any) -> Any:
        if isinstance(value, dict) and (value.get("kind") == "jdbc" or "jdbc" in value):
            raise ValueError(
                f"{'kind' if value.get('kind') == 'jdbc' else 'jdbc'}: jdbc was replaced by database; write kind: database,"
                " rename the section jdbc to database, and write its url (and that of url_env) as a SQLAlchemy url:"
                " sqlite:///{data}/shop.db for jdbc:sqlite:{data}/shop.db, postgresql://… for jdbc:postgresql://…"
            )
        if isinstance(value, dict) and "hadoop" in value:
            raise ValueError(
                "hadoop: was replaced by remote; rename the section, write root as an fsspec url (s3:// for s3a://), and in"
                " options and options_env the names of fsspec: key, secret and endpoint_url for s3, username and password for ftp"
            )
        return value

    def require_times(self, root: str) -> None:
        """Nothing, when the listings of the file system of `root` hold the times that `complete` relies on.

        Raises:
            ValueError: they do not.
        """
        by, remote = self.complete.by, self.remote
        if remote and (
            (by == "stable" and not remote.has_write_times(root)) or (by == "marker" and not remote.has_times(root))
        ):
            legal = "marker or manifest" if remote.has_times(root) else "manifest"
            raise ValueError(
                f"complete: {root.partition(':')[0]} does not show when a file was last written to; write by: {legal}"
            )

    @property
    def fetched(self) -> bool:
        """Whether `fetch_<source>` and `tidegate fetch` land its drops, not the upstream itself."""
        return self.kind != "files" or self.remote is not None


class SourcesConf(Section):
    """sources.yaml: every source of the pipeline by its name."""

    sources: dict[Name, SourceConf] = Field(
        min_length=1, description="the upstreams, by the name that bronze/<name> gets"
    )

    def of_kind(self, kind: SourceKind) -> dict[str, SourceConf]:
        """The sources of one kind by name."""
        return {name: source for name, source in self.sources.items() if source.kind == kind}

    def fetched(self) -> dict[str, SourceConf]:
        """The sources whose drops a connector lands, by name."""
        return {name: source for name, source in self.sources.items() if source.fetched}
