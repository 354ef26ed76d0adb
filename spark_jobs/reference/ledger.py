"""docs/reference/ledger.md: the tables of the ledger, from `spark_jobs/ledger/schemas.py`."""

from __future__ import annotations

from spark_jobs.generated_pages import table
from spark_jobs.ledger.schemas import KINDS, SCHEMAS, STATES
from spark_jobs.reference.heading import head

_INTRODUCTION = """
The ledger is a set of small Delta tables in `<lake>/<pipeline>/ledger/`. It is read and written without Spark. Rows state
facts and are never updated. A row is appended by compare-and-swap: the writer reads version v of the table, appends, and
succeeds only if its commit is v + 1; otherwise it reads again. A publication number is the version of its own append to
`intervals`. Lists and maps are JSON text.
"""
_EVERY_TABLE = {
    "seq": "number of the row in its table; order follows it; compaction and fences leave gaps",
    "at": "instant at which the row was written; a publication expires by it, order never follows it",
    "by": "what wrote it",
    "schema_version": "version of the row; older code refuses newer rows",
}
_HOURS = {"from_hour": "first hour of the interval", "to_hour": "hour before which the interval ends"}
_TABLES = {
    "intervals": "What runs did: one row per attempt at a step and for each change of an hour's state.",
    "verdicts": "What gates decided: one row per table and publication; the newest of a table counts.",
    "releases": "What readers follow: one row per release. Its append is the commit point of a publication.",
    "quarantine_actions": "Decisions about quarantined rows.",
    "incidents": "What was opened, sent and closed: one row per event and channel.",
    "promotions": "Moves of a model's alias.",
    "definitions": "The definitions under which publications and model versions were made.",
}
_COLUMNS = {
    "intervals": {
        "dag_run": "run id; steps of one run find each other by it",
        "step": "name of the step",
        **_HOURS,
        "state": "see States",
        "pub": "number of the publication",
        "drops": "by source, hash over the hashes of the interval's drops",
        "rows": "by source: manifest, silver, quarantined, duplicates, discarded",
        "staged": "by table, digest of the staged files",
        "base": "release that the stages read",
        "seconds": "wall time of the step",
        "code_version": "commit of the code; ends with -dirty where the checkout differed",
        "config_hash": "digest of the definitions that the tables of an hour use",
        "why": "reason in words, for a refusal or failure",
    },
    "verdicts": {
        "pub": "publication that was judged",
        "table": "table that was judged",
        "scope": "gate that reads the verdict: silver, features or training_set",
        **_HOURS,
        "outcome": "PASS, WARN, FAIL or ERROR",
        "verdict": "the whole verdict as JSON: rules, what was observed, what is allowed, bounded examples",
        "suite_hash": "hash of the suite",
        "staged_digest": "digest of the files that were judged; publish compares it",
    },
    "releases": {
        "release": "number without gaps",
        "pub": "publication that this release adds",
        "parent": "release before this one",
        "kind": "see Kinds of releases",
        "covers": "list of [table, from, to]",
        "dead": "all publications that do not count in this release",
        "rows": "rows by table",
        "why": "reason of a rollback",
    },
    "quarantine_actions": {
        "pub": "publication whose row is meant",
        "table": "table whose rule held the row back",
        "file": "file that the row came from",
        "line": "line in the file",
        "drop_sha256": "hash of the drop; a file of the same name may have other bytes",
        "action": "discarded; replayed: no longer held since its hour was published again",
        "why": "reason in words",
    },
    "incidents": {
        "incident": "id of the incident",
        "event": "opened, signal, sent, send_failed or recovered",
        "channel": "channel of a sent or failed message",
        "message_key": "the same for each repetition of a message",
        "severity": "severity of the incident",
        "owner": "owner of the pipeline",
        "body": "text of the message",
    },
    "promotions": {
        "model": "name of the model",
        "alias": "alias that moved; the champion is scored with",
        "from_version": "version that carried it before",
        "to_version": "version that carries it now; null after a demotion",
        "why": "reason in words",
        "proof_digest": "digest of the proof that the model version carries",
    },
    "definitions": {
        "digest": "config_hash of the publications that were made under these definitions; null for a model version",
        "model": "model whose inputs the row records; null for publications",
        "version": "version of that model",
        "definitions": "JSON: all definitions by id; for a model version the hash of each input column",
    },
}
_STATES = {
    "waiting": "drops are missing, within their grace",
    "late": "drops are missing, and their grace is over",
    "empty": "the step had nothing to do",
    "started": "a publication number was given",
    "staged": "files are written and judged; nothing is readable yet",
    "refused": "a gate blocked; readers keep the former release",
    "published": "readers see it",
    "superseded": "another attempt or release was first",
    "withdrawn": "a rollback took it from readers; catch-up leaves it alone",
    "failed": "an error that is not about the data",
}
_KINDS = {
    "hour": "one hour",
    "backfill": "several hours as one publication",
    "rebuild": "tiles and features computed again under changed definitions; publishes no hour",
    "heal": "cells that late or corrected rows invalidated",
    "score": "predictions; a rollback keeps them",
    "rollback": "what an earlier release showed",
}


def page() -> str:
    """The whole page.

    Raises:
        KeyError: a table, column, state or kind has no meaning here.
    """
    parts = [head("Ledger", "`spark_jobs/ledger/schemas.py`"), _INTRODUCTION.lstrip(), "## Columns of every table\n"]
    first = next(iter(SCHEMAS))
    parts.append(_columns(first, _EVERY_TABLE))
    for name in SCHEMAS:
        own = {column: _COLUMNS[name][column] for column in SCHEMAS[name].names if column not in _EVERY_TABLE}
        parts += [f"## {name}\n", f"{_TABLES[name]}\n", _columns(name, own)]
    parts += [
        "## States\n",
        "Of an hour and of an attempt at a step.\n",
        _named("state", {one: _STATES[one] for one in STATES}),
    ]
    parts += ["## Kinds of releases\n", _named("kind", {one: _KINDS[one] for one in KINDS})]
    return "\n".join(parts)


def _columns(name: str, meanings: dict[str, str]) -> str:
    types = {field.name: str(field.type) for field in SCHEMAS[name]}
    return table(["column", "type", "meaning"], [[f"`{one}`", types[one], text] for one, text in meanings.items()])


def _named(title: str, meanings: dict[str, str]) -> str:
    return table([title, "meaning"], [[f"`{one}`", text] for one, text in meanings.items()])
