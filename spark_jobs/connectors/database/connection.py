"""A database while its rows are read: one transaction that reads, a deadline, and what an error of the driver means."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from spark_jobs.config.database_source import POSTGRESQL, SQLITE, DatabaseConf
from spark_jobs.config.secrets import secret_of
from spark_jobs.connectors.database.dialects import dialect_of
from spark_jobs.errors import RetryError, TidegateError, UsageError
from spark_jobs.identifiers import quoted


class Database:
    """The database of a source; `where` begins every error, none shows a user's password.

    Raises:
        UsageError: a variable is not set, or the driver is not installed.
    """

    def __init__(self, where: str, conf: DatabaseConf, data: Path) -> None:
        self.where, self.conf, self.address = where, conf, conf.address()
        self.dialect = dialect_of(self.address)
        signs_in = self.dialect.signs_in
        user, password = (
            secret_of(where, variable) if variable and signs_in else None
            for variable in (conf.user_env, conf.password_env)
        )
        self._password, self._end = password, time.monotonic() + conf.timeout_s
        self._stopped = threading.Event()
        try:
            self._engine = self.dialect.engine(self.address, conf, data, user, password)
        except (ImportError, NoSuchModuleError, ArgumentError) as error:
            raise UsageError(
                where, f"no driver for {self.address}: {self._bounded(error)}", "an installed driver of SQLAlchemy",
                "pip install 'tidegate[postgres]' for PostgreSQL, or the driver of your database, then the same command",
            ) from error  # fmt: skip

    def quoted(self, name: str) -> str:
        """A name as it is written in a statement, whatever word it is."""
        if self.address.startswith((SQLITE, POSTGRESQL)):
            return quoted(name, "postgresql")  # double quotes in both
        return self._engine.dialect.identifier_preparer.quote_identifier(name)

    @contextmanager
    def reading(self, share: str | None = None) -> Iterator[Connection]:
        """A transaction that is rolled back in the end; `share`: it sees the state of another one (`Dialect.share`).

        Raises:
            UsageError, RetryError: what an error of the driver, in here or while it is in force, means.
        """
        try:
            with self._engine.connect() as connection:
                if share:
                    connection.exec_driver_sql(share)
                yield connection
                connection.rollback()
        except SQLAlchemyError as error:
            raise self._fault(error) from error

    def columns(self, connection: Connection, rows: str) -> dict[str, Any]:
        """Name and type, as the driver says it, of each column of a select.

        Raises:
            UsageError: two columns have one name.
        """
        result = self._execute(connection, f"SELECT * FROM ({rows}\n) requested WHERE 1 = 0")
        described: Sequence[Any] = result.cursor.description if result.cursor else ()
        names = [str(column[0]) for column in described]
        result.close()
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(
                self.where, f"columns {', '.join(twice)} twice", "each name once", "name the columns in database.query"
            )
        return {name: column[1] for name, column in zip(names, described, strict=True)}

    def blocks(self, connection: Connection, statement: str) -> Iterator[Sequence[Sequence[Any]]]:
        """The rows of a statement, at most database.fetch_rows at a time; the server keeps the rest.

        Raises:
            RetryError: all of it takes longer than database.timeout_s.
        """
        for block in self._execute(connection, statement).partitions(self.conf.fetch_rows):
            if self._stopped.is_set():
                return
            if time.monotonic() > self._end:
                raise self._too_slow()
            yield block

    def stop(self) -> None:
        """End reading in all threads after the block at hand."""
        self._stopped.set()

    def _execute(self, connection: Connection, statement: str) -> Any:
        # no_parameters: a % or : of a query is not a placeholder
        options: dict[str, Any] = {"stream_results": True, "no_parameters": True, "yield_per": self.conf.fetch_rows}
        return connection.exec_driver_sql(statement, execution_options=options)

    def _fault(self, error: SQLAlchemyError) -> TidegateError:
        """A wrong query, login or address (64), or a database that does not answer now (75)."""
        cause = getattr(error, "orig", None) or error
        text = self._bounded(cause)
        if name := getattr(cause, "sqlite_errorname", ""):
            if name == "SQLITE_INTERRUPT":
                return self._too_slow()
            text = f"{text} ({name})"
        if self.dialect.is_permanent(cause):
            return UsageError(
                self.where, f"query of {self.address} failed: {text}", "a query, user and address that it accepts",
                "correct the section database in sources.yaml, or the rights of its user",
            )  # fmt: skip
        return RetryError(
            self.where, f"{self.address} cannot be queried: {text}", "an answer",
            "the same command goes on when the database answers",
        )  # fmt: skip

    def _too_slow(self) -> RetryError:
        return RetryError(
            self.where, f"{self.address} cannot be queried: no end after {self.conf.timeout_s} s",
            "all rows within database.timeout_s", "try again when it has less load, or raise timeout_s in sources.yaml",
        )  # fmt: skip

    def _bounded(self, error: BaseException) -> str:
        text = str(error).strip().partition("\n")[0][:300]
        return text.replace(self._password, "***") if self._password else text
