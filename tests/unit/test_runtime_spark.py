"""How a Spark process of a run is configured and started."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from spark_jobs.config import load_environment
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.jvm_profile import JvmProfile
from spark_jobs.errors import UsageError
from spark_jobs.runtime import places, process_environment, spark_conf, startup_cache, step_conf, submit_command


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.sql.session.timeZone", "UTC"),
        ("spark.sql.ansi.enabled", "true"),
        ("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS"),
        ("spark.hadoop.parquet.page.verify-checksum.enabled", "true"),
        ("spark.master.rest.enabled", "false"),
        ("spark.sql.shuffle.partitions", "3"),
    ],
)
def test_N3_T4_every_step_gets_the_settings_that_keep_results_right(key, value):
    """A missing one changes sums or instants silently."""
    assert spark_conf(JvmProfile(memory_mb=1024, cores=2, shuffle_partitions=3))[key] == value


def test_columns_are_built_without_tracing_their_lines():
    """PySpark's tracing doubles the calls to the JVM."""
    conf = spark_conf(JvmProfile(memory_mb=1024, cores=2, shuffle_partitions=1))
    assert conf["spark.python.sql.dataFrameDebugging.enabled"] == "false"


_TUNED = {"spark.sql.adaptive.enabled", "spark.sql.codegen.wholeStage", "spark.sql.codegen.factoryMode"}


@pytest.fixture(params=["local", "compose"])
def shipped(request, monkeypatch, tmp_path):
    """The shipped environments, both of which run on one machine of two cores."""
    monkeypatch.setenv("TIDEGATE_DATA", str(tmp_path))
    monkeypatch.setenv("_SPARK_AUTH_SECRET", "canary-of-a-cluster")
    return load_environment(request.param)


def test_an_hour_is_tuned_for_two_cores(shipped):
    """Short steps: C1, no adaptive execution, no generated code."""
    _, conf = step_conf(*shipped, "ingest", 1)
    assert {name: conf[name] for name in _TUNED} == {
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    }
    for who in ("driver", "executor"):
        options = conf[f"spark.{who}.extraJavaOptions"]
        assert options.startswith("-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=240m")


@pytest.mark.parametrize(("step", "hours"), [("ingest", 48), ("training_set", 1)])
def test_long_steps_have_sparks_defaults_and_the_optimizing_compiler(step, hours, shipped):
    _, conf = step_conf(*shipped, step, hours)
    assert not _TUNED & set(conf)
    assert "TieredStopAtLevel" not in conf["spark.driver.extraJavaOptions"]


def test_a_profile_without_settings_gets_the_defaults_of_spark_and_of_the_jvm():
    conf = spark_conf(JvmProfile(memory_mb=1024, cores=2, shuffle_partitions=2))
    assert not _TUNED & set(conf)
    assert "-XX:" not in conf["spark.executor.extraJavaOptions"].partition("-XX:AOTCache")[0]


@pytest.mark.parametrize("name", ["compose", "local"])
def test_no_profile_sets_what_the_code_sets(name, monkeypatch, tmp_path):
    """Every setting of a step except those of its profile, and what spark-submit gets by arguments of its own."""
    monkeypatch.setenv("TIDEGATE_DATA", str(tmp_path))
    monkeypatch.setenv("_SPARK_AUTH_SECRET", "canary-of-a-cluster")
    environment, where = load_environment(name)
    profile, conf = step_conf(environment, where, "ingest", 1)
    for setting in {*conf, "spark.master", "spark.driver.memory", "spark.app.name"} - set(profile.conf):
        with pytest.raises(ValueError, match=f"'{re.escape(setting)}' is set by tidegate"):
            JvmProfile(memory_mb=1024, cores=2, shuffle_partitions=2, conf={setting: "x"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"conf": {"adaptive": False}}, "'adaptive' is not a Spark setting; write its full name"),
        ({"conf": {"spark.hadoop.fs.s3a.secret.key": "x"}}, "may hold a secret"),
        ({"conf": {"spark.sql.caseSensitive": True}}, "'spark.sql.caseSensitive' may change what a step computes"),
        ({"conf": {"spark.sql.legacy.timeParserPolicy": "LEGACY"}}, "may change what a step computes"),
        ({"conf": {"spark.sql.files.ignoreCorruptFiles": True}}, "may change what a step computes"),
        ({"conf": {"spark.sql.joined": True}}, "may change what a step computes"),
        ({"jvm_options": ["-Xmx4g"]}, "'-Xmx4g' is not an option -XX:"),
        ({"jvm_options": ["-XX:+UseG1GC -Duser.timezone=Asia/Tokyo"]}, "is not an option -XX:"),
        ({"jvm_options": ["-XX:AOTCache=other.aot"]}, "is not an option -XX: without AOT"),
    ],
)
def test_other_settings_of_a_profile_are_refused(change, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        JvmProfile.model_validate({"memory_mb": 1024, "cores": 2, "shuffle_partitions": 2} | change)


def test_settings_of_a_profile_reach_spark_as_text():
    """YAML's true and 8 are Spark's true and 8."""
    conf = {
        "spark.sql.adaptive.enabled": True,
        "spark.task.maxFailures": 8,
        "spark.sql.codegen.factoryMode": "FALLBACK",
        "spark.sql.files.maxPartitionBytes": "64m",
        "spark.sql.autoBroadcastJoinThreshold": -1,
    }
    profile = JvmProfile(memory_mb=1024, cores=2, shuffle_partitions=2, conf=conf, jvm_options=["-XX:+UseG1GC"])
    got = spark_conf(profile)
    assert [got[name] for name in conf] == ["true", "8", "FALLBACK", "64m", "-1"]
    assert got["spark.executor.extraJavaOptions"].startswith("-XX:+UseG1GC -Duser.timezone=UTC")


def test_no_step_starts_without_the_locked_jars(tmp_path, monkeypatch):
    """The message names the jars and the command that fetches them."""
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="missing delta-spark") as caught:
        spark_conf(JvmProfile(memory_mb=1024, cores=2, shuffle_partitions=2))
    assert caught.value.todo == "make setup"


def test_the_shells_own_spark_is_never_taken(monkeypatch):
    """A SPARK_HOME of another version would give another Spark than the locked one."""
    monkeypatch.setenv("SPARK_HOME", "/opt/other-spark")
    environment = process_environment({"TZ": "Asia/Tokyo"})
    assert environment["SPARK_HOME"] == str(places.spark_home())
    assert environment["PYSPARK_PYTHON"] == sys.executable
    assert environment["TZ"] == "Asia/Tokyo"


def test_a_users_own_java_is_a_setting(monkeypatch):
    """TIDEGATE_JAVA_HOME wins over the bundled runtime."""
    monkeypatch.setenv("TIDEGATE_JAVA_HOME", "/usr/lib/jvm/java-17")
    assert process_environment()["JAVA_HOME"] == "/usr/lib/jvm/java-17"


def test_the_submit_command_ends_with_the_steps_words():
    """Everything after the script reaches the step."""
    command = submit_command(["a", "--b"], master="local[2]", memory_mb=900, conf={"k": "v w"}, name="n")
    assert command[0].endswith("pyspark/bin/spark-submit")
    assert command[1:] == [
        *["--master", "local[2]", "--name", "n", "--driver-memory", "900m", "--conf", "k=v w"],
        *[str(places.CHECKOUT / "spark_jobs/submit/run_step.py"), "a", "--b"],
    ]


def _java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "release").write_text(f'JAVA_VERSION="{version}"\n')
    monkeypatch.setenv("TIDEGATE_JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))


def test_the_start_up_cache_is_used_only_where_it_matches(tmp_path, monkeypatch):
    """Another collector, another jar or another JVM: no cache, no message."""
    _java(tmp_path, monkeypatch, "25.0.2")
    jar = tmp_path / "a.jar"
    jar.write_bytes(b"one")
    file = startup_cache.cache_file(("-XX:+UseSerialGC",), [jar])
    assert startup_cache.flags(("-XX:+UseSerialGC",), [jar]) == []
    file.parent.mkdir(parents=True)
    file.touch()
    assert startup_cache.flags(("-XX:+UseSerialGC",), [jar])[0] == f"-XX:AOTCache={file}"
    assert startup_cache.flags(("-XX:+UseG1GC",), [jar]) == []
    jar.write_bytes(b"other")
    assert startup_cache.flags(("-XX:+UseSerialGC",), [jar]) == []


def test_a_java_without_such_a_cache_gets_no_unknown_option(tmp_path, monkeypatch):
    """Java 17 would refuse -XX:AOTCache."""
    _java(tmp_path, monkeypatch, "17.0.15")
    assert startup_cache.cache_file(("-XX:+UseSerialGC",), []) is None
    assert startup_cache.flags(("-XX:+UseSerialGC",), []) == []


def test_the_room_imports_nothing_heavy():
    """dags/ imports it at parse."""
    heavy = "{'pyspark', 'delta', 'great_expectations', 'mlflow', 'airflow', 'pandas', 'pyarrow'}"
    program = (
        f"import sys, spark_jobs.runtime.checks, spark_jobs.runtime.parent; print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


CLUSTER = {"executors": 2, "cores": 1, "memory_mb": 1024, "events": "spark-events"}


def _environment(master: str, cluster: dict[str, object] | None) -> Environment:
    profile = {"memory_mb": 1024, "cores": 2, "shuffle_partitions": 2}
    return Environment.model_validate(
        {"spark": {"master": master, "cluster": cluster, "hourly": profile, "bulk": profile}}
    )


def test_a_cluster_proves_itself_and_starts_with_all_its_executors(monkeypatch, tmp_path):
    """The secret itself stands in no setting: settings are arguments, which everybody sees."""
    monkeypatch.setenv("TIDEGATE_DATA", str(tmp_path))
    monkeypatch.setenv("_SPARK_AUTH_SECRET", "canary-of-a-cluster")
    environment = _environment("spark://host:7077", CLUSTER)
    _, conf = step_conf(environment, Places.of(tmp_path, environment), "ingest", 1)
    assert {conf[name] for name in ("spark.authenticate", "spark.network.crypto.enabled")} == {"true"}
    assert conf["spark.master.rest.enabled"] == "false"
    assert (conf["spark.cores.max"], conf["spark.executor.memory"]) == ("2", "1024m")
    assert conf["spark.scheduler.minRegisteredResourcesRatio"] == "1.0"
    assert conf["spark.executor.extraClassPath"] == conf["spark.driver.extraClassPath"]
    caches = [re.findall(r"-XX:AOTCache=\S+", conf[f"spark.{who}.extraJavaOptions"]) for who in ("driver", "executor")]
    assert caches[0] == caches[1]
    assert conf["spark.driver.host"] != "127.0.0.1"
    assert conf["spark.eventLog.dir"] == (tmp_path / "spark-events").as_uri()
    assert "canary-of-a-cluster" not in str(conf)


def test_no_cluster_is_asked_without_its_secret(monkeypatch, tmp_path):
    monkeypatch.delenv("_SPARK_AUTH_SECRET", raising=False)
    environment = _environment("spark://host:7077", CLUSTER)
    with pytest.raises(UsageError, match="_SPARK_AUTH_SECRET"):
        step_conf(environment, Places.of(tmp_path, environment), "ingest", 1)


@pytest.mark.parametrize(
    ("master", "cluster", "said"),
    [
        ("spark://host:7077", None, "needs the section cluster"),
        ("local[2]", CLUSTER, "leave the section cluster out"),
        ("yarn", None, "master"),
        ("spark://host", CLUSTER, "master"),
    ],
)
def test_executors_are_said_for_a_cluster_and_for_nothing_else(master, cluster, said):
    with pytest.raises(ValueError, match=said):
        _environment(master, cluster)
