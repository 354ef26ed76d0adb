"""sources.yaml and replay.yaml: what is taken, and what is refused with its rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from spark_jobs.config.replay import HourOf, ReplayConf
from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.errors import UsageError

CONF = Path(__file__).parents[2] / "conf" / "pipelines" / "nycflights13"
ORDERS: dict[str, Any] = {
    "kind": "files",
    "manifests": "orders/{day}/{hour}.manifest.json",
    "format": "csv",
    "columns": ["id", "amount"],
}


def test_the_shipped_example_delivers_exactly_the_columns_that_its_sources_declare() -> None:
    """What replay.yaml makes and what sources.yaml expects are the same names and formats."""
    sources = SourcesConf.model_validate(yaml.safe_load((CONF / "sources.yaml").read_text())).sources
    replayed = ReplayConf.model_validate(yaml.safe_load((CONF / "replay.yaml").read_text())).sources
    assert {name: (s.format, set(s.columns)) for name, s in sources.items()} == {
        name: (s.format, {*s.columns, *([s.stamp] if s.stamp else [])}) for name, s in replayed.items()
    }


def test_defaults_are_a_grace_of_15_minutes_and_two_texts_for_no_value() -> None:
    """The least that a source has to say."""
    source = SourceConf.model_validate(ORDERS)
    assert (source.grace, source.nulls) == (timedelta(minutes=15), ["", "NA"])


@pytest.mark.parametrize(
    "path",
    [
        "/etc/{day}/{hour}",
        "../{day}/{hour}",
        "a/../../{day}/{hour}",
        "{day}//{hour}",
        "a\\{day}\\{hour}",
        "~/{day}/{hour}",
        "file:/{day}/{hour}",
        "./{day}/{hour}",
        "orders/{day}",
        "orders/{hour}/{day}",
        "orders/*/{day}/{hour}",
        "{day}/{hour}/{x}{hour}",
    ],
)
def test_N15_a_manifest_path_that_may_lead_out_of_the_landing_folder_is_refused(path: str) -> None:
    """Absolute, '..', wildcard, other braces, or without the two fields."""
    with pytest.raises(ValidationError, match=r"relative|may not|must hold|may hold"):
        SourceConf.model_validate(ORDERS | {"manifests": path})
    for field, other in (("data", "marker"), ("marker", "data")):
        with pytest.raises(ValidationError, match=rf"complete.{field}\n.*(relative|may not|must hold|may hold)"):
            SourceConf.model_validate(
                ORDERS | {"complete": {"by": "marker", field: path, other: "orders/{day}/{hour}.x"}}
            )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "database"}, "needs a section database"),
        ({"kind": "jdbc", "jdbc": {}}, "kind: jdbc was replaced by database; write kind: database"),
        ({"kind": "htp"}, "'files', 'http' or 'database'"),
        ({"format": "avro"}, "'csv', 'jsonl' or 'parquet'"),
        ({"format": "cvs"}, "csv"),
        ({"columns": []}, "at least 1"),
        ({"columns": ["id", "ID"]}, "more than once"),
        ({"columns": ["hour"]}, "every lake row has"),
        ({"columns": ["a`; drop"]}, "not a column name"),
        ({"grace": "15 min"}, "not a duration"),
        ({"delimiter": ";"}, "Extra inputs"),
        ({"drift": "null"}, "'quarantine' or 'refuse'"),
    ],
)
def test_what_a_source_may_not_say_is_refused_with_its_reason(change: dict[str, object], said: str) -> None:
    """Each change of a good source alone is a fault."""
    with pytest.raises(ValidationError, match=said):
        SourceConf.model_validate(ORDERS | change)


DATA = {"data": "orders/{day}/{hour}.csv.gz"}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "parquet"},
        {"drift": "refuse"},
        {"drift": "quarantine"},
        {"complete": {}},
        {"complete": {"by": "manifest"}},
        {"complete": {"by": "marker", "marker": "orders/{day}/{hour}.done"} | DATA},
        {"complete": {"by": "marker", "marker": "ready/{day}-{hour}"} | DATA},
        {"complete": {"by": "stable", "for": "10m"} | DATA},
    ],
)
def test_what_a_source_of_kind_files_may_say(change: dict[str, Any]) -> None:
    """Each field with a value that is taken, and that comes back as it was written."""
    source = SourceConf.model_validate(ORDERS | change)
    told = source.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert {name: told.get(name, {"complete": {}, "drift": "quarantine"}.get(name)) for name in change} in (
        change, {"complete": {}},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("complete", "said"),
    [
        ({"by": "marker"} | DATA, "by: marker needs marker: as well"),
        ({"by": "marker", "marker": "orders/{day}/{hour}.done"}, "by: marker needs data: as well"),
        ({"by": "stable"} | DATA, "by: stable needs for: as well"),
        ({"by": "stable", "for": "10m"}, "by: stable needs data: as well"),
        (DATA, "data: does not belong to by: manifest"),
        (
            {"by": "marker", "marker": "orders/{day}/{hour}.done", "for": "1m"} | DATA,
            "for: does not belong to by: marker",
        ),
        (
            {"by": "stable", "marker": "orders/{day}/{hour}.done", "for": "1m"} | DATA,
            "marker: does not belong to by: stable",
        ),
        ({"by": "stable", "for": "0m"} | DATA, "no time at all"),
        ({"by": "stable", "for": "15m"} | DATA, "not less than grace"),
        ({"by": "stable", "for": "10 min"} | DATA, "not a duration"),
        ({"by": "marker", "marker": DATA["data"]} | DATA, "is the data file itself"),
        ({"by": "stable", "for": "1m", "data": "other/{day}/{hour}.csv"}, "in the folder of manifests"),
        ({"by": "stable", "for": "1m", "data": "orders/{day}/{hour}.manifest.json"}, "has the name of a manifest"),
        ({"by": "stable", "for": "1m", "data": "orders/{day}/{hour}.2.manifest.json"}, "has the name of a manifest"),
        ({"by": "marker", "marker": "orders/{day}/{hour}.3.manifest.json"} | DATA, "has the name of a manifest"),
        ({"by": "done"} | DATA, "'manifest', 'marker' or 'stable'"),
        ({"by": "marker", "done": "x"} | DATA, "Extra inputs"),
    ],
)
def test_ways_to_be_complete_that_cannot_be_meant_are_refused(complete: dict[str, Any], said: str) -> None:
    """What is missing, what does not belong, what would be taken for something else, what would always be late."""
    with pytest.raises(ValidationError, match=said):
        SourceConf.model_validate(ORDERS | {"complete": complete})


HTTP: dict[str, Any] = {"url": "https://api.example.com/orders?from={from}&to={to}"}
CURSOR: dict[str, Any] = {"pages": "cursor", "rows": "/data", "cursor": {"field": "/meta/next", "parameter": "after"}}


def _http(section: dict[str, Any] | None = None, **changes: Any) -> SourceConf:
    more = {"kind": "http", "format": "jsonl", "http": HTTP | (section or {})}
    return SourceConf.model_validate(ORDERS | more | changes)


def test_the_defaults_of_kind_http_are_one_page_five_minutes_and_64_mib() -> None:
    """The least that it has to say is a url."""
    http = _http().http
    assert http is not None
    assert (http.pages, http.rows, http.token_env, http.timeout, http.max_bytes) == (
        "none", None, None, timedelta(minutes=5), 64 << 20,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ({"url": "https://api.example.com:8443/{day}/{hour}.csv"}, {"format": "csv"}),
        ({"url": "http://127.0.0.1:8080/{from}"}, {}),
        ({"url": "http://localhost/?to={to}"}, {}),
        ({"url": "http://upstream:80/{from}", "plain_hosts": ["upstream"], "url_env": "ORDERS_URL"}, {}),
        ({"pages": "none"}, {}),
        ({"pages": "link"}, {"format": "csv"}),
        (CURSOR, {}),
        (CURSOR | {"cursor": {"field": "/a~1b", "parameter": "page.no"}}, {}),
        ({"rows": "/data/0/items"}, {}),
        ({"token_env": "ORDERS_TOKEN_2"}, {}),
        ({"timeout": "1m"}, {}),
        ({"max_bytes": 1}, {}),
        ({"max_bytes": 1 << 30}, {}),
    ],
)
def test_what_kind_http_may_say(section: dict[str, Any], changes: dict[str, Any]) -> None:
    """Each field with a value that is taken."""
    http = _http(section, **changes).http
    assert http is not None
    told = http.model_dump(mode="json")
    assert {name: told[name] for name in section} == section


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ({"url": "http://api.example.com/{from}"}, {}, "write https"),
        ({"url": "http://127.0.0.1.example.com/{from}"}, {}, "write https"),
        ({"url": "http://upstream.example.com/{from}", "plain_hosts": ["upstream"]}, {}, "write https"),
        ({"plain_hosts": ["http://upstream"]}, {}, "pattern"),
        ({"url_env": "orders"}, {}, "not the name of a variable"),
        ({"url": "ftp://api.example.com/{from}"}, {}, "must begin with https://"),
        ({"url": "file:///orders/{from}"}, {}, "must begin with https://"),
        ({"url": "https:///orders/{from}"}, {}, "must begin with https://"),
        ({"url": "https://{hour}.example.com/{day}"}, {}, "must begin with https://"),
        ({"url": "https://me:secret@api.example.com/{from}"}, {}, "write token_env"),
        ({"url": "https://api.example.com:port/{from}"}, {}, "is not a url"),
        ({"url": "https://api.example.com/{from}#top"}, {}, "is not a url"),
        ({"url": "https://api.example.com/{from} {to}"}, {}, "is not a url"),
        ({"url": "https://api.example.com\\@evil/{from}"}, {}, "is not a url"),
        ({"url": "https://api.example.com/{form}"}, {}, "is not a url"),
        ({"url": "https://api.example.com/orders"}, {}, "must name the hour"),
        ({"url": "https://api.example.com/{day}"}, {}, "must name the hour"),
        ({"url": "https://api.example.com/{hour}"}, {}, "must name the hour"),
        ({"pages": "offset"}, {}, "'none', 'link' or 'cursor'"),
        ({"pages": "cursor"}, {}, "needs a section cursor"),
        (CURSOR | {"pages": "link"}, {}, "belongs to pages cursor"),
        (CURSOR | {"rows": None}, {}, "a page with a cursor is no list"),
        (CURSOR | {"cursor": {"field": "next", "parameter": "after"}}, {}, "not a JSON pointer"),
        (CURSOR | {"cursor": {"field": "/next"}}, {}, "Field required"),
        (CURSOR | {"cursor": {"field": "/next", "parameter": "a&b"}}, {}, "not a query parameter"),
        (CURSOR, {"format": "csv"}, "names a place in a JSON page"),
        ({"rows": "/data"}, {"format": "csv"}, "names a place in a JSON page"),
        ({"rows": "data"}, {}, "not a JSON pointer"),
        ({"rows": "/data/"}, {}, "not a JSON pointer"),
        ({"rows": "/a~2"}, {}, "not a JSON pointer"),
        ({"token_env": "Bearer abc"}, {}, "not the name of a variable"),
        ({"timeout": "0m"}, {}, "no time at all"),
        ({"timeout": "30s"}, {}, "not a duration"),
        ({"max_bytes": 0}, {}, "greater than or equal to 1"),
        ({"max_bytes": (1 << 30) + 1}, {}, "less than or equal to"),
        ({"token": "abc"}, {}, "Extra inputs"),
        ({}, {"http": None}, "needs a section http"),
        ({}, {"kind": "files"}, "belongs to kind http"),
        ({}, {"format": "parquet"}, "pages of kind http are csv or JSON"),
        ({}, {"complete": {"by": "marker"} | DATA | {"marker": "orders/{day}/{hour}.done"}}, "belongs to kind files"),
    ],
)
def test_what_kind_http_may_not_say(section: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    """Each field with a value that is refused, and what does not go together."""
    with pytest.raises(ValidationError, match=said):
        _http(section, **changes)


TABLE = {"url": "sqlite:///{data}/orders.db", "table": "orders"}
QUERY = {"url": "sqlite:///{data}/orders.db", "query": "SELECT id FROM orders"}


def _database(section: dict[str, Any], **changes: Any) -> SourceConf:
    source = {"kind": "database", "manifests": "o/{day}/{hour}.json", "format": "jsonl", "columns": ["id", "at"]}
    return SourceConf.model_validate(source | {"database": section} | changes)


@pytest.mark.parametrize(
    "section",
    [
        TABLE,
        QUERY,
        QUERY | {"query": "with some as (select 1 as id) select * from some"},
        TABLE | {"url": "sqlite:////srv/shop/orders.db"},
        TABLE | {"url": "postgresql://db.example.com:5433/shop"},
        TABLE | {"url_env": "SHOP_URL", "plain_hosts": ["db", "10.0.0.7"]},
        TABLE
        | {
            "url": "mysql+pymysql://db.example.com:3306/shop",
            "options": {"ssl_verify_identity": True, "ssl_ca": "/ca.pem"},
        },
        TABLE | {"url": "mysql+pymysql://db/shop", "plain_hosts": ["db"]},
        TABLE | {"table": "main.orders"},
        TABLE | {"changed_at": "at", "arrived": "changed"},
        TABLE | {"changed_at": "at", "arrived": "fetched"},
        TABLE | {"partition": {"column": "id", "lower": 0, "upper": 10, "count": 2}},
        TABLE | {"user_env": "SHOP_USER", "password_env": "SHOP_PASSWORD"},
        TABLE | {"fetch_rows": 1, "timeout_s": 1, "max_rows": 1},
    ],
)
def test_what_kind_database_may_say(section: dict[str, Any]) -> None:
    """Each field with a value that is taken."""
    database = _database(section).database
    assert database is not None
    told = database.model_dump(mode="json")
    assert {name: told[name] for name in section} == section


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        (TABLE | {"url": "mysql+pymysql://db.example.com/shop"}, {}, "whose TLS settings are not known"),
        (
            TABLE | {"url": "jdbc:postgresql://db/shop"},
            {},
            "is a JDBC url; write the SQLAlchemy url instead: postgresql://db/shop",
        ),
        (TABLE | {"url": "jdbc:sqlite:{data}/shop.db"}, {}, "instead: sqlite:///{data}/shop.db"),
        (TABLE | {"url": "postgresql+psycopg://db/shop"}, {}, "names a driver; write postgresql://"),
        (TABLE | {"options": {"ssl_ca": "x"}}, {}, "belong to databases other than"),
        (TABLE | {"url": "mysql://db/shop", "options": {"password": "x"}}, {}, "may hold a secret"),
        (TABLE | {"url": "sqlite:orders.db"}, {}, "is neither sqlite:///"),
        (TABLE | {"url": "sqlite:///{data}/../orders.db"}, {}, "is neither sqlite:///"),
        (TABLE | {"url": "sqlite:///orders.db?password=x"}, {}, "is neither sqlite:///"),
        (TABLE | {"url": "sqlite:///{hour}/orders.db"}, {}, "is neither sqlite:///"),
        (TABLE | {"url": "postgresql://db"}, {}, "is neither sqlite:///"),
        (TABLE | {"url": "postgresql:shop"}, {}, "is neither sqlite:///"),
        (TABLE | {"url": "postgresql://me:word@db/shop"}, {}, "is neither sqlite:///"),
        (TABLE | {"url": "postgresql://db/shop?sslmode=disable"}, {}, "is neither sqlite:///"),
        (TABLE | {"url": "postgresql://a,b/shop"}, {}, "is neither sqlite:///"),
        (TABLE | {"url_env": "sqlite:///orders.db"}, {}, "not the name of a variable"),
        (TABLE | {"plain_hosts": ["db:5432"]}, {}, "pattern"),
        (TABLE | {"plain_hosts": ["*"]}, {}, "pattern"),
        ({"url": TABLE["url"]}, {}, "a table or a query"),
        (TABLE | QUERY, {}, "a table or a query"),
        (TABLE | {"partition": {"column": "row", "lower": 0, "upper": 9, "count": 2}}, {}, "'row' is none of columns"),
        (TABLE | {"table": "orders; DROP TABLE orders"}, {}, "not a name of the database"),
        (TABLE | {"table": "a.b.c"}, {}, "not a name of the database"),
        (QUERY | {"query": "DELETE FROM orders"}, {}, "must begin with SELECT"),
        (QUERY | {"query": "SELECT 1; DELETE FROM orders"}, {}, "holds a ';'"),
        (TABLE | {"changed_at": "at) OR (1=1"}, {}, "not a name of the database"),
        (TABLE | {"changed_at": "written_at"}, {}, "none of columns"),
        (TABLE | {"arrived": "changed"}, {}, "needs changed_at"),
        (TABLE | {"arrived": "later"}, {}, "'fetched' or 'changed'"),
        (TABLE | {"partition": {"column": "id", "lower": 9, "upper": 9, "count": 2}}, {}, "not below upper"),
        (TABLE | {"partition": {"column": "id", "lower": 0, "upper": 9, "count": 1}}, {}, "greater than or equal to 2"),
        (
            TABLE | {"partition": {"column": "i d", "lower": 0, "upper": 9, "count": 2}},
            {},
            "not a name of the database",
        ),
        (TABLE | {"password_env": "s3cret"}, {}, "not the name of a variable"),
        (TABLE | {"user_env": "me"}, {}, "not the name of a variable"),
        (TABLE | {"fetch_rows": 0}, {}, "greater than or equal to 1"),
        (TABLE | {"timeout_s": 0}, {}, "greater than or equal to 1"),
        (TABLE | {"max_rows": 0}, {}, "greater than or equal to 1"),
        (TABLE | {"password": "x"}, {}, "Extra inputs"),
        (TABLE, {"format": "csv"}, "write format: jsonl"),
        (TABLE, {"kind": "files"}, "belongs to kind database"),
        (TABLE, {"database": None}, "needs a section database"),
    ],
)
def test_what_kind_database_may_not_say(section: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    """Each field with a value that is refused, and what does not go together."""
    with pytest.raises(ValidationError, match=said):
        _database(section, **changes)


REMOTE: dict[str, Any] = {"root": "s3://bucket/deliveries"}


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ({}, {}),
        ({}, {"format": "parquet"}),
        ({}, {"complete": {"by": "marker", "marker": "orders/{day}/{hour}.done"} | DATA}),
        ({}, {"complete": {"by": "stable", "for": "10m"} | DATA}),
        ({"root": "hdfs://nameservice1:8020/a"}, {"complete": {"by": "marker", "marker": "orders/{day}/{hour}.x"} | DATA}),
        ({"root": "s3://bucket.of-ours/a/day=x/b c/"}, {}),
        ({"root": "abfss://container@account.dfs.core.windows.net/deliveries"}, {}),
        ({"root": "https://files.example.com/deliveries"}, {}),
        ({"root": "ftp://127.0.0.1:2121/deliveries"}, {}),
        ({"root": "sftp://files.example.com:2222/deliveries", "host_keys": ["ssh-ed25519 AAAAC3Nz", "ssh-rsa AAAA+/=="]}, {}),
        ({"root": "ftp://upstream/", "plain_hosts": ["upstream"], "root_env": "ORDERS_ROOT"}, {}),
        ({"options": {"endpoint_url": "http://127.0.0.1:8333", "anon": True, "client_kwargs.region_name": "x"}}, {}),
        ({"options": {"endpoint_url": "http://store:8333"}, "plain_hosts": ["store"]}, {}),
        ({"options_env": {"key": "S3_KEY", "secret": "S3_SECRET", "client_kwargs.aws_session_token": "X"}}, {}),
        ({"timeout_s": 1}, {}),
        ({"timeout_s": 86_400}, {}),
    ],
)  # fmt: skip
def test_what_files_of_another_file_system_may_say(section: dict[str, Any], changes: dict[str, Any]) -> None:
    """Each field with a value that is accepted."""
    remote = SourceConf.model_validate(ORDERS | {"remote": REMOTE | section} | changes).remote
    assert remote is not None
    dumped = remote.model_dump(mode="json")
    assert {name: dumped[name] for name in section} == section


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ({}, {"kind": "http", "http": {"url": "https://a.example/{from}"}}, "belongs to kind files"),
        ({}, {"kind": "database", "database": TABLE, "format": "jsonl"}, "belongs to kind files"),
        *(
            ({"root": root}, {}, "local drops belong in the landing")
            for root in ("file:///srv/x", "file:/srv/x", "file://host/x", "/srv/x", "deliveries", "FILE:///srv", "hdfs:/x")
        ),
        ({"root": "hdfs:///deliveries"}, {}, "names no host or bucket"),
        ({"root": "s3://a b/deliveries"}, {}, "names no host or bucket"),
        ({"root": "sftp://host:x/deliveries"}, {}, "names no host or bucket"),
        ({"root": "ftp://me:word@127.0.0.1/deliveries"}, {}, "user or password; write options_env"),
        ({"root": "s3://key:secret@bucket"}, {}, "user or password; write options_env"),
        ({"root": "abfs://c:word@account/x"}, {}, "user or password; write options_env"),
        ({"root": "abfs://c@d@account/x"}, {}, "user or password; write options_env"),
        ({"root": "s3a://bucket/x"}, {}, "has a scheme of Hadoop; write s3://bucket/x"),
        ({"root": "s3://bucket/deliveries?versionId=1"}, {}, "settings behind a"),
        ({"root": "s3://bucket/deliveries#a"}, {}, "settings behind a"),
        *(
            ({"root": f"s3://bucket/{path}"}, {}, "may hold no '..'")
            for path in ("a/../b", "..", "a//b", "a\\b", "%2e%2e/b", "{day}", "*")
        ),
        ({"root": "ftp://upstream/deliveries"}, {}, "name the host in plain_hosts"),
        ({"root": "http://upstream/deliveries"}, {}, "name the host in plain_hosts"),
        ({"root": "webhdfs://namenode:9870/a", "plain_hosts": ["other"]}, {}, "name the host in plain_hosts"),
        ({"plain_hosts": ["ftp://upstream"]}, {}, "pattern"),
        ({"host_keys": ["ssh-ed25519 AAAA"]}, {}, "host_keys: belong to sftp"),
        ({"root": "sftp://h/x", "host_keys": ["files.example.com ssh-ed25519 AAAA"]}, {}, "is not a public key"),
        ({"root_env": "s3://bucket"}, {}, "not the name of a variable"),
        ({"options": {"fs.s3a.endpoint": "x"}}, {}, "is an option of Hadoop; write the one of the fsspec"),
        ({"options": {"a-b": "1"}}, {}, "is not an option of a file system"),
        *(
            ({"options": {name: "word"}}, {}, "write it in options_env")
            for name in ("secret", "key", "password", "token", "account_key", "client_kwargs.aws_secret_access_key")
        ),
        ({"options": {"endpoint_url": "http://store:8333"}}, {}, "http has no TLS; write https, or name the host"),
        ({"options": {"use_ssl": False}}, {}, "turns TLS or its certificates off"),
        ({"options": {"client_kwargs.verify": False}}, {}, "turns TLS or its certificates off"),
        ({"options": {"a": 1, "a.b": 1}}, {}, "a.b is inside an option that has a value of its own"),
        ({"options": {"anon": True}, "options_env": {"anon": "X"}}, {}, "stands in options, too"),
        ({"options_env": {"key": "AKIA/word"}}, {}, "not the name of a variable"),
        ({"timeout_s": 0}, {}, "greater than or equal to 1"),
        ({"timeout_s": 86_401}, {}, "less than or equal to"),
        ({"root": "hdfs://n/x"}, {"complete": {"by": "stable", "for": "10m"} | DATA}, "write by: marker or manifest"),
        ({"root": "https://n/x"}, {"complete": {"by": "stable", "for": "10m"} | DATA}, "write by: manifest"),
        ({"password": "x"}, {}, "Extra inputs"),
        ({"root": None}, {}, "valid string"),
    ],
)  # fmt: skip
def test_what_files_of_another_file_system_may_not_say(
    section: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    """Each field with a value that is refused, and what does not go together."""
    with pytest.raises(ValidationError, match=said):
        SourceConf.model_validate(ORDERS | {"remote": REMOTE | section} | changes)


def test_the_former_section_hadoop_is_refused_with_the_new_one() -> None:
    with pytest.raises(ValidationError, match="hadoop: was replaced by remote; rename the section"):
        SourceConf.model_validate(ORDERS | {"hadoop": {"root": "hdfs://namenode/x"}})


def test_options_with_dots_are_nested_and_secrets_come_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not set is named; one that leads around TLS is refused without its value."""
    section = {"options": {"anon": False, "client_kwargs.region_name": "x"},
               "options_env": {"secret": "ORDERS_X", "endpoint_url": "ORDERS_Y"}}  # fmt: skip
    remote = SourceConf.model_validate(ORDERS | {"remote": REMOTE | section}).remote
    assert remote is not None
    monkeypatch.setenv("ORDERS_Y", "https://store")
    for value in (None, ""):
        monkeypatch.delenv("ORDERS_X", raising=False)
        if value is not None:
            monkeypatch.setenv("ORDERS_X", value)
        with pytest.raises(UsageError, match="ORDERS_X is not set") as told:
            remote.secrets("orders")
        assert told.value.todo == "export ORDERS_X=…"
    monkeypatch.setenv("ORDERS_X", "word")
    assert remote.storage_options(remote.secrets("orders")) == {
        "anon": False, "client_kwargs": {"region_name": "x"}, "secret": "word", "endpoint_url": "https://store",
    }  # fmt: skip
    monkeypatch.setenv("ORDERS_Y", "http://canary-store")
    with pytest.raises(UsageError, match="variable ORDERS_Y: http has no TLS") as told:
        remote.secrets("orders")
    assert "canary" not in str(told.value)


def test_an_hour_may_be_shifted_back_and_a_plain_name_is_an_instant() -> None:
    """-24h is a duration here; elsewhere durations have no sign."""
    hour = HourOf.model_validate({"of": "opened_at", "shift": "-24h"})
    assert (hour.of.instant, hour.shift) == ("opened_at", timedelta(hours=-24))
    assert hour.model_dump()["shift"] == "-1d"


@pytest.mark.parametrize(
    "change",
    [{"to": "2013-01-01T00:00:00Z"}, {"from": "2013-01-01T00:30:00Z"}, {"folder": "../data"}, {"package": "a.b"}],
)
def test_a_replay_of_no_hours_or_from_outside_of_the_package_is_refused(change: dict[str, str]) -> None:
    """The interval, the folder and the package are checked before anything is read."""
    source = {"file": "o.csv", "format": "csv", "columns": {"id": "id"}, "hour": {"of": "at"}}
    good = {"package": "p", "from": "2013-01-01T00:00:00Z", "to": "2013-01-02T00:00:00Z", "sources": {"orders": source}}
    assert ReplayConf.model_validate(good).start == datetime(2013, 1, 1, tzinfo=UTC)
    with pytest.raises(ValidationError):
        ReplayConf.model_validate(good | change)


TRIAL = {"from": "2013-01-02T00:00:00Z", "to": "2013-01-04T00:00:00Z", "zone": "America/New_York"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"hard_days": ["2013-01-02", "2013-01-03"]}, ""),
        ({"hard_days": ["2013-01-04"]}, "2013-01-04 is not inside"),
        ({"zone": "Mars/Base"}, "not an IANA time zone"),
        ({"from": "2013-01-04T00:00:00Z"}, "is not before to"),
        ({"from": "2012-12-31T00:00:00Z"}, "do not lie inside"),
        ({"to": "2013-01-05T01:00:00Z"}, "do not lie inside"),
        ({"to": "2013-01-03T00:30:00Z"}, "not a whole UTC hour"),
        ({"seed": 1}, "Extra inputs"),
    ],
)
def test_a_trial_draws_hours_of_its_replay_only(change: dict[str, Any], said: str) -> None:
    """The interval lies inside the replay's, hard days inside the interval, and the zone is one."""
    source = {"file": "o.csv", "format": "csv", "columns": {"id": "id"}, "hour": {"of": "at"}}
    conf = {
        "package": "p", "from": "2013-01-01T00:00:00Z", "to": "2013-01-05T00:00:00Z", "sources": {"orders": source},
        "trial": TRIAL | change,
    }  # fmt: skip
    if not said:
        trial = ReplayConf.model_validate(conf).trial
        assert trial is not None
        assert [str(day) for day in trial.hard_days] == change.get("hard_days", [])
        return
    with pytest.raises(ValidationError, match=said):
        ReplayConf.model_validate(conf)
