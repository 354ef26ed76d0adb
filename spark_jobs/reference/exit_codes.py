"""docs/reference/exit-codes.md: what each exit code means, from `spark_jobs/errors.py`."""

from __future__ import annotations

import inspect

from spark_jobs import errors
from spark_jobs.errors import EXIT_BUG, EXIT_OK, EXIT_REFUSED, EXIT_RETRY, EXIT_USAGE, TidegateError
from spark_jobs.generated_pages import table
from spark_jobs.reference.heading import head

_INTRODUCTION = """
The exit code alone decides whether Airflow tries a task again. Commands, steps and tasks share one list of codes.
"""
_MEANINGS = {
    EXIT_OK: ("Done, or nothing to do.", "–"),
    EXIT_BUG: ("A bug or an unforeseen error. A traceback is in the log.", "once"),
    EXIT_USAGE: ("The command, `conf/` or the environment is wrong. Nothing was started.", "no"),
    EXIT_REFUSED: ("The data were judged and refused. Readers keep the former release.", "no"),
    EXIT_RETRY: (
        "Data are not there yet, a service cannot be reached, or another writer was first. The same command may work later.",
        "yes, with growing delays",
    ),
}
_STEPS_WITH_GATES = """
## Steps with gates
In Airflow a step that is followed by gates ends green with 65. The gate task reads the verdicts and fails, so that the
task that judges is red and not the task that computed. On the command line `tidegate run` ends with 65.

`tidegate backfill PIPELINE --leave-out-refused` and `tidegate quarantine replay` publish what they can, name the hours that
were refused, and end with 65.

## Sources
| fault | code |
|---|---|
| wrong address, login, query, bucket, host key or permission | 64 |
| other columns than declared, a row without an hour, a value without a text form, a file that is not what its manifest states | 65 |
| a server that cannot be reached, is locked or too slow; a file that is not complete yet or changed while it was copied | 75 |

A failed fetch lands nothing. What landed before stays.
"""


def page() -> str:
    """The whole page.

    Raises:
        KeyError: an exit code of `spark_jobs/errors.py` has no meaning here.
    """
    codes = sorted({code for name, code in vars(errors).items() if name.startswith("EXIT_")})
    by_code = [[str(code), *_MEANINGS[code]] for code in codes]
    classes = [[f"`{kind.__name__}`", str(kind.exit_code), _first_line(kind)] for kind in _error_classes()]
    parts = [
        head("Exit codes", "`spark_jobs/errors.py`"),
        _INTRODUCTION.lstrip(),
        table(["code", "meaning", "Airflow tries again"], by_code),
        "## Errors in code\n",
        table(["class of `spark_jobs.errors`", "code", "raised when"], classes),
        _STEPS_WITH_GATES.lstrip(),
    ]
    return "\n".join(parts)


def _error_classes() -> list[type[TidegateError]]:
    """Subclasses that `spark_jobs/errors.py` itself defines; those of other modules inherit a code from them."""
    classes = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, TidegateError)]
    return [kind for kind in classes if kind is not TidegateError]


def _first_line(kind: type[TidegateError]) -> str:
    return (inspect.getdoc(kind) or "").splitlines()[0]
