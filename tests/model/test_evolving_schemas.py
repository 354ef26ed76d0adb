"""Random sequences of changed definitions between hours, corrections, heals, rollbacks and maintenance: all readers agree.

A sequence is named by its seed: `TIDEGATE_SEED=<seed> TIDEGATE_EVOLUTIONS=1` runs it alone. `make test-long` runs 20,000.
"""

import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evolving_lake import run

from spark_jobs.storage import delta, evolution, parquet

FIRST = int(os.environ["TIDEGATE_SEED"])
SEQUENCES = int(os.environ.get("TIDEGATE_EVOLUTIONS", "200"))
PROCESSES = 2
ENOUGH = 60  # sequences within which every wrong variant must be caught


def _broken(seeds: range) -> list[str]:
    """What the first sequence of these seeds that breaks a promise broke."""
    for seed in seeds:
        root = Path(tempfile.mkdtemp(prefix="tidegate-evolution-"))
        try:
            run(seed, root)
        except Exception as error:  # a reader or a publication that crashes is as wrong as one that shows other rows
            return [f"seed {seed}: {type(error).__name__}: {error}"]
        finally:
            shutil.rmtree(root)
    return []


@pytest.mark.parametrize("count", [SEQUENCES, pytest.param(20_000, marks=pytest.mark.long)])
def test_readers_agree_after_any_sequence_of_legal_changes(count):
    seeds = range(FIRST, FIRST + count)
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        broken = [
            text for found in pool.map(_broken, [seeds[n::PROCESSES] for n in range(PROCESSES)]) for text in found
        ]
    assert broken == []


def _not_evolved(patch):
    """The log keeps the schema of its first publication."""
    patch.setattr(delta, "evolved", lambda logged, staged: None)


def _by_position(patch):
    """Compaction puts columns together in the order in which files have them."""

    def by_position(rows, schema):
        columns = [one.cast(field.type) for one, field in zip(rows.columns, schema, strict=False)]
        return pa.Table.from_arrays(columns, schema=pa.schema(list(schema)[: rows.num_columns]))

    patch.setattr(parquet, "conformed", by_position)


def _as_written(patch):
    """Compaction expects files to have one schema, as it did once."""
    read = lambda file: pq.read_table(file, partitioning=None)  # noqa: E731
    patch.setattr(delta, "merged_rows", lambda files, schema: pa.concat_tables([read(file) for file in files]))


def _renames_forgotten(patch):
    """A publication that was staged under a former name adds that column again."""
    patch.setattr(evolution, "former_names", lambda field: [])


@pytest.mark.parametrize("control", [_not_evolved, _by_position, _as_written, _renames_forgotten])
def test_wrong_variants_are_caught(control, monkeypatch):
    """Each is one way to get it wrong; fixed seeds find it."""
    control(monkeypatch)
    assert _broken(range(ENOUGH)) != []
