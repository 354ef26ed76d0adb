"""Whether rows of the spine can be known at their prediction time at all, as far as conf/ proves it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from spark_jobs.config.clash import Clash
from spark_jobs.config.section import TransformCall, duration_text
from spark_jobs.config.whole import Pipeline

HOUR = timedelta(hours=1)
_FILE = "features.yaml"


def spine_clashes(pipeline: Pipeline) -> Iterator[Clash]:
    """Settings of the spine under which no row of it can ever be predicted for.

    A row of drop hour H is known at H + 1 h at the earliest and is looked for by the hours up to `announced_within` later.
    Its features are taken at as_of, the whole hour at or before event_at - predict_before. `event_within` ties H to the
    row's event_at, and the transform that computes event_at ties it to the spine's instant; where the transform is neither
    `itself` nor `hours_before` of that instant, nothing is proven.
    """
    spine = pipeline.features.spine
    table = pipeline.silver.get(spine.table)
    if table is None:
        return
    if spine.announced_within < HOUR:
        yield Clash(
            _FILE, ("spine", "announced_within"),
            f"no row is looked for: a drop is known one hour after its hour began, later than {duration_text(spine.announced_within)}",
            "1h or more",
        )  # fmt: skip
    notice = _notice(table.event_at, spine.event_at)
    if notice is None:
        return
    within, at = table.event_within, ("spine", "predict_before")
    latest = notice + within.ahead
    if latest <= spine.predict_before:
        yield Clash(
            _FILE, at,
            f"no row of {spine.table} is ever known {duration_text(spine.predict_before)} before its {spine.event_at}: the source"
            f" knows it {duration_text(notice)} before (event_at in tables.yaml), and a drop is known when its hour has ended",
            f"less than {duration_text(latest)}" if latest > timedelta(0) else
            f"an event_at in tables.yaml, or event_within.ahead, that gives notice of {spine.event_at}",
        )  # fmt: skip
    waiting = notice - spine.predict_before - within.lateness
    if waiting - spine.announced_within // HOUR * HOUR >= HOUR:
        yield Clash(
            _FILE, ("spine", "announced_within"),
            f"no row of {spine.table} is looked for: each is delivered {duration_text(waiting)} or more before its prediction",
            f"{duration_text(waiting)} or more",
        )  # fmt: skip


def _notice(event_at: TransformCall, instant: str) -> timedelta | None:
    """How long before `instant` the source knows a row; none where conf/ does not say."""
    if event_at.columns != [instant]:
        return None
    if event_at.use == "itself":
        return timedelta(0)
    hours = event_at.options.get("hours")
    return timedelta(hours=hours) if event_at.use == "hours_before" and isinstance(hours, int) else None
