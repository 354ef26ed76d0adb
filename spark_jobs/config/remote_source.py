"""The section `remote` of a source of kind files: the folder of another file system that its files are copied from.

The copy is `connectors/files`'s work. A secret is never written in conf/, only the name of its variable.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from spark_jobs.config.address import LOOPBACK, PLAIN_HOSTS, URL_ENV, PlainHost, address
from spark_jobs.config.secrets import secret_of
from spark_jobs.config.section import Scalar, Section, Variable
from spark_jobs.errors import UsageError

_PLAIN = ("ftp", "http", "webhdfs")  # protocols without TLS, whatever their options say
_OPENED = ("hdfs", "webhdfs")  # their time of change is the time at which the file was opened for writing
_NO_TIMES = ("http", "https")  # their listings hold no time of change
_RENAMED = {"s3a": "s3", "s3n": "s3", "wasb": "abfs", "wasbs": "abfs", "swebhdfs": "webhdfs", "viewfs": "hdfs"}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_PLACE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(:[0-9]{1,5})?")
_CONTAINER = re.compile(r"^[a-z0-9][a-z0-9-]*@")  # of abfs: the name of a container, not of a user
_PART = re.compile(r"[A-Za-z0-9._~+=, -]+")
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_SECRET = re.compile(r"(?i)key$|key_id$|pass|secret|token|credential|\bsas\b|connection_string")
_SWITCH = re.compile(r"(?i)(^|\.)(verify|use_ssl|ssl|ssl_verify|verify_ssl|check_hostname|trust_env)$")
_HTTP = re.compile(r"(?i)http://([^/:?#]*)")
_KEY = re.compile(r"(ssh-[a-z0-9-]+|ecdsa-[a-z0-9-]+) [A-Za-z0-9+/]+={0,2}")


def _check_root(value: str, plain_hosts: list[str]) -> None:
    scheme, mark, rest = value.partition("://")
    if value.partition(":")[0] == "file" or not mark or not _SCHEME.fullmatch(scheme):
        raise ValueError(
            "is not the url of another file system, such as s3://bucket/deliveries; local drops belong in the landing"
            " folder, without a section remote"
        )
    if scheme in _RENAMED:
        raise ValueError(f"has a scheme of Hadoop; write {_RENAMED[scheme]}://{'' if '@' in rest else rest}")
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
        raise ValueError(f"{scheme} has no TLS; name the host in plain_hosts if it is in your own network")


def _root(value: str) -> str:
    _check_root(value, [value.partition("://")[2].partition("/")[0].partition(":")[0]])
    return value


def _option(value: str) -> str:
    if value.startswith(("fs.", "dfs.", "hadoop.")):
        raise ValueError(
            "is an option of Hadoop; write the one of the fsspec file system, such as endpoint_url, key and secret for s3,"
            " or username and password for ftp and sftp"
        )
    if not _OPTION.fullmatch(value):
        raise ValueError("is not an option of a file system; use letters, digits, _ and dots between nested names")
    return value


def _open_option(value: str) -> str:
    if _SECRET.search(_option(value)):
        raise ValueError("may hold a secret; write it in options_env, with the name of a variable")
    return value


def _host_key(value: str) -> str:
    if not _KEY.fullmatch(value):
        raise ValueError(
            "is not a public key; write type and key as ssh-keyscan prints them, such as ssh-ed25519 AAAA…"
        )
    return value


class RemoteConf(Section):
    """The folder from which task `fetch_<source>` and `tidegate fetch` copy the files of the hours into the landing folder.

    Only of kind files; `manifests` and `complete` have the same meaning there as in the landing folder. Read by fsspec:
    ftp, sftp and s3 are tested against real servers; gs, abfs, hdfs and https need their package and were never run.
    """

    root: Annotated[str, AfterValidator(_root)] = Field(
        description="scheme://host/folder or scheme://bucket/folder, below which the paths of `manifests` and `complete` lie;"
        " no file:, user, password or setting in it; ftp, http and webhdfs, which have no TLS, on 127.0.0.1, localhost or"
        " one of plain_hosts; example: s3://deliveries/shop"
    )
    root_env: Variable | None = Field(
        default=None, description=URL_ENV.replace("url", "root").replace("SHOP_URL", "ORDERS_ROOT")
    )
    plain_hosts: list[PlainHost] = Field(default=[], description=PLAIN_HOSTS)
    host_keys: list[Annotated[str, AfterValidator(_host_key)]] = Field(
        default=[],
        description="of sftp: the server's public keys, any of which it must have; left out: it must be in"
        " ~/.ssh/known_hosts; example: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI…]",
    )
    options: dict[Annotated[str, AfterValidator(_open_option)], Scalar] = Field(
        default={},
        description="options of the fsspec file system that are no secrets, nested names with a dot;"
        " example: {endpoint_url: https://s3.example.com, client_kwargs.region_name: eu-central-1}",
    )
    options_env: dict[Annotated[str, AfterValidator(_option)], Variable] = Field(
        default={},
        description="more options, each with the name of the environment variable that has its value, which enters no log;"
        " example: {key: ORDERS_S3_KEY, secret: ORDERS_S3_SECRET}",
    )
    timeout_s: int = Field(
        default=300, ge=1, le=86_400,
        description="longest time to list a folder, or to copy one file; unit: seconds; example: 300",
    )  # fmt: skip

    def address(self) -> str:
        """The root that applies in this environment.

        Raises:
            UsageError: the variable of root_env holds no valid one.
        """
        return address(self.root, self.root_env, lambda root: _check_root(root, self.plain_hosts))

    def has_write_times(self, root: str) -> bool:
        """Whether listings below `root` show when a file was last written to, which `complete.by: stable` relies on."""
        return root.partition(":")[0] not in (*_OPENED, *_NO_TIMES)

    def has_times(self, root: str) -> bool:
        """Whether listings below `root` show any time of change, which `complete.by: marker` relies on."""
        return root.partition(":")[0] not in _NO_TIMES

    def secrets(self, where: str) -> dict[str, str]:
        """The options of options_env with their values.

        Raises:
            UsageError: a variable is not set, or holds an address without TLS that is not allowed.
        """
        values = {name: secret_of(where, variable) for name, variable in self.options_env.items()}
        for name, value in values.items():
            try:
                self._check_tls(name, value)
            except ValueError as error:
                raise UsageError(
                    where, f"variable {self.options_env[name]}: {error}", f"a value for option {name} with TLS",
                    f"export {self.options_env[name]}=…",
                ) from None  # fmt: skip
        return values

    def storage_options(self, secrets: dict[str, str]) -> dict[str, Any]:
        """All options as fsspec takes them: a dotted name is an option inside an option."""
        nested: dict[str, Any] = {}
        for name, value in {**self.options, **secrets}.items():
            *outer, last = name.split(".")
            inner = nested
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[last] = value
        return nested

    def _check_tls(self, name: str, value: Scalar) -> None:
        if _SWITCH.search(name) and str(value).lower() in ("false", "0", "no", ""):
            raise ValueError("turns TLS or its certificates off; leave it out, the host must be in plain_hosts anyway")
        plain = _HTTP.match(str(value))
        if plain and plain[1] not in (*LOOPBACK, *self.plain_hosts):
            raise ValueError(
                "http has no TLS; write https, or name the host in plain_hosts if it is in your own network"
            )

    @model_validator(mode="after")
    def _options_are_clear(self) -> RemoteConf:
        names = [*self.options, *self.options_env]
        twice = sorted(set(self.options) & set(self.options_env))
        inside = sorted(name for name in names if any(name.startswith(f"{outer}.") for outer in names))
        if twice:
            raise ValueError(f"options_env: {', '.join(twice)} stands in options, too")
        if inside:
            raise ValueError(f"options: {', '.join(inside)} is inside an option that has a value of its own")
        if self.host_keys and not self.root.startswith("sftp://"):
            raise ValueError("host_keys: belong to sftp://; leave them out")
        try:
            _check_root(self.root, self.plain_hosts)
        except ValueError as error:
            raise ValueError(f"root: {error}") from None
        for name, value in self.options.items():
            try:
                self._check_tls(name, value)
            except ValueError as error:
                raise ValueError(f"options: '{name}' {error}") from None
        return self
