"""The short ways: steps that are concluded without Spark, before any JVM starts."""

from __future__ import annotations

from spark_jobs import plan
from spark_jobs.invocation import Invocation, hours_between
from spark_jobs.lake.changes import require_publishable
from spark_jobs.result import Result
from spark_jobs.sources.drops import find_drops
from spark_jobs.stages.asked import Asked
from spark_jobs.stages.changes import require_unmixed
from spark_jobs.stages.empty import conclude_empty
from spark_jobs.stages.unchanged import conclude_unchanged


def conclude_without_spark(call: Invocation) -> Result | None:
    """The result of a step that needs no Spark, written down as the step itself would; none when it has to be run.

    Raises:
        UsageError: conf/ has faults, contradicts published rows, or changed in a way that needs a rebuild first; see
            `changes.require_unmixed`.
    """
    asked = Asked.of(call)
    if call.step != "query":  # what lands is the same under any definition
        require_publishable(asked.pipeline, asked.root, call.env)
        require_unmixed(asked.pipeline, asked.ledger, call)
    if plan.step(call.step).cadence != "hourly":
        return None
    if call.step == "query":
        return _landed(asked)
    return (conclude_unchanged(asked) or conclude_empty(asked)) if asked.line else None


def _landed(asked: Asked) -> Result | None:
    """Step `query` has nothing to do when every drop that it lands is there: what an hour was is asked once of a database.

    Files of another file system are always looked for: a correction may lie there, which would be seen in the landing folder, too.
    """
    sources, wanted = asked.pipeline.sources, list(hours_between(asked.call.start, asked.call.end))
    names = list(sources.queried())
    if (
        not names
        or sources.mirrored()
        or any(len(find_drops(sources, asked.landing, name, wanted)) < len(wanted) for name in names)
    ):
        return None
    why = f"nothing to do: the drops of {', '.join(names)} have landed; `tidegate fetch` asks again"
    return asked.result("landed", None, {}, why=why)
