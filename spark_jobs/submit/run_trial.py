"""What spark-submit is handed for a trial of a gate: words in, the facts as one line of JSON and an exit code out."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main(words: list[str]) -> int:
    """Try the gate that `words` name: pipeline, table, seed, number of clean hours, environment, scratch folder."""
    from spark_jobs.errors import TidegateError
    from spark_jobs.runtime.parent import die_with_parent, die_with_submitter

    die_with_parent()
    die_with_submitter()
    try:
        from spark_jobs.quality.suites import warm_up

        warm_up()
        from spark_jobs import transforms
        from spark_jobs.config import load_environment, load_pipeline
        from spark_jobs.gate_test import run as trial
        from spark_jobs.lake.session import submitted_session
        from spark_jobs.logs import log_to_stderr
        from spark_jobs.values import to_json

        log_to_stderr()
        name, table, seed, count, env, folder = words
        pipeline, (environment, _) = load_pipeline(name), load_environment(env)
        transforms.load_modules(pipeline.settings.modules)
        facts = trial.run(submitted_session, pipeline, environment, Path(folder), table, int(seed), int(count))
    except TidegateError as fault:
        print(fault, file=sys.stderr)
        return fault.exit_code
    print(to_json(facts, ascii_only=True), flush=True)
    return 0


if __name__ == "__main__":
    from spark_jobs.process_exit import exit_without_shutdown

    exit_without_shutdown(main(sys.argv[1:]))
