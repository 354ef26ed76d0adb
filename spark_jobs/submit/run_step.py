"""What spark-submit is handed, alone in its folder (its folder is sys.path[0]): argv in, result line and exit code out."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main(words: list[str]) -> int:
    """Run the step that `words` name; the last line on stdout is the result as JSON."""
    from spark_jobs.errors import EXIT_BUG, EXIT_USAGE, TidegateError
    from spark_jobs.invocation import Invocation
    from spark_jobs.runtime.parent import die_with_parent, die_with_submitter
    from spark_jobs.steps import plan

    die_with_parent()
    die_with_submitter()
    try:
        call = Invocation.parse(words)
        if call.step in plan.JUDGED:
            from spark_jobs.quality.suites import warm_up

            warm_up()
        from spark_jobs.lake.session import submitted_session
        from spark_jobs.logs import log_to_stderr
        from spark_jobs.steps.run import StepRun

        log_to_stderr()
        result = StepRun(call, submitted_session).run()
    except TidegateError as fault:
        print(fault, file=sys.stderr)
        return fault.exit_code if fault.exit_code != EXIT_BUG else EXIT_USAGE
    if result.why:
        print(result.why, file=sys.stderr, flush=True)
    print(result.to_json(), flush=True)
    return result.exit_code


if __name__ == "__main__":
    from spark_jobs.process_exit import exit_without_shutdown

    exit_without_shutdown(main(sys.argv[1:]))
