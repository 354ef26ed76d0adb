"""The section `database` of a source: which rows of a database form an hour's drop, and how they are read.

The connection is `connectors/database`'s work. A password is never written in conf/, only the name of its variable.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from spark_jobs.config.address import LOOPBACK, PLAIN_HOSTS, URL_ENV, PlainHost, address
from spark_jobs.config.section import Scalar, Section, Variable

SQLITE, POSTGRESQL = "sqlite:///", "postgresql://"
_FILE = re.compile(rf"{SQLITE}(\{{data\}}/)?[A-Za-z0-9_\-./ ]+")
_SERVER = re.compile(
    r"([a-z][a-z0-9_]*(?:\+[a-z][a-z0-9_]*)?)://([A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]{1,5})?/[A-Za-z0-9_-]+"
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_SECRET = re.compile(r"(?i)pass|pwd|secret|token|credential|^user")


def _check_url(text: str) -> None:
    if text.startswith("jdbc:"):
        raise ValueError(f"is a JDBC url; write the SQLAlchemy url instead{_translated(text)}")
    server = _SERVER.fullmatch(text)
    if server and server[1].startswith(("postgresql+", "sqlite")):
        raise ValueError("names a driver; write postgresql://host:port/database or sqlite:///path of the file")
    if not (server or (_FILE.fullmatch(text) and ".." not in text.split("/"))):
        raise ValueError(
            "is neither sqlite:/// and the path of a file, without '..', nor dialect://host:port/database, such as"
            " postgresql://db.example.com:5432/shop, without settings; user and password go into user_env and password_env"
        )


def _translated(text: str) -> str:
    """The SQLAlchemy url for a JDBC url as text; empty when the JDBC url holds settings or secrets."""
    bare = text.removeprefix("jdbc:")
    url = bare.replace("sqlite:", SQLITE, 1) if bare.startswith("sqlite:") else bare
    try:
        _check_url(url)
    except ValueError:
        return f": {SQLITE}{{data}}/shop.db or {POSTGRESQL}db.example.com:5432/shop"
    return f": {url}"


def _url(value: object) -> object:
    _check_url(str(value))
    return value


def _identifier(value: str) -> str:
    if not _IDENTIFIER.fullmatch(value):
        raise ValueError(f"'{value}' is not a name of the database; use letters, digits and _, schema.table at most")
    return value


def _query(value: str) -> str:
    if ";" in value:
        raise ValueError("holds a ';'; write one SELECT without it")
    if not re.match(r"(?is)\s*(select|with)\b", value):
        raise ValueError("must begin with SELECT or WITH")
    return value


def _option(value: str) -> str:
    if not _OPTION.fullmatch(value):
        raise ValueError("is not an argument of a driver; use letters, digits and _")
    if _SECRET.search(value):
        raise ValueError("may hold a secret; user and password go into user_env and password_env")
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]


class PartitionConf(Section):
    """Several reads in parallel, by ranges of a column; rows outside of the bounds are read, too."""

    column: Identifier = Field(description="a column of whole numbers; example: order_id")
    lower: int = Field(description="start of the first range; example: 0")
    upper: int = Field(description="end of the last range; example: 1000000")
    count: int = Field(ge=2, le=64, description="how many ranges; a SQLite file is read in one; example: 4")

    @model_validator(mode="after")
    def _some_range(self) -> PartitionConf:
        if self.lower >= self.upper:
            raise ValueError(f"lower {self.lower} is not below upper {self.upper}")
        return self


class DatabaseConf(Section):
    """The rows that task `fetch_<source>` and `tidegate fetch` read. Required by kind database, refused with any other."""

    url: Annotated[str, BeforeValidator(_url)] = Field(
        description="a SQLAlchemy url: sqlite:/// and the path of the file, {data} is the data folder; or"
        " postgresql://host:port/database, over TLS with a verified certificate except on plain_hosts; or"
        " dialect+driver://host:port/database of another database, whose driver you install and whose TLS you set in"
        " options (never tested); example: sqlite:///{data}/upstream/shop.db"
    )
    url_env: Variable | None = Field(default=None, description=URL_ENV)
    plain_hosts: list[PlainHost] = Field(default=[], description=PLAIN_HOSTS)
    options: dict[Annotated[str, AfterValidator(_option)], Scalar] = Field(
        default={},
        description="arguments of the driver of another database, such as those for TLS; not for SQLite and PostgreSQL;"
        " example: {ssl_ca: /etc/ssl/certs/ca-certificates.crt, ssl_verify_identity: true}",
    )
    table: Identifier | None = Field(
        default=None, description="a table or view, of which every column is declared; or `query`; example: orders"
    )
    query: Annotated[str, AfterValidator(_query)] | None = Field(
        default=None,
        description="one SELECT with the declared columns, instead of `table`; example: SELECT id, amount FROM orders",
    )
    changed_at: Identifier | None = Field(
        default=None,
        description="column with the instant at which a row was written, in UTC, as text such as 2013-11-01T12:00:00Z or"
        " (PostgreSQL) timestamptz: a row"
        " belongs to the drop of that hour, a row without one refuses it; left out: a snapshot, the whole table is the"
        " drop of the interval's last hour, its other hours are empty; example: updated_at",
    )
    arrived: Literal["fetched", "changed"] = Field(
        default="fetched",
        description="when the rows count as known: when they were read, or at the end of the hour of changed_at (for a"
        " table that keeps its past and is right about it); example: fetched",
    )
    partition: PartitionConf | None = Field(default=None)
    user_env: Variable | None = Field(
        default=None, description="name of the environment variable with the user of a server; example: SHOP_USER"
    )
    password_env: Variable | None = Field(
        default=None, description="name of the environment variable with that user's password; example: SHOP_PASSWORD"
    )
    fetch_rows: int = Field(default=10_000, ge=1, description="rows per round trip; example: 10000")
    timeout_s: int = Field(
        default=300, ge=1, le=86_400, description="longest time of one query; unit: seconds; example: 300"
    )
    max_rows: int = Field(default=5_000_000, ge=1, description="maximum number of rows of one drop; example: 5000000")

    def address(self) -> str:
        """The url that applies in this environment.

        Raises:
            UsageError: the variable of url_env holds no valid one.
        """
        return address(self.url, self.url_env, self._check_address)

    def file(self, data: Path) -> Path | None:
        """The file of a SQLite database, none for a server; `data` is the data folder.

        Raises:
            UsageError: see `address`.
        """
        url = self.address()
        return data / url.removeprefix(SQLITE).replace("{data}", str(data)) if url.startswith(SQLITE) else None

    def is_plain(self, url: str) -> bool:
        """Whether the connection to the server of a valid url goes without TLS."""
        server = _SERVER.fullmatch(url)
        return server is not None and server[2] in (*LOOPBACK, *self.plain_hosts)

    def _check_address(self, url: str) -> None:
        _check_url(url)
        if not (url.startswith((SQLITE, POSTGRESQL)) or self.options or self.is_plain(url)):
            raise ValueError(
                "is of a database whose TLS settings are not known; write the driver's arguments for TLS in options, or name"
                " the host in plain_hosts if it is in your own network"
            )

    @model_validator(mode="after")
    def _rows_and_connection_are_clear(self) -> DatabaseConf:
        if (self.table is None) == (self.query is None):
            raise ValueError("needs a table or a query, and not both")
        if self.arrived == "changed" and self.changed_at is None:
            raise ValueError("arrived: changed needs changed_at; a snapshot is known when it is read")
        if self.options and self.url.startswith((SQLITE, POSTGRESQL)) and self.url_env is None:
            raise ValueError("options: belong to databases other than SQLite and PostgreSQL; leave them out")
        try:
            self._check_address(self.url)
        except ValueError as error:
            raise ValueError(f"url: {error}") from None
        return self
