"""The page is made of recorded facts alone: no outside address, nothing unescaped, the same facts the same bytes."""

import re
from datetime import UTC, datetime

import pytest

from spark_jobs.config.load import load_environment, load_pipeline
from spark_jobs.invocation import Invocation
from spark_jobs.ledger import Ledger
from spark_jobs.report.page import write_page
from spark_jobs.report.story import story
from spark_jobs.verdict import Outcome, RuleResult, Verdict

PIPELINE = "nycflights13"
CALL = Invocation(
    PIPELINE, "ingest", datetime(2013, 11, 1, 13, tzinfo=UTC), datetime(2013, 11, 1, 14, tzinfo=UTC), "run"
)
HOSTILE = "</td><script>alert(1)</script><img onerror='x' a=\"b\">"
OUTSIDE = re.compile(r"https?:|//[a-z]|\bsrc\s*=|\bhref\s*=|url\(|@import|<script|<link|<iframe", re.IGNORECASE)
DELAY = RuleResult(
    "delay_in_minutes",
    Outcome.FAIL,
    "delay_min",
    "29 of 55 outside",
    "between -60 and 1440",
    29,
    55,
    ("5400",),
    "minutes",
)


@pytest.fixture
def places(project):
    return load_environment("local", project)[1]


def _page(project, places, rule=DELAY, samples=None, name="page.html"):
    """The page of a pipeline whose only run was refused by `rule`."""
    root = places.lake / PIPELINE
    ledger = Ledger.open(root)
    if not ledger.intervals():
        pub = ledger.start(CALL, "abc", "def", None)
        ledger.add_verdict(CALL, pub, Verdict.of("silver/outcomes", "silver", [rule], "suite", "digest"))
        ledger.record(CALL, "refused", pub, why=rule.observed)
    return write_page(places.data / name, story(root, load_pipeline(PIPELINE, project), samples or {})).read_text()


def test_a_blocked_run_is_shown_with_rule_observed_and_allowed(project, places):
    page = _page(project, places)
    for text in (
        "refused",
        "FAIL",
        "delay_in_minutes",
        "delay_min",
        "29 of 55 outside",
        "between -60 and 1440",
        "5400",
    ):
        assert text in page, text


def test_the_page_has_no_outside_address(project, places):
    page = _page(project, places, samples={"features/departures": [{"key": "a", "value": 0.5}]})
    assert OUTSIDE.findall(page) == []


def test_control_the_search_for_outside_addresses_finds_them():
    for bad in ('<a href="x">', "<img src=x>", "https://x", "url(//cdn)", "<SCRIPT>"):
        assert OUTSIDE.search(bad), bad


def test_hostile_values_are_escaped_wherever_they_stand(project, places):
    rule = RuleResult(HOSTILE, Outcome.FAIL, HOSTILE, HOSTILE, HOSTILE, 1, 2, (HOSTILE,), HOSTILE)
    page = _page(project, places, rule, {HOSTILE: [{HOSTILE: HOSTILE}]})
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;") == 9  # six in the rule, three in the sample


def test_the_same_facts_give_the_same_bytes(project, places):
    assert _page(project, places) == _page(project, places, name="again.html")


def test_a_pipeline_that_never_ran_has_a_page_as_well(project, places):
    facts = story(places.lake / PIPELINE, load_pipeline(PIPELINE, project), {})
    page = write_page(places.data / "page.html", facts).read_text()
    assert "latest release" in page
    assert "<b>none</b>" in page


def test_values_that_act_on_a_terminal_are_spelled_out(project, places):
    """In every field of a rule, in a run's reason and in a sample."""
    hostile = "a\x1b[2J\x9b31m\u202eb\x85\u2028c"
    rule = RuleResult(hostile, Outcome.FAIL, hostile, hostile, hostile, 1, 2, (hostile,), hostile)
    page = _page(project, places, rule, {"features/weather": [{"key": hostile, hostile: 1}]})
    assert all(line.isprintable() for line in page.replace("\t", " ").split("\n"))
    assert r"a\x1b[2J\x9b31m\u202eb" in page
