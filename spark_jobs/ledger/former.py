"""What champions were trained on, and whether it can still be computed: from ledger and conf/ alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from spark_jobs.config.definitions import define, input_hashes
from spark_jobs.config.features import FeaturesFile
from spark_jobs.config.whole import Pipeline
from spark_jobs.ledger import Ledger
from spark_jobs.ledger.staleness import differing_inputs


def former_pipeline(pipeline: Pipeline, ledger: Ledger, trained: Mapping[str, str]) -> Pipeline | None:
    """`pipeline` with a recorded features.yaml under which every input has the meaning of training; none: there is none.

    Sources and silver tables are those of conf/: where one of their columns that an input uses has another meaning, no
    features.yaml gives the former input.

    Args:
        pipeline: as conf/ defines it; returned as it is where its own features.yaml has all inputs.
        ledger: records the features.yaml of every configuration that anything was published under.
        trained: input column -> hash of its definition, as `Ledger.model_definitions` returns it.
    """
    recorded = [one.features for one in ledger.definitions().values() if one.features]
    former = (_read(features) for features in reversed(recorded))
    for features in [pipeline.features, *former]:
        if features is None or not _tables(features) <= pipeline.silver.keys():
            continue
        candidate = pipeline.model_copy(update={"features": features})
        if not differing_inputs(trained, input_hashes(candidate, define(candidate))):
            return candidate
    return None


def former_inputs(pipeline: Pipeline, ledger: Ledger, model: str, version: str) -> list[str] | None:
    """Input columns that `version` of `model` takes to mean something else than conf/ does; none where it was not recorded."""
    return _former_inputs(pipeline, ledger.model_definitions(model, version))


def champion_facts(pipeline: Pipeline, ledger: Ledger) -> list[dict[str, Any]]:
    """Champions, and the inputs that they were trained on under another definition; none where that is not known.

    `scores`: whether features of those definitions can be computed, so that the champion keeps scoring.
    """
    found: list[dict[str, Any]] = []
    for name in pipeline.model_settings:
        version = ledger.champion(name)
        if version is not None:
            trained = ledger.model_definitions(name, version)
            former = _former_inputs(pipeline, trained)
            scores = not (trained and former) or former_pipeline(pipeline, ledger, trained) is not None
            found.append({"model": name, "version": version, "former_inputs": former, "scores": scores})
    return found


def _former_inputs(pipeline: Pipeline, trained: Mapping[str, str] | None) -> list[str] | None:
    return None if trained is None else differing_inputs(trained, input_hashes(pipeline, define(pipeline)))


def _read(recorded: Mapping[str, Any]) -> FeaturesFile | None:
    """A recorded features.yaml; none where this version of the code does not know one of its fields."""
    with suppress(ValidationError):
        return FeaturesFile.model_validate(recorded)
    return None


def _tables(features: FeaturesFile) -> set[str]:
    return {features.spine.table, *(group.table for group in features.groups.values())}
