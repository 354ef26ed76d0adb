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
        ({"kind": "jdbc"}, "needs a section jdbc"),
        ({"kind": "htp"}, "'files', 'http' or 'jdbc'"),
        ({"format": "avro"}, "not yet: format 'avro'; legal: csv, jsonl, parquet"),
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


TABLE = {"url": "jdbc:sqlite:{data}/orders.db", "table": "orders"}
QUERY = {"url": "jdbc:sqlite:{data}/orders.db", "query": "SELECT id FROM orders"}


def _jdbc(section: dict[str, Any], **changes: Any) -> SourceConf:
    source = {"kind": "jdbc", "manifests": "o/{day}/{hour}.json", "format": "jsonl", "columns": ["id", "at"]}
    return SourceConf.model_validate(source | {"jdbc": section} | changes)


@pytest.mark.parametrize(
    "section",
    [
        TABLE,
        QUERY,
        QUERY | {"query": "with some as (select 1 as id) select * from some"},
        TABLE | {"url": "jdbc:sqlite:/srv/shop/orders.db"},
        TABLE | {"url": "jdbc:postgresql://db.example.com:5433/shop"},
        TABLE | {"url_env": "SHOP_URL", "plain_hosts": ["db", "10.0.0.7"]},
        TABLE | {"table": "main.orders"},
        TABLE | {"changed_at": "at", "arrived": "changed"},
        TABLE | {"changed_at": "at", "arrived": "fetched"},
        TABLE | {"partition": {"column": "id", "lower": 0, "upper": 10, "count": 2}},
        TABLE | {"user_env": "SHOP_USER", "password_env": "SHOP_PASSWORD"},
        TABLE | {"fetch_rows": 1, "timeout_s": 1, "max_rows": 1},
    ],
)
def test_what_kind_jdbc_may_say(section: dict[str, Any]) -> None:
    """Each field with a value that is taken."""
    jdbc = _jdbc(section).jdbc
    assert jdbc is not None
    told = jdbc.model_dump(mode="json")
    assert {name: told[name] for name in section} == section


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        (TABLE | {"url": "jdbc:mysql://db/shop"}, {}, "not yet"),
        (TABLE | {"url": "sqlite:orders.db"}, {}, "is neither jdbc:sqlite:"),
        (TABLE | {"url": "jdbc:sqlite:{data}/../orders.db"}, {}, "is neither jdbc:sqlite:"),
        (TABLE | {"url": "jdbc:sqlite:orders.db?password=x"}, {}, "is neither jdbc:sqlite:"),
        (TABLE | {"url": "jdbc:sqlite:{hour}/orders.db"}, {}, "is neither jdbc:sqlite:"),
        (TABLE | {"url": "jdbc:postgresql://db"}, {}, "is neither jdbc:sqlite:"),
        (TABLE | {"url": "jdbc:postgresql:shop"}, {}, "is neither jdbc:sqlite:"),
        (TABLE | {"url": "jdbc:postgresql://me:word@db/shop"}, {}, "is neither jdbc:sqlite:"),
        (TABLE | {"url": "jdbc:postgresql://db/shop?sslmode=disable"}, {}, "is neither jdbc:sqlite:"),
        (TABLE | {"url": "jdbc:postgresql://a,b/shop"}, {}, "is neither jdbc:sqlite:"),
        (TABLE | {"url_env": "jdbc:sqlite:orders.db"}, {}, "not the name of a variable"),
        (TABLE | {"plain_hosts": ["db:5432"]}, {}, "pattern"),
        (TABLE | {"plain_hosts": ["*"]}, {}, "pattern"),
        ({"url": TABLE["url"]}, {}, "a table or a query"),
        (TABLE | QUERY, {}, "a table or a query"),
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
        (TABLE, {"kind": "files"}, "belongs to kind jdbc"),
        (TABLE, {"jdbc": None}, "needs a section jdbc"),
    ],
)
def test_what_kind_jdbc_may_not_say(section: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    """Each field with a value that is refused, and what does not go together."""
    with pytest.raises(ValidationError, match=said):
        _jdbc(section, **changes)


HADOOP: dict[str, Any] = {"root": "hdfs://namenode:8020/deliveries"}


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ({}, {}),
        ({}, {"format": "parquet"}),
        ({}, {"complete": {"by": "marker", "marker": "orders/{day}/{hour}.done"} | DATA}),
        ({"root": "s3a://bucket"}, {"complete": {"by": "stable", "for": "10m"} | DATA}),
        ({"root": "hdfs://nameservice1"}, {}),
        ({"root": "s3a://bucket.of-ours/a/day=x/b c/"}, {}),
        ({"root": "abfss://container@account.dfs.core.windows.net/deliveries"}, {}),
        ({"root": "ftp://127.0.0.1:2121/deliveries"}, {}),
        ({"root": "ftp://upstream/", "plain_hosts": ["upstream"], "root_env": "ORDERS_ROOT"}, {}),
        (
            {"options": {"fs.s3a.endpoint": "https://s3.example.com", "fs.s3a.path.style.access": True, "dfs.x-y": 3}},
            {},
        ),
        ({"options_env": {"fs.s3a.access.key": "S3_KEY", "hadoop.security.x": "X", "fs.ftp.user.127.0.0.1": "U"}}, {}),
        ({"timeout_s": 1}, {}),
        ({"timeout_s": 86_400}, {}),
    ],
)
def test_what_files_of_another_file_system_may_say(section: dict[str, Any], changes: dict[str, Any]) -> None:
    """Each field with a value that is taken; options are told to Hadoop in its own way of writing."""
    hadoop = SourceConf.model_validate(ORDERS | {"hadoop": HADOOP | section} | changes).hadoop
    assert hadoop is not None
    told = hadoop.model_dump(mode="json")
    assert {name: told[name] for name in section} == section
    options = {"fs.s3a.endpoint": "https://s3.example.com", "fs.s3a.path.style.access": "true", "dfs.x-y": "3"}
    assert hadoop.open_options() == (options if "options" in section else {})


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ({}, {"kind": "http", "http": {"url": "https://a.example/{from}"}}, "belongs to kind files"),
        ({}, {"kind": "jdbc", "jdbc": TABLE, "format": "jsonl"}, "belongs to kind files"),
        ({"root": "file:///srv/deliveries"}, {}, "local drops belong in the landing folder"),
        ({"root": "file:/srv/deliveries"}, {}, "local drops belong in the landing folder"),
        ({"root": "file://host/deliveries"}, {}, "local drops belong in the landing folder"),
        ({"root": "/srv/deliveries"}, {}, "local drops belong in the landing folder"),
        ({"root": "deliveries"}, {}, "local drops belong in the landing folder"),
        ({"root": "FILE:///srv"}, {}, "local drops belong in the landing folder"),
        ({"root": "hdfs:/deliveries"}, {}, "names no other file system"),
        ({"root": "hdfs:///deliveries"}, {}, "names no host or bucket"),
        ({"root": "hdfs://a b/deliveries"}, {}, "names no host or bucket"),
        ({"root": "hdfs://namenode:x/deliveries"}, {}, "names no host or bucket"),
        ({"root": "ftp://me:word@127.0.0.1/deliveries"}, {}, "user or password; write options_env"),
        ({"root": "s3a://key:secret@bucket"}, {}, "user or password; write options_env"),
        ({"root": "abfs://c:word@account/x"}, {}, "user or password; write options_env"),
        ({"root": "abfs://c@d@account/x"}, {}, "user or password; write options_env"),
        ({"root": "hdfs://namenode/deliveries?op=OPEN"}, {}, "settings behind a"),
        ({"root": "hdfs://namenode/deliveries#a"}, {}, "settings behind a"),
        ({"root": "hdfs://namenode/a/../b"}, {}, "may hold no '..'"),
        ({"root": "hdfs://namenode/.."}, {}, "may hold no '..'"),
        ({"root": "hdfs://namenode/a//b"}, {}, "may hold no '..'"),
        ({"root": "hdfs://namenode/a\\b"}, {}, "may hold no '..'"),
        ({"root": "hdfs://namenode/%2e%2e/b"}, {}, "may hold no '..'"),
        ({"root": "hdfs://namenode/{day}"}, {}, "place such as"),
        ({"root": "hdfs://namenode/*"}, {}, "wildcard"),
        ({"root": "ftp://upstream/deliveries"}, {}, "name the host in plain_hosts"),
        ({"root": "webhdfs://namenode:9870/a", "plain_hosts": ["other"]}, {}, "name the host in plain_hosts"),
        ({"plain_hosts": ["ftp://upstream"]}, {}, "pattern"),
        ({"root_env": "hdfs://namenode"}, {}, "not the name of a variable"),
        ({"options": {"spark.x": "1"}}, {}, "begin with fs., dfs. or hadoop."),
        ({"options": {"fs": "1"}}, {}, "begin with fs., dfs. or hadoop."),
        ({"options": {"fs.s3a.secret.key": "word"}}, {}, "write it in options_env"),
        ({"options": {"fs.ftp.password.127.0.0.1": "word"}}, {}, "write it in options_env"),
        ({"options_env": {"spark.hadoop.fs.x": "S3_KEY"}}, {}, "begin with fs., dfs. or hadoop."),
        ({"options_env": {"fs.s3a.access.key": "AKIA/word"}}, {}, "not the name of a variable"),
        ({"options": {"fs.x": "1"}, "options_env": {"fs.x": "X"}}, {}, "stands in options, too"),
        ({"timeout_s": 0}, {}, "greater than or equal to 1"),
        ({"timeout_s": 86_401}, {}, "less than or equal to"),
        ({}, {"complete": {"by": "stable", "for": "10m"} | DATA}, "use marker or manifest"),
        ({"password": "x"}, {}, "Extra inputs"),
        ({"root": None}, {}, "valid string"),
    ],
)
def test_what_files_of_another_file_system_may_not_say(
    section: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    """Each field with a value that is refused, and what does not go together."""
    with pytest.raises(ValidationError, match=said):
        SourceConf.model_validate(ORDERS | {"hadoop": HADOOP | section} | changes)


def test_a_variable_that_is_not_set_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """And with what is set, before anything is read."""
    hadoop = SourceConf.model_validate(ORDERS | {"hadoop": HADOOP | {"options_env": {"fs.x": "ORDERS_X"}}}).hadoop
    assert hadoop is not None
    for value in (None, ""):
        monkeypatch.delenv("ORDERS_X", raising=False)
        if value is not None:
            monkeypatch.setenv("ORDERS_X", value)
        with pytest.raises(UsageError, match="ORDERS_X is not set") as told:
            hadoop.secrets("orders")
        assert told.value.todo == "export ORDERS_X=…"
    monkeypatch.setenv("ORDERS_X", "word")
    assert hadoop.secrets("orders") == {"fs.x": "word"}


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
