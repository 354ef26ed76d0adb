"""No verdict, no publication: what the publish stage asks of the ledger before it lets staged files through."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from spark_jobs.config.load import load_environment, load_pipeline
from spark_jobs.errors import RefusedError
from spark_jobs.invocation import Invocation
from spark_jobs.lake.admission import require_verdicts
from spark_jobs.ledger import Ledger
from spark_jobs.steps.context import Context
from spark_jobs.verdict import Outcome, RuleResult, Verdict

PIPELINE = "nycflights13"
CALL = Invocation(
    PIPELINE, "publish", datetime(2013, 11, 1, 6, tzinfo=UTC), datetime(2013, 11, 1, 7, tzinfo=UTC), "run"
)


@pytest.fixture
def context(project):
    environment, places = load_environment("local", project)
    pipeline = load_pipeline(PIPELINE, project)
    ledger = Ledger.open(places.lake / PIPELINE)
    return Context(pipeline, environment, places, ledger, CALL, 0, [], lambda: pytest.fail("no session is needed"))


@pytest.fixture
def digests(context):
    """Digest by table of what is staged: one for every gated table."""
    tables = [*(f"silver/{name}" for name in context.pipeline.silver), *context.pipeline.feature_tables]
    return {table: f"digest of {table}" for table in tables}


def _verdict(table: str, digest: str, outcome: Outcome = Outcome.PASS) -> Verdict:
    return Verdict.of(table, table.partition("/")[0], [RuleResult("rule", outcome)], "suite", digest)


def _require(context, pub, recorded, present):
    tables = [*(f"silver/{name}" for name in context.pipeline.silver), *context.pipeline.feature_tables]
    require_verdicts(context.ledger, f"{PIPELINE} pub {pub}", pub, tables, recorded, present)


def _judge(context, digests, pub=1, **last):
    """A PASS on each table of `digests`, but the last one changed as told."""
    verdicts = [_verdict(table, digest) for table, digest in digests.items()]
    for verdict in [*verdicts[:-1], replace(verdicts[-1], **last)]:
        context.ledger.add_verdict(CALL, pub, verdict)


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.WARN])
def test_a_good_verdict_on_every_staged_table_lets_them_through(context, digests, outcome):
    _judge(context, digests, outcome=outcome)
    _require(context, 1, digests, digests)


def test_G8_no_verdict_no_publication(context, digests):
    with pytest.raises(RefusedError, match="no verdict was recorded"):
        _require(context, 1, digests, digests)


def test_G8_a_table_without_a_verdict_of_its_own_is_named(context, digests):
    *judged, forgotten = digests
    _judge(context, {table: digests[table] for table in judged})
    with pytest.raises(RefusedError, match=f"{forgotten}: no verdict"):
        _require(context, 1, digests, digests)


def test_a_verdict_on_another_publication_does_not_count(context, digests):
    _judge(context, digests, pub=2)
    with pytest.raises(RefusedError, match="no verdict was recorded"):
        _require(context, 1, digests, digests)


def test_G7_a_verdict_on_other_files_does_not_count(context, digests):
    _judge(context, digests, staged_digest="of other bytes")
    with pytest.raises(RefusedError, match="the verdict is on other files"):
        _require(context, 1, digests, digests)


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.ERROR])
def test_a_verdict_that_blocks_is_refused(context, digests, outcome):
    """ERROR, a check that broke, is never a PASS."""
    _judge(context, digests, outcome=outcome)
    with pytest.raises(RefusedError, match=f"the verdict is {outcome}"):
        _require(context, 1, digests, digests)


def test_the_last_word_of_a_gate_counts(context, digests):
    _judge(context, digests)
    _judge(context, digests, outcome=Outcome.FAIL)
    with pytest.raises(RefusedError, match="the verdict is FAIL"):
        _require(context, 1, digests, digests)


@pytest.mark.parametrize("change", [{"silver/more": "x"}, {"silver/schedules": "changed"}])
def test_G7_staged_files_that_prepare_did_not_record_are_refused(context, digests, change):
    _judge(context, digests)
    with pytest.raises(RefusedError, match="not those that were recorded"):
        _require(context, 1, digests, {**digests, **change})
