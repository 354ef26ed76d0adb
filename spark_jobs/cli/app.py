"""`tidegate`: every command, its words and its exit code.

0 done, 64 a wrong command or setting, 65 data refused by a gate, 75 not there yet or another writer was first (the only
one that is worth repeating as it is), 1 a bug. Airflow retries 75 and 1, never 64 or 65.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from spark_jobs.errors import EXIT_OK, EXIT_USAGE, TidegateError
from spark_jobs.invocation import parse_hour
from spark_jobs.process_exit import exit_without_shutdown

_CLICK_USAGE = 2  # what typer ends with when the words are wrong

EXIT_CODES = """Exit codes:

\b
  0   done
  1   a bug: see the traceback above
  64  the command or conf/ is wrong; nothing was started, a retry does not help
  65  the data were refused by a gate; readers keep the former release, a retry does not help
  75  not there yet, or another writer was first; the same command may work later
"""
_WIDE = {} if sys.stdout.isatty() else {"terminal_width": 10_000}  # nothing is wrapped or cut in a pipe

app = typer.Typer(
    name="tidegate", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings=_WIDE, epilog=EXIT_CODES,
    help="Hourly Spark feature pipelines whose data must pass a gate before anyone can read it.",
)  # fmt: skip
releases = typer.Typer(
    no_args_is_help=True,
    help="List, show, compare and roll back releases, which readers follow.",
    rich_markup_mode=None,
)
app.add_typer(releases, name="release")
quarantine = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="List and show quarantined rows, discard them, or run their hours again.",
)  # fmt: skip
app.add_typer(quarantine, name="quarantine")
gates = typer.Typer(no_args_is_help=True, help="Measure what a gate catches.", rich_markup_mode=None)
app.add_typer(gates, name="gate")

models = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="Choose the version that scores when the registry (MLflow) and the ledger disagree.",
)  # fmt: skip
app.add_typer(models, name="model")

Pipeline = Annotated[str, typer.Argument(help="Name of a folder in conf/pipelines.", metavar="PIPELINE")]
AnyPipeline = Annotated[
    str | None, typer.Argument(help="Name of a folder in conf/pipelines; all when left out.", metavar="[PIPELINE]")
]
Env = Annotated[str, typer.Option("--env", help="Environment: a file in conf/environments.", envvar="TIDEGATE_ENV")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]
From = Annotated[str, typer.Option("--from", help="First hour, UTC, such as 2013-11-01T12:00:00.")]
To = Annotated[str, typer.Option("--to", help="Hour before which the interval ends, UTC.")]
StepName = Annotated[
    str,
    typer.Argument(
        help="ingest, build_features, publish, heal, rebuild, training_set, train or score.", metavar="STEP"
    ),
]
MaybeStep = Annotated[str | None, typer.Argument(help="A step, with --from and --to.", metavar="[STEP]")]
MaybeFrom = Annotated[str | None, typer.Option("--from", help="First hour, UTC, such as 2013-11-01T12:00:00.")]
MaybeTo = Annotated[str | None, typer.Option("--to", help="Hour before which the interval ends, UTC.")]
RunId = Annotated[str, typer.Option("--dag-run", help="Run id; steps of one run find each other by it.")]
AsKnown = Annotated[
    str | None,
    typer.Option("--as-known", help="Only what was known at this hour, UTC; everything that is known when left out."),
]
_CORRECT_ROWS = "Deliver a share of rows again some hours later, with 1 added to a column: source.column=0.1:5h."
Table = Annotated[str, typer.Option("--table", help="Table whose rows are quarantined, such as silver/orders.")]
Rule = Annotated[str | None, typer.Option("--rule", help="Only rows that broke this rule.")]
Hour = Annotated[str | None, typer.Option("--hour", help="Only this hour, UTC, such as 2013-11-01T12:00:00.")]
Refused = Annotated[
    bool, typer.Option("--refused", help="Rows of hours that a gate refused, instead of published ones.")
]
RefusedRun = Annotated[str | None, typer.Option("--run", help="With --refused: only what this run refused.")]
Number = Annotated[int | None, typer.Option("--release", help="Release to read; the newest when left out.")]


@app.command()
def validate(pipeline: AnyPipeline = None, env: Env = "local", json: Json = False) -> None:
    """Check conf/ and expectations/. Reports every fault at once, with file and line. Starts nothing."""
    from spark_jobs.cli.look import validate_all

    validate_all(pipeline, env, as_json=json)


@app.command()
def plan(
    pipeline: Pipeline, step: MaybeStep = None, from_hour: MaybeFrom = None, to_hour: MaybeTo = None, env: Env = "local",
    json: Json = False,
) -> None:  # fmt: skip
    """Show what changed definitions in conf/ mean for published hours, or what a STEP would do. Writes nothing.

    Without STEP: definitions added, changed and removed; stale hours by table; models that were trained on former definitions;
    what to rebuild, its estimated cost, and the commands. With STEP, --from and --to: hours, drops, tables, checks, memory.
    """
    from spark_jobs.cli.planning import plan_of

    plan_of(pipeline, step, from_hour, to_hour, env, as_json=json)


@app.command()
def run(
    pipeline: Pipeline, step: StepName, from_hour: From, to_hour: To, dag_run: RunId = "", env: Env = "local",
    json: Json = False,
) -> None:  # fmt: skip
    """Run one step by spark-submit, as Airflow does. The exit code is that of the step."""
    from spark_jobs.cli.act import run_step

    raise typer.Exit(run_step(pipeline, step, from_hour, to_hour, dag_run, env, as_json=json))


@app.command()
def backfill(
    pipeline: Pipeline, from_hour: MaybeFrom = None, to_hour: MaybeTo = None,
    leave_out_refused: Annotated[
        bool, typer.Option("--leave-out-refused", help="Publish the hours around those that a gate refuses.")
    ] = False,
    changed: Annotated[
        bool, typer.Option("--changed", help="Rebuild only what changed definitions made stale; without --from and --to.")
    ] = False,
    dag_run: RunId = "", env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Run the hourly steps over [from, to) as one publication, with one Spark application per step.

    One refused hour refuses the whole interval. With --leave-out-refused each stretch between refused hours is a publication,
    and the exit code is 65.

    With --changed the hours are those that `tidegate plan PIPELINE` shows: hours with a stale silver table are run again; of
    the others only stale tiles and features are rebuilt, from silver. An interrupted command continues where it stopped.
    """
    from spark_jobs.cli.backfill import rebuild_changed, run_backfill

    if changed:
        raise typer.Exit(rebuild_changed(pipeline, from_hour or to_hour, env, as_json=json))
    raise typer.Exit(
        run_backfill(
            pipeline, from_hour, to_hour, dag_run, env, as_json=json, leave_out_refused=leave_out_refused
        )
    )  # fmt: skip


@app.command()
def heal(
    pipeline: Pipeline,
    from_hour: Annotated[str | None, typer.Option("--from", help="First hour, UTC; with --to.")] = None,
    to_hour: Annotated[str | None, typer.Option("--to", help="Hour before which the interval ends, UTC.")] = None,
    dag_run: RunId = "", env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Recompute feature cells that late or corrected rows invalidate, and publish those that differ.

    Without an interval: the hours that can differ since the last heal. Starts no Spark application where none can. Readers as
    of an earlier hour, and training, see what was known then.
    """
    from spark_jobs.cli.heal import heal_cells

    raise typer.Exit(heal_cells(pipeline, from_hour, to_hour, dag_run, env, as_json=json))


@app.command()
def score(
    pipeline: Pipeline,
    from_hour: From,
    to_hour: To,
    model: Annotated[str, typer.Option("--model", help="Only this model of model.yaml; all when left out.")] = "",
    dag_run: RunId = "",
    env: Env = "local",
    json: Json = False,
) -> None:
    """Add the champion's predictions to the published hours of [from, to) that lack them.

    Hours that have them are skipped. Starts no Spark application when all have them. Predictions of former champions stay.
    """
    from spark_jobs.cli.score import score_hours

    raise typer.Exit(score_hours(pipeline, from_hour, to_hour, model, dag_run, env, as_json=json))


@app.command()
def status(
    pipeline: AnyPipeline = None,
    hour: Annotated[str | None, typer.Option("--hour", help="One hour: its runs, verdicts and row accounts.")] = None,
    env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Show hours by state, row accounts, the latest release, the champion and open incidents."""
    from spark_jobs.cli.look import show_status

    show_status(pipeline, hour, env, as_json=json)


@releases.command("list")
def release_list(
    pipeline: Pipeline,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000_000, help="How many, the newest first.")] = 20,
    env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """List releases, the newest first."""
    from spark_jobs.cli.releases import list_releases

    list_releases(pipeline, limit, env, as_json=json)


@releases.command("show")
def release_show(
    pipeline: Pipeline, release: Annotated[int, typer.Argument(help="Number of a release.")], env: Env = "local",
    json: Json = False,
) -> None:  # fmt: skip
    """Show one release: what it covers, its rows, its parent, its dead publications."""
    from spark_jobs.cli.releases import show_release

    show_release(pipeline, release, env, as_json=json)


@releases.command("rollback")
def release_rollback(
    pipeline: Pipeline,
    release: Annotated[int, typer.Argument(help="Number of the release to return to.")],
    why: Annotated[str, typer.Option("--why", help="The reason; the ledger keeps it.")],
    env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Let readers see the rows of RELEASE again. No table is touched; a rollback to the release before undoes it."""
    from spark_jobs.cli.releases import roll_back

    roll_back(pipeline, release, why, env, as_json=json)


@releases.command("diff")
def release_diff(
    pipeline: Pipeline,
    first: Annotated[int, typer.Argument(help="Number of a release.", metavar="A")],
    second: Annotated[int, typer.Argument(help="Number of the release to compare with it.", metavar="B")],
    env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Compare release B with A: publications, hours, and rows added, removed and changed."""
    from spark_jobs.cli.releases import diff_releases

    diff_releases(pipeline, first, second, env, as_json=json)


@quarantine.command("list")
def quarantine_list(
    pipeline: Pipeline, refused: Refused = False, hour: Hour = None, run: RefusedRun = None, env: Env = "local",
    json: Json = False,
) -> None:  # fmt: skip
    """Count the quarantined rows of the newest release by table, rule and hour (by day when there are many).

    A row that broke two rules counts under both. Discarded rows are left out. Age is counted back from the newest published
    hour. With --refused: the rows of refused hours that were not published since, with the rules that broke. They are kept
    for two days.
    """
    from spark_jobs.cli.quarantine_list import list_held
    from spark_jobs.cli.quarantine_refused import list_refused, refused_of

    if chosen := refused_of(refused, hour, run):
        list_refused(pipeline, chosen, env, as_json=json)
    else:
        list_held(pipeline, parse_hour(hour, "--hour") if hour else None, env, as_json=json)


@quarantine.command("show")
def quarantine_show(
    pipeline: Pipeline, table: Table, rule: Rule = None, hour: Hour = None, refused: Refused = False,
    run: RefusedRun = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000_000, help="How many, the oldest hours first.")] = 20,
    env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Show quarantined rows one by one: rules, reason, key, file, line and columns as delivered; why one was discarded.

    With --refused: the rows of refused hours that were not published since.
    """
    from spark_jobs.cli.quarantine_refused import refused_of, show_refused
    from spark_jobs.cli.quarantine_rows import chosen_of, show_held

    chosen = chosen_of(table, rule, hour)
    if those := refused_of(refused, hour, run):
        show_refused(pipeline, chosen, those, limit, env, as_json=json)
    else:
        show_held(pipeline, chosen, limit, env, as_json=json)


@quarantine.command("discard")
def quarantine_discard(
    pipeline: Pipeline, table: Table,
    why: Annotated[str, typer.Option("--why", help="The reason; the ledger keeps it.")],
    rule: Rule = None, hour: Hour = None,
    file: Annotated[str | None, typer.Option("--file", help="With --line: one row.")] = None,
    line: Annotated[int | None, typer.Option("--line", min=1, help="Line in --file.")] = None,
    env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Count quarantined rows as discarded, also when their hour is published again from the same drop.

    Needs --rule, --hour, or --file with --line; several options choose the rows that meet all of them. Rows stay in the table
    quarantine, and one that a later rule lets pass is published. Repeating the command changes nothing.
    """
    from spark_jobs.cli.quarantine_rows import chosen_of, discard_held

    discard_held(pipeline, chosen_of(table, rule, hour, file, line), why, env, as_json=json)


@quarantine.command("replay")
def quarantine_replay(
    pipeline: Pipeline,
    table: Annotated[str | None, typer.Option("--table", help="Only hours with quarantined rows of this table.")] = None,
    hour: Hour = None,
    from_hour: Annotated[str | None, typer.Option("--from", help="First hour, UTC; with --to.")] = None,
    to_hour: Annotated[str | None, typer.Option("--to", help="Hour before which the interval ends, UTC.")] = None,
    env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Run the hours of quarantined rows again, oldest first, after a rule, a type or a mapping in conf/ changed.

    Each hour is a publication of its own, through the normal steps; its drops must still be landed. An hour that a gate
    refuses stays as it was and is named; the others are run all the same, and the exit code is 65.
    """
    from spark_jobs.cli.quarantine_replay import replay_held, span_of

    span = span_of(pipeline, hour, from_hour, to_hour)
    raise typer.Exit(replay_held(pipeline, table, span, env, as_json=json))


@gates.command("test")
def gate_test(
    pipeline: Pipeline,
    table: Annotated[str, typer.Argument(help="A silver table of tables.yaml, such as orders.", metavar="TABLE")],
    seed: Annotated[int, typer.Option("--seed", help="Chooses hours, rows and values.")] = 1,
    clean: Annotated[int, typer.Option("--clean", min=0, help="Clean hours besides the clean versions of bad ones.")] = 40,
    env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Corrupt good hours in 44 ways and report which rule catches each; count false alarms on clean hours.

    Hours come from the history in replay.yaml, in the interval of its section trial. Each is judged as an hourly run would
    judge it, in a scratch folder. A fault is caught when its hour is blocked, every row that it changed is quarantined, or
    readers see the right rows all the same. The exit code does not depend on how many were caught.
    """
    from spark_jobs.cli.gate_test import try_gate

    raise typer.Exit(try_gate(pipeline, table, seed, clean, env, as_json=json))


ModelName = Annotated[str, typer.Argument(help="Name of a model in model.yaml.", metavar="MODEL")]
Why = Annotated[str, typer.Option("--why", help="The reason; the ledger keeps it.")]


@models.command("restore")
def model_restore(pipeline: Pipeline, model: ModelName, env: Env = "local", json: Json = False) -> None:
    """Give the ledger's champion back to the registry: its alias, its run, or the whole version from the local copy.

    A version that the registry lost is registered again under a new number, which scores from then on.
    """
    from spark_jobs.cli.model import restore_champion

    restore_champion(pipeline, model, env, as_json=json)


@models.command("adopt")
def model_adopt(pipeline: Pipeline, model: ModelName, why: Why = "", env: Env = "local", json: Json = False) -> None:
    """Score with the version that carries the alias champion in the registry, after checking its files."""
    from spark_jobs.cli.model import adopt_champion

    adopt_champion(pipeline, model, why, env, as_json=json)


@models.command("demote")
def model_demote(pipeline: Pipeline, model: ModelName, why: Why = "", env: Env = "local", json: Json = False) -> None:
    """Leave the model without a champion, in ledger and registry: hours are published without scores."""
    from spark_jobs.cli.model import demote_champion

    demote_champion(pipeline, model, why, env, as_json=json)


@app.command()
def read(
    pipeline: Pipeline,
    table: Annotated[str, typer.Argument(help="A lake table, such as silver/orders or predictions.")],
    release: Number = None,
    as_known: AsKnown = None,
    where: Annotated[str, typer.Option("--where", help="A condition in SQL on the values of a row; no subquery.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000_000, help="How many rows, latest hours first.")] = 20,
    env: Env = "local",
    json: Json = True,
) -> None:  # fmt: skip
    """Print published rows as JSON: {"rows": […], "release": R}, with "as_known" if given. Starts no JVM."""
    from spark_jobs.cli.look import read_rows

    read_rows(pipeline, table, release, as_known, where, limit, env)


@app.command()
def views(
    pipeline: Pipeline,
    to: Annotated[Path, typer.Option("--to", help="DuckDB file to write; one that this command wrote is replaced.")],
    release: Number = None, as_known: AsKnown = None, env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Write a DuckDB file with one view per lake table, of one release, for notebooks. Copies no rows, starts no JVM."""
    from spark_jobs.cli.look import write_view_file

    write_view_file(pipeline, release, as_known, to, env, as_json=json)


@app.command()
def fetch(
    pipeline: Pipeline, from_hour: From, to_hour: To,
    source: Annotated[list[str] | None, typer.Option("--source", help="Only this source; may be repeated.")] = None,
    env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Land the drops of [from, to): read APIs and databases, copy files from other file systems, write manifests of complete
    files that have none. Starts no JVM.
    """
    from spark_jobs.cli.fetch import fetch_drops

    raise typer.Exit(fetch_drops(pipeline, from_hour, to_hour, source or [], env, as_json=json))


@app.command()
def replay(
    pipeline: Pipeline, from_hour: From, to_hour: To,
    source: Annotated[list[str] | None, typer.Option("--source", help="Only this source; may be repeated.")] = None,
    scale: Annotated[list[str] | None, typer.Option("--scale", help="Change a unit: source.column=factor.")] = None,
    correction: Annotated[bool, typer.Option("--correction", help="Deliver a corrected drop next to the former one.")] = False,
    late_rows: Annotated[str, typer.Option("--late-rows", help="Hold back a share of rows for some hours: 0.1:5h.")] = "",
    repeat_rows: Annotated[str, typer.Option("--repeat-rows", help="Put a share of rows into their drop twice: 0.02.")] = "0",
    correct_rows: Annotated[list[str] | None, typer.Option("--correct-rows", help=_CORRECT_ROWS)] = None,
    skip: Annotated[list[str] | None, typer.Option("--skip", help="Deliver no drop: source@hour.")] = None,
    reorder: Annotated[list[str] | None, typer.Option("--reorder", help="Deliver columns in reverse order: source@hour.")] = None,
    cut: Annotated[list[str] | None, typer.Option("--cut", help="Cut the file to half of its manifest's bytes: source@hour.")] = None,
    flip: Annotated[list[str] | None, typer.Option("--flip", help="Change one byte of the file: source@hour.")] = None,
    redeliver: Annotated[list[str] | None, typer.Option("--redeliver", help="Deliver it twice, as two versions: source@hour.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Chooses the rows and bytes of these options, independent of the interval.")] = 1,
    env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Deliver the packaged history as hourly drops into the landing folder, as an upstream would, with faults on request.

    source@hour names one drop, such as orders@2013-11-01T12. Options that take a list may be repeated.
    """
    from spark_jobs.cli.act import replay_history
    from spark_jobs.sources.faults import parse_faults

    drops = {"skip": skip, "reorder": reorder, "cut": cut, "flip": flip, "redeliver": redeliver}
    faults = parse_faults(seed, late_rows, repeat_rows, correct_rows or [], {name: drops[name] or [] for name in drops})
    replay_history(pipeline, from_hour, to_hour, source or [], scale or [], correction, faults, env, as_json=json)


@app.command()
def serve(
    pipeline: Pipeline,
    port: Annotated[int | None, typer.Option("--port", help="Port; that of the urls in sources.yaml when left out.")] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for other machines as well.")] = "127.0.0.1",
) -> None:  # fmt: skip
    """Serve the packaged history over HTTP, as the upstreams of kind http would, until Ctrl-C."""
    from spark_jobs.cli.act import serve_history

    serve_history(pipeline, port, host)


@app.command()
def maintain(pipeline: Pipeline, env: Env = "local", json: Json = False) -> None:
    """Remove what pipeline.yaml no longer keeps and no release needs; compact closed days. May run at any time."""
    from spark_jobs.cli.act import maintain_pipeline

    maintain_pipeline(pipeline, env, as_json=json)


@app.command()
def migrate(pipeline: Pipeline, env: Env = "local", json: Json = False) -> None:
    """Rewrite published tables for columns that conf/ renamed or whose new type needs other files.

    Rows, releases and known times stay as they are, and readers continue meanwhile. Steps refuse to start until it ran.
    """
    from spark_jobs.cli.migrate import migrate_tables

    migrate_tables(pipeline, env, as_json=json)


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Start no process; takes under a second.")] = False,
    env: Env = "local", json: Json = False,
) -> None:  # fmt: skip
    """Check this machine: Java, memory, disk, ports, versions, jars, writable folders. Prints a fix for each fault."""
    from spark_jobs.cli.look import run_doctor

    raise typer.Exit(run_doctor(quick, env, as_json=json))


def main(words: list[str] | None = None) -> None:
    """Run the command line; usage errors exit 64, faults exit with their own code and no traceback."""
    code: object = EXIT_OK
    try:
        app(args=words, prog_name="tidegate")
    except SystemExit as end:
        code = EXIT_USAGE if end.code == _CLICK_USAGE else end.code
    except TidegateError as fault:
        print(fault, file=sys.stderr)
        if not fault.todo:
            print(f"  do: {_help_of(words if words is not None else sys.argv[1:])}", file=sys.stderr)
        code = fault.exit_code
    exit_without_shutdown(code if isinstance(code, int) else EXIT_OK)


def _help_of(words: list[str]) -> str:
    ours = {
        "release",
        "quarantine",
        "gate",
        "model",
        "restore",
        "adopt",
        "demote",
        "test",
        "list",
        "show",
        "diff",
        "rollback",
        "discard",
        *_command_names(),
    }
    commands = [word for word in words[:2] if word in ours]
    return " ".join(["tidegate", *commands, "--help"])


def _command_names() -> list[str]:
    return [command.callback.__name__ for command in app.registered_commands if command.callback]
