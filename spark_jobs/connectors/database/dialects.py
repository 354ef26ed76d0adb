"""What databases do differently: a read-only connection, the text of a value, the rows of some hours, permanent errors."""

from __future__ import annotations

import os
import sqlite3
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote
from uuid import UUID

import certifi
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url

from spark_jobs.config.database_source import POSTGRESQL, SQLITE, DatabaseConf

# The first characters of an instant, for GLOB and for regular expressions.
INSTANT = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]"
_PG_TEXT = (25, 1042, 1043)  # text, char, varchar: type numbers of PostgreSQL
_PG_WHOLE = (20, 21, 23)  # bigint, smallint, integer
_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class Dialect(Protocol):
    """One kind of database; `kind` is the driver's own type of a column."""

    signs_in: bool  # with database.user_env and database.password_env
    in_ranges: bool  # several connections read several ranges at the same time

    def engine(self, url: str, conf: DatabaseConf, data: Path, user: str | None, password: str | None) -> Engine:
        """Connections that cannot write where the database can refuse it; `data` is the data folder.

        Raises:
            ImportError: the driver is not installed.
            sqlalchemy.exc.NoSuchModuleError: the dialect is unknown.
        """
        ...

    def column(self, name: str) -> str:
        """The expression that selects a column, whose name comes quoted, without losing anything of a value."""
        ...

    def text(self, value: object) -> str | None:
        """The text of a selected value, from which the same value can be read.

        Raises:
            ValueError: such a value has no text form.
        """
        ...

    def within(self, at: str, kind: Any, low: datetime, high: datetime) -> str:
        """A condition: instant `at`, a quoted name, is in [low, high), or it is not in UTC: such a row must be seen, to be refused."""
        ...

    def require_whole(self, name: str, kind: Any) -> None:
        """Nothing, when ranges can be formed of column `name`.

        Raises:
            ValueError: it does not hold whole numbers.
        """
        ...

    def share(self, connection: Connection) -> str | None:
        """The statement by which another connection sees the same state as `connection`; none where there is none."""
        ...

    def is_permanent(self, error: BaseException) -> bool:
        """Whether no retry helps: the query, the login or the address is wrong."""
        ...


class Sqlite:
    """A file. Values have types, columns have none. Python's driver fetches row by row, in bounded memory."""

    signs_in, in_ranges = False, False
    _PERMANENT = ("SQLITE_ERROR", "SQLITE_READONLY", "SQLITE_NOTADB", "SQLITE_AUTH")
    _WAIT_S = 5  # for a lock

    def engine(self, url: str, conf: DatabaseConf, data: Path, user: str | None, password: str | None) -> Engine:
        """Read only, and never created: by default SQLite takes a missing file for an empty database."""
        path = quote(str(conf.file(data)))

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(
                f"file:{path}?mode=ro", uri=True, timeout=self._WAIT_S, check_same_thread=False
            )
            connection.text_factory = _text_or_bytes
            end = time.monotonic() + conf.timeout_s
            connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)
            return connection

        return create_engine("sqlite://", creator=connect, poolclass=NullPool)

    def column(self, name: str) -> str:
        """As it is."""
        return name

    def text(self, value: object) -> str | None:
        """Of a real number the 15 digits that SQLite shows, or 17 where those are another number."""
        if not isinstance(value, float):
            return plain_text(value)
        if value != value or value in (float("inf"), float("-inf")):
            return {"inf": "Inf", "-inf": "-Inf"}.get(repr(value), "NaN")
        digits = f"{value:.15g}"
        digits = digits if float(digits) == value else f"{value:.17g}"
        number, mark, exponent = digits.partition("e")
        return f"{number if '.' in number else f'{number}.0'}{mark}{exponent}"

    def within(self, at: str, kind: Any, low: datetime, high: datetime) -> str:
        """Instants are text."""
        inside = f"{at} >= '{low:%Y-%m-%dT%H}' AND {at} < '{high:%Y-%m-%dT%H}'"
        offset = f"({at} GLOB '*T*[+-]*' AND {at} NOT GLOB '*+00:00')"
        return f"({inside}) OR {at} IS NULL OR {at} NOT GLOB '{INSTANT}*' OR {offset}"

    def require_whole(self, name: str, kind: Any) -> None:
        """Always: a file is read in one range."""

    def share(self, connection: Connection) -> str | None:
        """None: one connection reads all."""
        return None

    def is_permanent(self, error: BaseException) -> bool:
        """By SQLite's own name of the error."""
        return getattr(error, "sqlite_errorname", "") in self._PERMANENT


class Postgresql:
    """A server, over TLS with a verified certificate except on this machine and on plain_hosts.

    Settings: "Database Connection Control Functions" of libpq; SQLSTATE classes: appendix A of PostgreSQL's manual.
    """

    signs_in, in_ranges = True, True
    # invalid authorization, no such database, schema, syntax or name or right, value of the query, a write, not supported
    _PERMANENT = ("28", "3D", "3F", "42", "22", "25", "0A")
    # A login that fails has no SQLSTATE in psycopg2.
    _REJECTED = (
        "authentication failed",
        "no pg_hba.conf entry",
        "does not support SSL",
        "certificate",
        "no password supplied",
    )
    _UNKNOWN = ('database "', 'role "')

    def engine(self, url: str, conf: DatabaseConf, data: Path, user: str | None, password: str | None) -> Engine:
        """Nothing is written, whatever a query calls; all queries of a transaction see one state of the database."""
        tls = (
            {"sslmode": "disable"} if conf.is_plain(url) else {"sslmode": "verify-full", "sslrootcert": _authorities()}
        )
        settings = {
            "default_transaction_read_only": "on", "statement_timeout": conf.timeout_s * 1000, "TimeZone": "UTC",
            "extra_float_digits": 3, "client_encoding": "UTF8",
        }  # fmt: skip
        arguments = tls | {
            "gssencmode": "disable", "application_name": "tidegate", "connect_timeout": 10,
            "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3,
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        }  # fmt: skip
        address = _signed(url, user, password).set(drivername="postgresql+psycopg2")
        engine = create_engine(address, connect_args=arguments, poolclass=NullPool, isolation_level="REPEATABLE READ")
        return engine.execution_options(postgresql_readonly=True)

    def column(self, name: str) -> str:
        """As JSON writes it: ISO 8601 for instants, the shortest digits that are the same number (PostgreSQL 12 and later)."""
        return f"(to_json({name}) #>> '{{}}') AS {name}"

    def text(self, value: object) -> str | None:
        """The database has written it already."""
        return plain_text(value)

    def within(self, at: str, kind: Any, low: datetime, high: datetime) -> str:
        """Compared as instants where they are such, so that an index helps; as bytes where they are text."""
        first, last = f"{low:%Y-%m-%dT%H}", f"{high:%Y-%m-%dT%H}"
        if kind not in _PG_TEXT:
            inside = f"{at} >= '{first}:00:00Z' AND {at} < '{last}:00:00Z'"
            return f"({inside}) OR {at} IS NULL OR NOT isfinite({at})"
        text = f'{at}::text COLLATE "C"'
        inside, offset = f"{text} >= '{first}' AND {text} < '{last}'", f"({text} ~ 'T.*[+-]' AND {text} !~ '[+]00:00$')"
        return f"({inside}) OR {at} IS NULL OR NOT {text} ~ '^{INSTANT}' OR {offset}"

    def require_whole(self, name: str, kind: Any) -> None:
        """By the column's type.

        Raises:
            ValueError: it is another one than smallint, integer or bigint.
        """
        if kind not in _PG_WHOLE:
            raise ValueError(f"partition.column '{name}' is not a smallint, integer or bigint")

    def share(self, connection: Connection) -> str | None:
        """A snapshot that other transactions take over."""
        snapshot = str(connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())
        return f"SET TRANSACTION SNAPSHOT '{snapshot}'"

    def is_permanent(self, error: BaseException) -> bool:
        """By class; 57014, a query that took too long, may pass later, as may all of 08 (no connection) and 53, 57 (no room)."""
        state, text = str(getattr(error, "pgcode", None) or ""), str(error)
        unknown = "does not exist" in text and any(word in text for word in self._UNKNOWN)
        return state.startswith(self._PERMANENT) or (
            not state and (unknown or any(word in text for word in self._REJECTED))
        )


class OtherDatabase:
    """Any other dialect of SQLAlchemy, by the driver that the user has installed; never tested.

    The transaction is rolled back, but only a role without rights to write keeps a query from writing.
    """

    signs_in, in_ranges = True, True

    def engine(self, url: str, conf: DatabaseConf, data: Path, user: str | None, password: str | None) -> Engine:
        """TLS is what database.options say to the driver."""
        return create_engine(_signed(url, user, password), connect_args=dict(conf.options), poolclass=NullPool)

    def column(self, name: str) -> str:
        """As the driver gives it."""
        return name

    def text(self, value: object) -> str | None:
        """By the type that the driver gives."""
        return plain_text(value)

    def within(self, at: str, kind: Any, low: datetime, high: datetime) -> str:
        """Compared as text: databases convert such a text where the column is a timestamp."""
        return f"({at} >= '{low:%Y-%m-%d %H}:00:00' AND {at} < '{high:%Y-%m-%d %H}:00:00') OR {at} IS NULL"

    def require_whole(self, name: str, kind: Any) -> None:
        """Not known here: the database says what it cannot compare."""

    def share(self, connection: Connection) -> str | None:
        """None that all databases have."""
        return None

    def is_permanent(self, error: BaseException) -> bool:
        """By the classes of Python's DB-API: a wrong name or statement is one of these."""
        return type(error).__name__ in ("ProgrammingError", "NotSupportedError", "DataError")


_DIALECTS: dict[str, Dialect] = {SQLITE: Sqlite(), POSTGRESQL: Postgresql()}


def dialect_of(url: str) -> Dialect:
    """The dialect whose urls begin like `url`."""
    return next((dialect for start, dialect in _DIALECTS.items() if url.startswith(start)), OtherDatabase())


def _iso(value: Any) -> str:
    return str(value.isoformat())


_TEXTS: Mapping[type, Callable[[Any], str]] = {
    str: str, bool: lambda value: str(value).lower(), int: str, float: repr, Decimal: lambda value: f"{value:f}",
    datetime: _iso, date: _iso, time_of_day: _iso, UUID: str,
}  # fmt: skip


def plain_text(value: object) -> str | None:
    """The text of a value by its type in Python.

    Raises:
        ValueError: bytes, or another type without a text form.
    """
    if value is None:
        return None
    write = _TEXTS.get(type(value))
    if write is None:
        raise ValueError(f"a value of type {type(value).__name__}")
    return write(value)


def _text_or_bytes(raw: bytes) -> str | bytes:
    """Text, or the bytes themselves where they are not UTF-8, which then have no text form."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _signed(url: str, user: str | None, password: str | None) -> URL:
    return make_url(url).set(username=user, password=password)


def _authorities() -> str:
    """The file of certificate authorities that this machine trusts."""
    named = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *_AUTHORITIES)
    return next((file for file in named if file and Path(file).is_file()), certifi.where())
