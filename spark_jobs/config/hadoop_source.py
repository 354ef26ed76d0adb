"""The section `hadoop` of a source of kind files: which folder of another file system its files are copied from, and how.

Nothing is read here; `sources/hadoop.py` does. A secret never stands in conf/, only the name of the variable that has it.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from spark_jobs.config.address import LOOPBACK, PLAIN_HOSTS, URL_ENV, PlainHost, address
from spark_jobs.config.secrets import secret_of
from spark_jobs.config.section import Scalar, Section, Variable

_PLAIN = ("ftp", "http", "webhdfs")  # whatever is set, they never speak TLS
_OPENED = ("hdfs", "webhdfs", "swebhdfs", "viewfs")  # tell of a file that is still open only when that began
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_PLACE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(:[0-9]{1,5})?")
_CONTAINER = re.compile(r"^[a-z0-9][a-z0-9-]*@")  # of abfs: names a container, no user
_PART = re.compile(r"[A-Za-z0-9._~+=, -]+")
_OPTION = re.compile(r"(fs|dfs|hadoop)(\.[A-Za-z0-9_-]+)+")
_SECRET = re.compile(r"(?i)key|pass|secret|token|credential|\bsas\b")


def _check_root(value: str, plain_hosts: list[str]) -> None:
    scheme, mark, rest = value.partition("://")
    if value.partition(":")[0] == "file" or not mark or not _SCHEME.fullmatch(scheme):
        raise ValueError(
            "names no other file system, such as hdfs://namenode:8020/deliveries; local drops belong in the landing folder,"
            " without a section hadoop"
        )
    place, _, path = rest.partition("/")
    if "?" in rest or "#" in rest:
        raise ValueError("holds settings behind a ? or #; write options, or options_env for secrets")
    if scheme in ("abfs", "abfss"):
        place = _CONTAINER.sub("", place, count=1)
    if "@" in place:
        raise ValueError("holds a user or password; write options_env: names of variables with them")
    host = _PLACE.fullmatch(place)
    if not host:
        raise ValueError("names no host or bucket behind ://")
    if any(part in (".", "..") or not _PART.fullmatch(part) for part in path.rstrip("/").split("/") if path.strip("/")):
        raise ValueError("its folder may hold no '..', '.', empty part, wildcard or place such as {day}")
    if scheme in _PLAIN and host[1] not in (*LOOPBACK, *plain_hosts):
        raise ValueError(f"{scheme} has no TLS; name the host in plain_hosts, if it stands in your own network")


def _root(value: str) -> str:
    _check_root(value, [value.partition("://")[2].partition("/")[0].partition(":")[0]])
    return value


def _option(value: str) -> str:
    if not _OPTION.fullmatch(value):
        raise ValueError("is not an option of a file system; legal: names that begin with fs., dfs. or hadoop.")
    return value


def _open_option(value: str) -> str:
    if _SECRET.search(_option(value)):
        raise ValueError("may hold a secret; write it in options_env, with the name of a variable")
    return value


class HadoopConf(Section):
    """The folder of another file system from which step `query` copies the files of the hours into the landing folder.

    Only of kind files; `manifests` and `complete` say the same names there as in the landing folder. hdfs, webhdfs and ftp
    come with Spark; of others (s3a, abfs, gs) you bring the jar, and none of these was ever run. Tests run ftp.
    """

    root: Annotated[str, AfterValidator(_root)] = Field(
        description="scheme://host/folder, below which the paths of `manifests` and `complete` lie; no file:, user, password or"
        " setting in it; ftp and webhdfs, which have no TLS, on 127.0.0.1, localhost or one of plain_hosts; what ftp says of when a"
        " file changed is taken for UTC and is exact to the minute, of files older than half a year to the day; example: hdfs://namenode:8020/deliveries"
    )
    root_env: Variable | None = Field(
        default=None, description=URL_ENV.replace("url", "root").replace("SHOP_URL", "ORDERS_ROOT")
    )
    plain_hosts: list[PlainHost] = Field(default=[], description=PLAIN_HOSTS)
    options: dict[Annotated[str, AfterValidator(_open_option)], Scalar] = Field(
        default={},
        description="Hadoop's own options for it that are no secrets, names that begin with fs., dfs. or hadoop.;"
        " example: {fs.s3a.endpoint: https://s3.example.com}",
    )
    options_env: dict[Annotated[str, AfterValidator(_option)], Variable] = Field(
        default={},
        description="more options, each with the name of the environment variable that has its value, which enters neither"
        " Spark's settings nor a log; example: {fs.s3a.secret.key: ORDERS_S3_SECRET}",
    )
    timeout_s: int = Field(
        default=300, ge=1, le=86_400,
        description="longest time to list a folder, or to copy one file; unit: seconds; example: 300",
    )  # fmt: skip

    def address(self) -> str:
        """The root that holds in this environment.

        Raises:
            UsageError: the variable of root_env holds no legal one.
        """
        return address(self.root, self.root_env, lambda root: _check_root(root, self.plain_hosts))

    def tells_of_writing(self, root: str) -> bool:
        """Whether a file below `root` that nobody wrote to for a while is whole: not where its time is that of its opening."""
        return root.partition(":")[0] not in _OPENED

    def secrets(self, where: str) -> dict[str, str]:
        """The options of options_env with their values.

        Raises:
            UsageError: a variable is not set.
        """
        return {name: secret_of(where, variable) for name, variable in self.options_env.items()}

    def open_options(self) -> dict[str, str]:
        """The other options, as Hadoop writes them."""
        return {name: str(one).lower() if isinstance(one, bool) else str(one) for name, one in self.options.items()}

    @model_validator(mode="after")
    def _one_value_an_option(self) -> HadoopConf:
        twice = sorted(set(self.options) & set(self.options_env))
        if twice:
            raise ValueError(f"options_env: {', '.join(twice)} stands in options, too")
        return self

    @model_validator(mode="after")
    def _root_is_not_readable_on_the_way(self) -> HadoopConf:
        try:
            _check_root(self.root, self.plain_hosts)
        except ValueError as error:
            raise ValueError(f"root: {error}") from None
        return self
