"""An hour without drop rows and without spine rows: prepared and published without Spark, before any JVM starts.

What is recorded is what the ordinary way records of such an hour: verdicts, accounts, a release that covers it. Whatever
is not plainly such an hour takes the ordinary way, which also says what is wrong with it. Where the steps of an hour are split,
`ingest` stages all of an empty hour, features among them, and `build_features` has only to seal it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

from deltalake import DeltaTable, Schema

from spark_jobs import plan
from spark_jobs.config.agree import silver_order
from spark_jobs.config.schemas import table_schemas
from spark_jobs.config.suites import Suite
from spark_jobs.errors import TidegateError
from spark_jobs.failpoints import failpoint
from spark_jobs.invocation import HOUR
from spark_jobs.lake.admission import required_release, seal, sealed_files, sealed_row
from spark_jobs.lake.publish import Publication
from spark_jobs.lake.publish import publish as publish_publication
from spark_jobs.lake.reading import read_current
from spark_jobs.lake.staging import Staged, load_manifest, stage_rows
from spark_jobs.lake.versions import EVERY
from spark_jobs.ledger import Release
from spark_jobs.quality import decide
from spark_jobs.result import Result
from spark_jobs.sources.drops import Drop, drops_digest, find_drops, known_at
from spark_jobs.sources.parse import parse_file
from spark_jobs.stages import publish
from spark_jobs.stages.accounts import (
    account_row,
    account_totals,
    published_accounts,
    rows_before,
    spine_account_row,
)
from spark_jobs.stages.asked import Asked
from spark_jobs.storage import Row
from spark_jobs.storage.damage import open_log
from spark_jobs.storage.evolution import planned
from spark_jobs.verdict import Outcome, RuleResult, Verdict

ACCOUNTS = ("accounts", "spine_accounts")  # tables that have rows of an empty hour too
MAX_BYTES = 1 << 20  # of a drop that holds a header at most; a larger one is left to Spark's workers


def conclude_empty(asked: Asked) -> Result | None:
    """The result of a step of an empty hour, written down; none when the step must run."""
    if asked.call.hours != 1:
        return None
    stages = plan.step(asked.call.step).stages
    with suppress(TidegateError, OSError):  # the step itself meets it again and tells it
        if "bronze" in stages:
            return _stage(asked)
        if "features" in stages:
            return _seal_again(asked)
        return _publish(asked) if "publish" in stages else _score(asked)
    return None


def _stage(asked: Asked) -> Result | None:
    """Stage the accounts of an hour without rows, and seal it with a verdict on every gated table, features among them."""
    call, ledger, base = asked.call, asked.ledger, asked.line[-1].release
    drops = _empty_drops(asked)
    if drops is None or _readers_see_rows(asked) or _is_predicted_for(asked):
        return None
    verdicts = _verdicts(asked, drops)
    logs = {table: open_log(asked.root / table) for table in ACCOUNTS}
    if verdicts is None or None in logs.values():
        return None
    account = decide.Account(call.start, 0, 0)
    known = max(known_at(drop, asked.pipeline.sources.sources[name]) for name, drop in drops.items())
    spine = decide.SpineAccount(call.start, call.end, 0)
    rows: dict[str, list[Row]] = {"accounts": [], "spine_accounts": [spine_account_row(spine, known)]}
    for name in silver_order(asked.pipeline.silver):
        rows["accounts"].append(account_row(name, drops[asked.pipeline.silver[name].source], account, known))
    pub = asked.start(call, base)
    staged = [
        stage_rows(asked.root, table, pub, rows.get(table, []), _schema(asked, table, logs.get(table)))
        for table in plan.tables_written(asked.pipeline, ("bronze", "silver", "tiles", "features"))
    ]
    missed = asked.pipeline.features.spine.missed
    result = decide.spine_result([spine], missed.at_most, missed.severity)
    for verdict in [*verdicts, Verdict.of("spine_accounts", "features", [result])]:
        ledger.add_verdict(call, pub, verdict)
    seal(
        ledger, call, pub, staged, drops=drops_digest({name: {call.start: drop} for name, drop in drops.items()}),
        rows=dict.fromkeys(asked.pipeline.silver, account_totals([account])), base=base,
        code_version=asked.code, config_hash=asked.pipeline.config_hash,
    )  # fmt: skip
    why = "an empty hour: no source has a row, no prediction is due"
    return asked.result("staged", pub, {one.table: one.rows for one in staged}, why=why)


def _schema(asked: Asked, table: str, log: DeltaTable | None) -> Schema | None:
    """What the log of an account table will be with this publication; none for tables without a row."""
    return Schema.from_json(planned(log.schema().to_json(), table_schemas(asked.pipeline)[table])) if log else None


def _empty_drops(asked: Asked) -> dict[str, Drop] | None:
    """The newest drop of each source, when each is there, whole, and without a row."""
    conf, hour, found = asked.pipeline.sources, asked.call.start, {}
    for source, settings in conf.sources.items():
        drop = find_drops(conf, asked.landing, source, [hour]).get(hour)
        if drop is None or drop.rows or drop.bytes > MAX_BYTES:
            return None
        if parse_file(drop.path, drop.file, drop.rows, drop.bytes, drop.sha256, settings, MAX_BYTES).num_rows:
            return None  # the one row that says what is wrong with the file
        found[source] = drop
    return found


def _readers_see_rows(asked: Asked) -> bool:
    """Whether the hour has rows now: without them tiles have to be restated."""
    accounts = published_accounts(asked.pipeline, asked.root, asked.line, asked.call.start, asked.call.end)
    return any(account["manifest"] for account in accounts)


def _is_predicted_for(asked: Asked) -> bool:
    """Whether a spine row may ask for features as of the hour's end: one in any version known by then, replaced or not."""
    spine, as_of = asked.pipeline.features.spine, asked.call.end
    first = as_of + spine.predict_before
    bounds = [
        ("hour", ">=", as_of - spine.announced_within), ("hour", "<", as_of), ("known_at", "<=", as_of),
        (spine.event_at, ">=", first), (spine.event_at, "<", first + HOUR),
    ]  # fmt: skip
    asks = " AND ".join(f"\"{column}\" {test} TIMESTAMPTZ '{at.isoformat()}'" for column, test, at in bounds)
    return bool(read_current(asked.root, f"silver/{spine.table}", EVERY, asked.line, where=asks, limit=1))


def _verdicts(asked: Asked, drops: Mapping[str, Drop]) -> list[Verdict] | None:
    """A verdict on no row of every gated table; none when a rule asks for rows, or is not known to work.

    Rules are known to work when the newest published hours were judged by them, under this code and configuration. Which
    rules a table has beside its suite's own is taken from there: it depends on the types that Spark gave the columns.
    """
    if any(source.drift == "refuse" for source in asked.pipeline.sources.sources.values()):
        return None  # their rule type_drift counts in Spark
    newest = next((release for release in reversed(asked.line) if release.kind in ("hour", "backfill")), None)
    if newest is None or not asked.made_alike(newest.pub):
        return None
    before = {verdict.table: verdict for verdict in asked.ledger.verdicts(newest.pub)}
    account, suites = decide.Account(asked.call.start, 0, 0), asked.pipeline.suites
    whole = [decide.readable_result([], 1), *decide.account_results([account])]
    hour, silver = asked.call.start, asked.pipeline.silver
    past = rows_before(asked.pipeline, asked.root, asked.line, hour, asked.call.end)
    gated = [
        (f"silver/{name}", "silver", suites[name], silver[name].version_key,
         [*whole, decide.volume_result(silver[name].volume, {hour: 0}, past[name]), _arrival(asked, drops, name)])
        for name in silver_order(silver)
    ]  # fmt: skip
    gated += [
        (table, "features", suites[table], ["entity", "key", "as_of"], []) for table in asked.pipeline.feature_tables
    ]
    if not before.keys() >= {table for table, *_ in gated}:
        return None
    verdicts = [
        _verdict(before[table], scope, suite, asked, decide.key_result(key, 0, 0), more)
        for table, scope, suite, key, more in gated
    ]
    return verdicts if all(verdict.outcome is Outcome.PASS for verdict in verdicts) else None


def _arrival(asked: Asked, drops: Mapping[str, Drop], table: str) -> RuleResult:
    source = asked.pipeline.silver[table].source
    drop = drops[source]
    known = {drop.hour: known_at(drop, asked.pipeline.sources.sources[source])} if drop.version == 1 else {}
    return decide.arrival_result(known)


def _verdict(
    before: Verdict, scope: str, suite: Suite, asked: Asked, key: RuleResult, more: Sequence[RuleResult]
) -> Verdict:
    """On no row of the table that `before` judged; results in the order in which the gate gives them."""
    own = {rule.id for rule in suite.rules} | {result.rule for result in (key, *more)}
    built = [result.rule for result in before.rules if result.rule not in own]
    results = [
        *decide.row_results(suite.row_rules, [], built, allowances=suite.built_in),
        *decide.hour_results(suite.hour_rules, [], [asked.call.start]),
    ]
    return decide.decide(before.table, scope, suite, [*results, key, *more], Staged(before.table, 0, "", ()).digest)


def _publish(asked: Asked) -> Result | None:
    """Release what was sealed, and an hour of each champion without a score if this step scores; none when there are rows."""
    call, ledger = asked.call, asked.ledger
    row = sealed_row(ledger, call)
    champions = asked.champions() if "score" in plan.step(call.step).stages else {}
    if row["state"] != "staged" or _has_rows(asked, row["pub"]) or (champions and _is_predicted_for(asked)):
        return None
    release = publish.run(asked.pipeline, ledger, call)
    ledger.record(call, "published", release.pub, why=f"release {release.release}", rows=release.rows)
    failpoint("publish.recorded")
    asked.desk.published(call, release.release)
    for model, version in champions.items():
        _score_nothing(asked, model, version)
    why = f"an empty hour: release {release.release}"
    return asked.result("published", release.pub, release.rows, release.release, why)


def _seal_again(asked: Asked) -> Result | None:
    """Nothing is left to build of a publication that `_stage` sealed whole; none of one that Spark staged."""
    call, row = asked.call, sealed_row(asked.ledger, asked.call)
    staged = sealed_files(asked.ledger, call, row["pub"])
    recorded = json.loads(row["staged"] or "{}")
    whole = recorded.keys() >= {*asked.pipeline.feature_tables}
    if row["state"] != "staged" or not whole or row["config_hash"] != asked.pipeline.config_hash:
        return None
    facts = {name: row[name] for name in ("drops", "rows", "base", "code_version", "config_hash")}
    seal(asked.ledger, call, row["pub"], staged.values(), **facts)
    why = "an empty hour: ingest has staged it whole"
    return asked.result("staged", row["pub"], {one.table: one.rows for one in staged.values()}, why=why)


def _score(asked: Asked) -> Result | None:
    """Score nothing: without a champion, or an hour without a row for whose end no prediction is due."""
    call, champions = asked.call, asked.champions()
    release = required_release(asked.ledger, call)
    if champions and (_has_rows(asked, release.pub) or _is_predicted_for(asked)):
        return None
    for model, version in champions.items():
        _score_nothing(asked, model, version)
    asked.desk.published(call, release.release)
    why = "an empty hour: nothing to score" if champions else "no model has a champion"
    return asked.result("published", release.pub, {}, release.release, why)


def _has_rows(asked: Asked, pub: int) -> bool:
    """Whether publication `pub`, sealed or released since, has a row beside its accounts."""
    released = asked.ledger.released(pub)
    staged = load_manifest(asked.ledger.storage, pub) or {}
    rows = released.rows if released else {table: files.rows for table, files in staged.items()}
    return any(count for table, count in rows.items() if table not in ACCOUNTS)


def _score_nothing(asked: Asked, model: str, version: str) -> Release:
    """A release that says that the champion has scored the hour, in which there was nothing to score."""
    call, table, base = asked.call.with_step("score"), f"predictions/{model}", asked.ledger.line()[-1].release
    pub = asked.start(call, base)
    staged, covers = {table: stage_rows(asked.root, table, pub, [], None)}, {table: (call.start, call.end)}
    why = f"{model} version {version}"
    release = publish_publication(asked.ledger, Publication(pub, "score", covers, staged, base, frozenset(), why))
    asked.ledger.record(call, "published", pub, why=f"release {release.release}", rows={table: 0})
    return release
