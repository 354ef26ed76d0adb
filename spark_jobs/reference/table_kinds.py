"""The kinds of lake tables and the meaning of each column that every pipeline has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EVERY_TABLE = {
    "hour": "start of the UTC hour whose run wrote the row",
    "known_at": "instant from which the row counts as known",
    "pub": "number of the publication that wrote the row",
    "day": "date of `hour`, the partition",
}


@dataclass(frozen=True)
class Kind:
    """One kind of table: its name with a placeholder, what it holds, its key, what `conf/` adds, columns with meanings."""

    name: str
    about: str
    key: str
    columns: Mapping[str, str]
    added: str = ""


CELL = {
    "entity": "entity of features.yaml",
    "key": "values of the entity's columns, separated by a vertical bar",
    "as_of": "hour at which the features are taken",
}
_ORIGIN = {"file": "file of the drop", "line": "line in the file, or number of the record"}
KINDS = (
    Kind(
        "bronze/<source>",
        "Every record of every drop, as text.",
        "pub, file, line",
        {
            **_ORIGIN,
            "drop_sha256": "hash of the drop's file",
            "arrived_at": "arrival by the manifest",
            "raw": "the record where it could not be split into columns",
            "fault": "why it could not be split",
        },
        "the columns of sources.yaml, as string",
    ),
    Kind(
        "silver/<table>",
        "Typed rows that passed the rules of their table, one per key.",
        "the key of tables.yaml; with `valid_from` also that column",
        {**_ORIGIN, "event_at": "instant at which the source could first know the row"},
        "the columns and lookups of tables.yaml; readers of a slowly changing table also see `valid_to`, the instant of the"
        " key's next row",
    ),
    Kind(
        "quarantine",
        "Rows that a rule held back.",
        "pub, table, file, line",
        {
            "table": "table whose rule held the row back",
            **_ORIGIN,
            "business_key": "key of the row",
            "rules": "every rule that the row broke",
            "reason": "what was wrong, in words",
            "cols": "the columns as delivered; sensitive ones are shown nowhere",
        },
    ),
    Kind(
        "accounts",
        "What became of the rows of an hour.",
        "hour, table",
        {
            "source": "source of the drop",
            "table": "silver table",
            "drop_sha256": "hash of the drop's file",
            **_ORIGIN,
            "arrived_at": "arrival by the manifest",
            "manifest": "rows that the manifest states",
            "silver": "rows published",
            "quarantined": "rows held back",
            "duplicates": "rows that repeat another row of the drop",
            "discarded": "rows given up by `tidegate quarantine discard`",
        },
    ),
    Kind(
        "spine_accounts",
        "What became of the spine rows that an hour accounts for.",
        "hour, as_of",
        {
            "as_of": "hour at which the features are taken",
            "expected": "all rows that the hour accounts for: predicted + not_known + entity_null + no_cells",
            "predicted": "known at as_of, with at least one cell",
            "incomplete": "of the predicted: without the cell of some entity",
            "not_known": "no version was known at as_of",
            "entity_null": "every entity has a null in its key",
            "no_cells": "the gate held all cells of the row",
            "too_early": "delivered longer than `announced_within` before as_of; not part of `expected`",
        },
    ),
    Kind(
        "tiles/<table>",
        "Counts and sums of one entity over one hour of events.",
        "entity, key, event_hour",
        {
            "entity": CELL["entity"],
            "key": CELL["key"],
            "event_hour": "hour of the events",
            "n": "number of events; 0 replaces a tile whose rows are gone",
        },
        "`n_<measure>` and `sum_<measure>` of each measure that an aggregation uses",
    ),
    Kind(
        "features/<group>",
        "The features of one entity key as of one hour.",
        "entity, key, as_of",
        {**CELL, "covered_h": "window groups only: hours of the longest window that were published and known at as_of"},
        "`<aggregation>_<window>` of a window group; the columns taken over by a join or look-up",
    ),
    Kind(
        "predictions/<model>",
        "What the champion predicted.",
        "the key of the spine's table, model_version",
        {
            "model_version": "version of the model in the registry",
            "role": "champion",
            "prediction_at": "instant at which the prediction is due",
            "as_of": CELL["as_of"],
            "score": "probability of label 1",
            "data_release": "release that was read; null for rows staged with their hour",
            "scored_late": "the cells were known only after prediction_at",
        },
        "the key of the spine's table",
    ),
    Kind(
        "training_sets/<model>",
        "Spine rows with features as known at prediction time.",
        "the key of the spine's table",
        {
            "prediction_at": "instant at which the prediction was due",
            "as_of": CELL["as_of"],
            "cells_known_at": "newest known time of the row's cells",
            "label_known_at": "instant at which the label was known",
            "label": "0 or 1",
            "fold": "train or evaluate",
        },
        "the columns of the spine's table and the features of every group; `manifest.json` has counts, digests and the release",
    ),
)
