"""The ledger's tables, column by column; docs/reference/ledger.md is generated from them."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 1
_HEAD = [("seq", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("by", pa.string()), ("schema_version", pa.int32())]
_HOURS = [("from_hour", pa.timestamp("us", "UTC")), ("to_hour", pa.timestamp("us", "UTC"))]

# Lists and maps of facts are JSON text: a ledger row is read whole, never searched inside.
SCHEMAS: Final[dict[str, pa.Schema]] = {
    "intervals": pa.schema(
        [
            *_HEAD, ("dag_run", pa.string()), ("step", pa.string()), *_HOURS, ("state", pa.string()), ("pub", pa.int64()),
            ("drops", pa.string()),  # {source: sha256 over the hashes of the interval's drops}
            ("rows", pa.string()),  # {source: {manifest, silver, quarantined, duplicates, discarded}}
            ("staged", pa.string()),  # {table: digest of the staged files}
            ("base", pa.int64()),  # release that the stages read
            ("seconds", pa.float64()), ("code_version", pa.string()), ("config_hash", pa.string()), ("why", pa.string()),
        ]
    ),
    "verdicts": pa.schema(
        [
            *_HEAD, ("pub", pa.int64()), ("table", pa.string()), ("scope", pa.string()), *_HOURS,
            ("outcome", pa.string()), ("verdict", pa.string()),  # the verdict as JSON, rules and bounded examples in it
            ("suite_hash", pa.string()), ("staged_digest", pa.string()),
        ]
    ),
    "releases": pa.schema(
        [
            *_HEAD, ("release", pa.int64()), ("pub", pa.int64()), ("parent", pa.int64()), ("kind", pa.string()),
            ("covers", pa.string()),  # [[table, from, to]]
            ("dead", pa.string()),  # [pub], all that are dead in this release
            ("rows", pa.string()),  # {table: rows}
            ("why", pa.string()),
        ]
    ),
    "quarantine_actions": pa.schema(
        [
            *_HEAD, ("pub", pa.int64()), ("table", pa.string()), ("file", pa.string()), ("line", pa.int64()),
            ("drop_sha256", pa.string()),  # of the drop that the line lies in: files are named again, bytes are not
            ("action", pa.string()),  # discarded; replayed: not held any more since its hour was published anew
            ("why", pa.string()),
        ]
    ),
    "incidents": pa.schema(
        [
            *_HEAD, ("incident", pa.string()), ("event", pa.string()), ("channel", pa.string()), ("message_key", pa.string()),
            ("severity", pa.string()), ("owner", pa.string()), ("body", pa.string()),
        ]
    ),
    "promotions": pa.schema(
        [
            *_HEAD, ("model", pa.string()), ("alias", pa.string()), ("from_version", pa.string()),
            ("to_version", pa.string()), ("why", pa.string()), ("proof_digest", pa.string()),
        ]
    ),
    "definitions": pa.schema(
        [
            *_HEAD, ("digest", pa.string()),  # the config_hash of publications that were made under these definitions
            ("model", pa.string()), ("version", pa.string()),  # of a registered model version; digest is null then
            ("definitions", pa.string()),  # JSON: all definitions by id; of a model version the hash of each input column
        ]
    ),
}  # fmt: skip

STATES: Final = (
    "waiting",
    "late",
    "empty",
    "started",
    "staged",
    "refused",
    "published",
    "superseded",
    "withdrawn",
    "failed",
)
KINDS: Final = ("hour", "backfill", "rebuild", "heal", "score", "rollback")
