"""References of conf/ against the types of what they name: refused at the line, with both places where two disagree."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_jobs.config import load
from spark_jobs.config.faults import ConfigError, Fault

CONF, RULES = "conf/pipelines/nycflights13", "expectations/nycflights13"
FLIGHT = "flight: {type: int, required: true, meaning: Number of the flight within its airline.}"


def _faults(project: Path, *edits: tuple[str, str, str]) -> list[Fault]:
    for file, old, new in edits:
        path = project / file
        assert old in path.read_text(), (file, old)
        path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load.load_pipeline("nycflights13", project)
    return caught.value.faults


T, F, M, P = (f"{CONF}/{name}.yaml" for name in ("tables", "features", "model", "pipeline"))
D = f"{RULES}/departures.yaml"
MEASURE = "delay_min: {use: itself, columns: [departure_delay_min]}"


@pytest.mark.parametrize(
    ("edit", "path", "said"),
    [
        # keys that would never match (fault 8)
        ((T, FLIGHT, FLIGHT.replace("int", "double")), "lookups.tail_number", "'flight' is int in departures and double in schedules"),
        ((T, FLIGHT, FLIGHT.replace("int", "string")), "label.table", "'flight' is string in schedules and int in departures"),
        ((T, "tail_number: {from: tailnum, type: string, required", "tail_number: {from: tailnum, type: int, required"),
         "look_ups.planes.entity", "'tail_number' is string in schedules and int in planes"),
        ((T, "origin: {type: string, required: true, meaning: Airport.}", "origin: {type: int, required: true, meaning: Airport.}"),
         "as_of.weather.entity", "'origin' is string in schedules and int in weather"),
        # what a transform, a measure, a label and a model can take (17, 21, 27)
        ((F, MEASURE, "delay_min: {use: itself, columns: [carrier]}"), "measures.delay_min", "the measure is string"),
        ((F, MEASURE, "delay_min: {use: at_least, columns: [origin], options: {threshold: 1}}"), 
         "delay_min.columns[0]", "takes a number"),
        ((F, MEASURE, "flight_no: {use: itself, columns: [flight]}\n      origin: {use: itself, columns: [flight]}"),
         "measures.origin", "taken by columns that name an entity"),
        ((T, "event_at: {use: itself, columns: [observed_at]}", "event_at: {use: itself, columns: [temperature_f]}"),
         "weather.event_at", "event_at is double"),
        ((T, "{use: hours_before, columns: [scheduled_at]", "{use: hours_before, columns: [flight]"), "event_at.columns[0]",
         "'flight' is int"),
        ((F, "event_at: scheduled_at", "event_at: flight"), "spine.event_at", "'flight' is int"),
        ((M, "use: at_least\n      columns: [departure_delay_min]\n      options: {threshold: 15}", 
          "use: itself\n      columns: [tail_number]"),
         "models.late_departure.label", "the label is string"),
        ((F, "columns: [temperature_f,", "columns: [observed_at, temperature_f,"), 
         "inputs.features[1]", "'observed_at' of group 'weather' is timestamp"),
        ((F, "columns: [built_year, engines", "columns: [built_year, kind, engines"), 
         "inputs.features[2]", "'kind' of group 'planes' is string"),
        ((M, "ids: [carrier, origin, dest]", "ids: [carrier, origin, scheduled_at]"), "inputs.ids[2]", "is timestamp"),
        ((M, "numeric: [distance_mi]", "numeric: [distance_mi, distance_mi]"), "late_departure.inputs", "inputs named twice"),
        # names
        ((T, "      dest: {type", "      as_of: {from: dest, type"), "columns.as_of", "taken by training sets"),
        ((T, "      dest: {type", "      label: {from: dest, type"), "columns.label", "taken by training sets"),
        ((T, "      visibility_mi: {", "      known_until: {"), "columns.known_until", "taken by the lake"),
        ((F, "columns: [temperature_f,", "columns: [event_at, temperature_f,"), "weather.columns[0]", "taken by feature tables"),
        ((F, "plane: [tail_number]", "plane: []"), "entities.plane", "has no column"),
        ((T, "key: [observed_at, origin]", "key: [observed_at, origin, origin]"), "weather.key", "named twice: origin"),
        # amounts
        ((M, "evaluate: 31d", "evaluate: 400d"), "evaluate", "as long as the whole history"),
        ((M, "rounds: 200", "rounds: 0"), "options.rounds", "out of range"),
        ((M, "subsample: 0.8", "subsample: 1.5"), "options.subsample", "out of range"),
        ((M, "rows: {from: 2013-01-01", "rows: {from: 2011-01-01"), "rows.from", "before the pipeline's start"),
        ((P, "timeout: 30m", "timeout: 0m"), "hourly.timeout", "no time at all"),
        ((P, "timeout: 30m", "timeout: 99999999999d"), "hourly.timeout", "longer than 36500d"),
        ((P, "start: 2012-12-31", "start: 0001-01-01"), "start", "years 1900 to 2200"),
        ((F, "[3h, 24h, 7d, 28d]", "[0h, 24h]"), "windows[0]", "whole hours"),
    ],
)  # fmt: skip
def test_a_reference_of_another_type_is_refused_at_its_line(project, edit, path, said):
    faults = _faults(project, edit)
    matches = [fault for fault in faults if fault.path.endswith(path) and said in f"{fault.found}; {fault.allowed}"]
    assert matches, [str(fault) for fault in faults]
    assert matches[0].place.count(":") == 2


def test_a_key_of_two_types_names_both_places(project):
    faults = _faults(project, (T, FLIGHT, FLIGHT.replace("int", "double")))
    found = next(fault.found for fault in faults if fault.path.endswith("lookups.tail_number"))
    line = (project / T).read_text().splitlines().index("      " + FLIGHT.replace("int", "double")) + 1
    assert f"(the other: {T}:{line})" in found


def test_int_and_bigint_keys_match(project):
    path = project / T
    path.write_text(path.read_text().replace(FLIGHT, FLIGHT.replace("int", "bigint"), 1))
    load.load_pipeline("nycflights13", project)


def _rule(text: str) -> str:
    return f"rules:\n  - {{id: tried, why: test, {text}}}\n"


def _between(column: str, args: str, kind: str = "values", scope: str = "scope: row, budget: 0") -> str:
    return _rule(f"type: expect_column_{kind}_to_be_between, column: {column}, args: {{{args}}}, {scope}")


HOUR = "scope: hour"


@pytest.mark.parametrize(
    ("rule", "path", "said"),
    [
        (_between("flight", "min_value: 9, max_value: 1"), "args.min_value", "leave no value"),
        (_between("flight", "min_value: 1, max_value: 1, strict_min: true"), "args.min_value", "leave no value"),
        (_between("scheduled_at", "min_value: 2013-02-01, max_value: 2013-01-01"), "args.min_value", "leave no value"),
        (_between("flight", 'min_value: "1"'), "args.min_value", "'flight' is int"),
        (_between("scheduled_at", "min_value: 15"), "args.min_value", "'scheduled_at' is timestamp"),
        (_between("scheduled_at", "min_value: soon"), "args.min_value", "an instant such as 2013-11-01T12:00:00Z"),
        (_between("scheduled_at", "min_value: 2013-02-30"), "args.min_value", "2013-02-30"),
        (_between("carrier", "min_value: 1"), "args.min_value", "write numbers and true or false in quotes"),
        (_between("carrier", "max_value: 10", "sum", HOUR), "column", "needs numbers"),
        (_between("flight", "max_value: 1.5", "unique_value_count", HOUR), "args.max_value", "is not a count"),
        (_between("flight", "max_value: 7", "proportion_of_non_null_values", HOUR), "args.max_value", "is not a share"),
        (_between("flight", "max_value: 7, mostly: 3", scope=HOUR), "args.mostly", "not a share"),
        (_between("flight", "max_value: 7, strict_max: 1", scope=HOUR), "args.strict_max", "neither true nor false"),
        (_rule("type: expect_column_values_to_be_in_set, column: flight, args: {value_set: [1, AA]}, scope: row, budget: 0"),
         "value_set[1]", "'flight' is int"),
        (_rule("type: expect_column_values_to_be_in_set, column: origin, args: {value_set: [NO, SE, NO]}, scope: row, budget: 0"),
         "value_set[2]", "in the set twice"),
        (_rule("type: expect_column_values_to_be_in_set, column: flight, args: {value_set: [1, true]}, scope: row, budget: 0"),
         "value_set[1]", "'flight' is int"),
        (_rule('type: expect_column_values_to_match_regex, column: origin, args: {regex: "("}, scope: row, budget: 0'), "args.regex",
         "is broken"),
        (_rule('type: expect_column_values_to_match_regex, column: origin, args: {regex: "(?P<a>x)"}, scope: row, budget: 0'),
         "args.regex", "of Python alone"),
        (_rule("type: expect_column_pair_values_a_to_be_greater_than_b, columns: [flight, origin], scope: row, budget: 0"), "columns",
         "cannot be compared"),
        (_rule("type: expect_column_pair_values_to_be_equal, columns: [flight, flight], scope: row, budget: 0"), "columns", "twice"),
        (_rule("type: expect_column_pair_values_to_be_in_set, columns: [flight, origin], args: {value_pairs_set: [[1, A], [A, 1]]},"
               " scope: row, budget: 0"), "value_pairs_set[1]", "'flight' is int"),
        (_rule("type: expect_multicolumn_sum_to_equal, columns: [flight, origin], args: {sum_total: 3}, scope: row, budget: 0"),
         "columns", "needs numbers"),
        (_rule("type: expect_column_quantile_values_to_be_between, column: flight, scope: batch, args: {quantile_ranges: {quantiles:"
               " [0.5], value_ranges: [[3, 1]]}}"), "quantile_ranges", "low is above its high"),
        (_rule('type: unexpected_rows_expectation, scope: batch, args: '
               '{unexpected_rows_query: "SELECT * FROM {batch} WHERE delay > 1"}'),
         "unexpected_rows_query", "no column 'delay'"),
        (_rule('type: unexpected_rows_expectation, scope: batch, args: {unexpected_rows_query: "SELECT * FORM {batch}"}'),
         "unexpected_rows_query", "syntax error"),
    ],
)  # fmt: skip
def test_a_rule_that_can_never_work_is_refused_at_its_argument(project, rule, path, said):
    (project / D).write_text(f"table: departures\n{rule}")
    with pytest.raises(ConfigError) as caught:
        load.load_pipeline("nycflights13", project)
    matches = [one for one in caught.value.faults if one.path.endswith(path) and said in f"{one.found}; {one.allowed}"]
    assert matches, [str(fault) for fault in caught.value.faults]


def test_a_country_code_in_a_value_set_is_text(project):
    (project / D).write_text(
        "table: departures\n"
        + _rule(
            "type: expect_column_values_to_be_in_set, column: origin, args: {value_set: [NO, SE]}, scope: row, budget: 0"
        )
    )
    assert load.load_pipeline("nycflights13", project).suites["departures"].rules[0].args == {"value_set": ["NO", "SE"]}


def test_syntax_structure_references_and_rules_are_reported_at_once(project):
    """Faults that were four reports before: one of YAML, of keys, of values, between files, of a rule, of a channel."""
    faults = _faults(
        project,
        (f"{CONF}/replay.yaml", "package: nycflights13", "package: 010"),
        (T, "grain: one row an airport and hour", "grian: one row an airport and hour"),
        (P, "timeout: 30m", "timeout: soon"),
        (F, "event_at: scheduled_at", "event_at: scheduled"),
        (M, "numeric: [distance_mi]", "numeric: [carrier]"),
        (D, "args: {min_value: -60, max_value: 1440}", "args: {min_value: 60, max_value: 14}"),
        (f"{RULES}/weather.yaml", "severity: ", "severty: "),
    )
    assert sorted({fault.place.split(":")[0].rpartition("/")[2] for fault in faults}) == [
        "departures.yaml", "features.yaml", "model.yaml", "pipeline.yaml", "replay.yaml", "tables.yaml", "weather.yaml",
    ]  # fmt: skip
    assert len(faults) == 7, [str(fault) for fault in faults]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (T, "distance_mi: {from: distance, type: double,", "distance_mi: {from: distance, type: doubel,"),
        (T, "source: weather", "surce: 3"),
        (F, "staleness: 6h", "staleness: soon"),
        (F, "entities: [carrier, origin, plane]", "entities: carrier"),
        (D, "table: departures", "tabel: departures"),
        (f"{CONF}/sources.yaml", "grace: 15m", "grace: soon"),
        (f"{CONF}/sources.yaml", "format: csv", "format: cvs"),
    ],
)
def test_a_fault_of_one_part_causes_no_reports_about_what_names_it(project, file, old, new):
    faults = _faults(project, (file, old, new))
    assert {fault.place.split(":")[0] for fault in faults} == {file}, [str(fault) for fault in faults]


def test_a_fault_after_an_invalid_rule_has_its_own_line(project):
    rules = [
        "{id: one, type: expect_nothing, why: t, scope: hour}",
        "{id: two, type: expect_column_values_to_be_between, column: flight, args: {min_value: 2, max_value: 1}, why: t, scope: hour}",
    ]
    (project / D).write_text("table: departures\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules))
    with pytest.raises(ConfigError) as caught:
        load.load_pipeline("nycflights13", project)
    assert [fault.place.split(":")[1] for fault in caught.value.faults] == ["3", "4"]
