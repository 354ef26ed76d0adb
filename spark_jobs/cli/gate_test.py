"""`tidegate gate test`: the gate of the gate. Starts one Spark application in a scratch folder and prints what it found."""

from __future__ import annotations

import tempfile
from typing import Any

from spark_jobs.cli.act import explain, submitted
from spark_jobs.cli.output import note, say, show_json, show_table
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.errors import EXIT_OK
from spark_jobs.steps import plan


def try_gate(pipeline: str, table: str, seed: int, clean: int, env: str, *, as_json: bool) -> int:
    """Try the gate of silver table `table`; the exit code is 0 whatever was found, others mean that it could not run.

    Raises:
        UsageError: the pipeline has nothing to try this table on.
    """
    from spark_jobs.gate_test.upstream import trial_conf
    from spark_jobs.runtime.spark import TRIAL_SCRIPT, spark_conf, submit_script

    trial_conf(load_pipeline(pipeline), table)  # before any Spark starts
    environment, places = load_environment(env)
    _, profile = environment.profile(plan.HOUR_STEPS[0].name, 1)  # many hours, but of few rows
    conf = spark_conf(profile)
    log = places.data / "logs" / f"{pipeline}-gate-test-{table}-{seed}.log"
    note(f"gate test: {pipeline}/silver/{table}, seed {seed}; starting Spark")
    with tempfile.TemporaryDirectory(prefix="tidegate-gate-test-") as folder:
        words = [pipeline, table, str(seed), str(clean), env, folder]
        command = submit_script(  # a local master in any environment: no executor sees the scratch folder
            TRIAL_SCRIPT,
            words,
            master=f"local[{profile.cores}]",
            memory_mb=profile.memory_mb,
            conf=conf,
            name=f"{pipeline} gate test {table}",
        )
        code, last, facts = submitted(command, log)
    if code != EXIT_OK:
        explain(last, code, log, f"tidegate gate test {pipeline} {table} --seed {seed} --clean {clean} --env {env}")
        return code
    show_json(facts) if as_json else show_trial(facts)
    return EXIT_OK


def show_trial(facts: dict[str, Any]) -> None:
    """A trial's facts for people."""
    mutants = facts["mutants"]
    rows = [[f"{m['number']} {m['name']}", m["hour"], m["outcome"], ", ".join(m["rules"])] for m in mutants]
    show_table("", ["fault", "hour", "outcome", "caught by"], rows)
    missed = [m for m in mutants if m["outcome"] == "missed"]
    if missed:
        say()
        told = [[f"{m['number']} {m['name']}", ", ".join(m["columns"]), m["reason"]] for m in missed]
        show_table("missed", ["fault", "columns", "why"], told)
    say()
    for hour in facts["false_alarm_hours"]:
        say(f"false alarm        {hour['hour']}: {', '.join(hour['rules'])}")
    unfit = ", ".join(f"{one['number']} {one['name']}" for one in facts["not_applicable"])
    for title, names in (
        ("caught nothing", ", ".join(facts["idle_rules"])),
        ("nobody guards", ", ".join(facts["unguarded_columns"])),
        ("not applicable", unfit),
    ):
        say(f"{title:<18} {names or 'none'}")
    say(
        f"{facts['pipeline']}/silver/{facts['table']}, seed {facts['seed']}: {facts['caught']} of {facts['total']} faults"
        f" caught, {facts['false_alarms']} false alarms on {facts['clean_hours']} clean hours"
        f" ({facts['clean_rows_held']} of their rows held)"
    )
