"""What databases say differently: how one is reached read-only, the exact text of a value, the rows of some hours, its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from pyspark.sql.types import DataType, IntegralType, StringType

from spark_jobs.config.jdbc_source import POSTGRESQL, SQLITE, JdbcConf
from spark_jobs.identifiers import quoted

# How one begins, for GLOB and for regular expressions.
INSTANT = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]"


class Dialect(Protocol):
    """One kind of database, by the beginning of its url."""

    driver: str
    signs_in: bool  # with jdbc.user_env and jdbc.password_env

    def options(self, url: str, conf: JdbcConf, data: Path) -> dict[str, str]:
        """Url and settings of Spark's reader, with which nothing can be written; `data` is the data folder."""
        ...

    def exact(self, name: str, kind: DataType, ranges: bool) -> str:
        """An expression named `name`: a column of Spark's type `kind` as text that loses nothing.

        `ranges`: the column by whose ranges rows are read.

        Raises:
            ValueError: the database cannot count ranges of such a column.
        """
        ...

    def within(self, at: str, kind: DataType, low: str, high: str) -> str:
        """A condition: instant `at` lies in the hours [low, high), or is no instant: such a row is of none, and must be seen."""
        ...

    def is_ours(self, text: str, state: str) -> bool:
        """Whether an error, by its text and SQLSTATE, is of a wrong question or address: no retry helps."""
        ...


class Sqlite:
    """A file. Values have types, columns have none: what `kind` says means little."""

    driver, signs_in = "org.sqlite.JDBC", False
    _OURS = ("SQLITE_ERROR", "SQLITE_READONLY", "SQLITE_NOTADB", "SQLITE_AUTH")
    # SQLite turns a REAL into text with 15 digits, too few for some doubles.
    _EXACT = (
        "CASE typeof({c}) WHEN 'real' THEN CASE WHEN CAST(printf('%!.15g', {c}) AS REAL) = {c} THEN printf('%!.15g', {c})"
        " ELSE printf('%!.17g', {c}) END ELSE CAST({c} AS TEXT) END AS {c}"
    )

    def options(self, url: str, conf: JdbcConf, data: Path) -> dict[str, str]:
        """Read only, and never made: SQLite takes a missing file for an empty database."""
        return {"url": f"{SQLITE}file:{quote(str(conf.file(data)))}?mode=ro"}

    def exact(self, name: str, kind: DataType, ranges: bool) -> str:
        """By each value's own type."""
        return self._EXACT.format(c=quoted(name, "sqlite"))

    def within(self, at: str, kind: DataType, low: str, high: str) -> str:
        """Instants are text."""
        name = quoted(at, "sqlite")
        return f"({name} >= '{low[:13]}' AND {name} < '{high[:13]}') OR {name} IS NULL OR {name} NOT GLOB '{INSTANT}*'"

    def is_ours(self, text: str, state: str) -> bool:
        """The driver puts SQLite's own name of an error into its text."""
        return any(code in text for code in self._OURS)


class Postgresql:
    """A server. TLS with a checked certificate, but on this machine and on hosts that conf/ says are one's own.

    Settings: jdbc.postgresql.org/documentation/use (readOnlyMode, sslmode, sslfactory, options); SQLSTATE classes: appendix A of
    PostgreSQL's manual.
    """

    driver, signs_in = "org.postgresql.Driver", True
    # invalid authorization, no such database, syntax or name or right, value of the query, write, no transaction of ours
    _OURS = ("28", "3D", "3F", "42", "22", "25", "0A")

    def options(self, url: str, conf: JdbcConf, data: Path) -> dict[str, str]:
        """Nothing is written, whatever a query calls; a host that never answers is given up."""
        checked = {"sslmode": "verify-full", "sslfactory": "org.postgresql.ssl.DefaultJavaSSLFactory"}
        return {
            "url": url,
            **({"sslmode": "disable"} if conf.is_plain(url) else checked),
            "readOnly": "true",
            "readOnlyMode": "always",
            "options": "-c default_transaction_read_only=on -c statement_timeout=" + str(conf.timeout_s * 1000),
            "ApplicationName": "tidegate",
            "connectTimeout": "10",
            "socketTimeout": str(conf.timeout_s + 10),
            "tcpKeepAlive": "true",
        }

    def exact(self, name: str, kind: DataType, ranges: bool) -> str:
        """As JSON says it: ISO 8601 for instants, the shortest digits that are the same number (PostgreSQL 12 and later)."""
        if ranges and not isinstance(kind, IntegralType):
            raise ValueError(f"partition.column '{name}' is {kind.simpleString()}, no whole number")
        column = quoted(name, "postgresql")
        return column if ranges else f"(to_json({column}) #>> '{{}}') AS {column}"

    def within(self, at: str, kind: DataType, low: str, high: str) -> str:
        """Compared as instants where they are such, so that an index helps; as bytes where they are text."""
        name = quoted(at, "postgresql")
        if isinstance(kind, StringType):
            text = f'{name}::text COLLATE "C"'
            inside, instant = f"{text} >= '{low[:13]}' AND {text} < '{high[:13]}'", f"{text} ~ '^{INSTANT}'"
        else:
            inside, instant = f"{name} >= '{low}Z' AND {name} < '{high}Z'", f"isfinite({name})"
        return f"({inside}) OR {name} IS NULL OR NOT {instant}"

    def is_ours(self, text: str, state: str) -> bool:
        """By class; 57014, a query that took too long, may pass later, as may all of 08 (no connection) and 53, 57 (no room)."""
        return state.startswith(self._OURS)


_DIALECTS: dict[str, Dialect] = {SQLITE: Sqlite(), POSTGRESQL: Postgresql()}


def dialect_of(url: str) -> Dialect:
    """The one whose urls begin so; config checked that there is one."""
    return next(one for start, one in _DIALECTS.items() if url.startswith(start))
