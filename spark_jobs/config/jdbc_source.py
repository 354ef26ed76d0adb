"""The section `jdbc` of a source: which rows of a database make an hour's drop, and how Spark asks for them.

Nothing is asked here; `sources/jdbc.py` does. A password never stands in conf/, only the name of the variable that has it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from spark_jobs.config.address import LOOPBACK, PLAIN_HOSTS, URL_ENV, PlainHost, address
from spark_jobs.config.section import Section, Variable

SQLITE, POSTGRESQL = "jdbc:sqlite:", "jdbc:postgresql:"
_FILE = re.compile(rf"{SQLITE}(\{{data\}}/)?[A-Za-z0-9_\-./ ]+")
_SERVER = re.compile(rf"{POSTGRESQL}//([A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]{{1,5}})?/[A-Za-z0-9_-]+")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
_NOT_YET = ("jdbc:mysql:", "jdbc:mariadb:", "jdbc:oracle:", "jdbc:sqlserver:", "jdbc:db2:")


def _check_url(text: str) -> None:
    if text.startswith(_NOT_YET):
        raise ValueError(f"not yet: databases other than SQLite and PostgreSQL; legal: {SQLITE}, {POSTGRESQL}")
    if not (_SERVER.fullmatch(text) or (_FILE.fullmatch(text) and ".." not in text.split("/"))):
        raise ValueError(
            "is neither jdbc:sqlite: and the path of a file, without '..', nor jdbc:postgresql://host:port/database, both"
            " without settings; user and password go into user_env and password_env"
        )


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


Identifier = Annotated[str, AfterValidator(_identifier)]


class PartitionConf(Section):
    """Several reads at once, by ranges of a column; rows outside of the bounds are read, too."""

    column: Identifier = Field(description="a column of numbers; example: order_id")
    lower: int = Field(description="where the first range ends to count up from; example: 0")
    upper: int = Field(description="where the last range begins at the latest; example: 1000000")
    count: int = Field(ge=2, le=64, description="how many ranges; example: 4")

    @model_validator(mode="after")
    def _some_range(self) -> PartitionConf:
        if self.lower >= self.upper:
            raise ValueError(f"lower {self.lower} is not below upper {self.upper}")
        return self


class JdbcConf(Section):
    """What step `query` asks a database for. Needed by kind jdbc, refused with any other."""

    url: Annotated[str, BeforeValidator(_url)] = Field(
        description="jdbc:sqlite: and the path of the file, {data} is the data folder; or"
        " jdbc:postgresql://host:port/database, by TLS with a checked certificate but on hosts without (plain_hosts);"
        " others: not yet; example: jdbc:sqlite:{data}/upstream/shop.db"
    )
    url_env: Variable | None = Field(default=None, description=URL_ENV)
    plain_hosts: list[PlainHost] = Field(default=[], description=PLAIN_HOSTS)
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
    fetch_rows: int = Field(default=10_000, ge=1, description="rows of one round trip; example: 10000")
    timeout_s: int = Field(
        default=300, ge=1, le=86_400, description="longest time of one query; unit: seconds; example: 300"
    )
    max_rows: int = Field(default=5_000_000, ge=1, description="most rows of one drop; example: 5000000")

    def address(self) -> str:
        """The url that holds in this environment.

        Raises:
            UsageError: the variable of url_env holds no legal one.
        """
        return address(self.url, self.url_env, _check_url)

    def file(self, data: Path) -> Path | None:
        """The file of a SQLite database, none of a server; `data` is the data folder.

        Raises:
            UsageError: see `address`.
        """
        url = self.address()
        return data / url.removeprefix(SQLITE).replace("{data}", str(data)) if url.startswith(SQLITE) else None

    def is_plain(self, url: str) -> bool:
        """Whether the server of a legal url is spoken to without TLS."""
        server = _SERVER.fullmatch(url)
        return server is not None and server[1] in (*LOOPBACK, *self.plain_hosts)

    @model_validator(mode="after")
    def _one_way(self) -> JdbcConf:
        if (self.table is None) == (self.query is None):
            raise ValueError("needs a table or a query, and not both")
        if self.arrived == "changed" and self.changed_at is None:
            raise ValueError("arrived: changed needs changed_at; a snapshot is known when it is read")
        return self
