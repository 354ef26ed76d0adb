"""One step as one spark-submit: an Invocation in, an Airflow state out; which state follows from the exit code.

What a step does is `spark_jobs/`; what its machine is, `spark_jobs/runtime` and conf/environments.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dag_builder.partition import environment_name, invocation
from spark_jobs.errors import EXIT_OK, EXIT_REFUSED, EXIT_RETRY, EXIT_USAGE, UsageError
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.runtime.parent import die_with_parent
from spark_jobs.runtime.places import CHECKOUT
from spark_jobs.runtime.scheduler import is_master

KILL_AFTER_SECONDS = 8  # TERM first, so that the JVM removes its temporary folders
BUG_TRIES = 2  # an unforeseen error is tried once more, whatever the retries for transient faults are
_MEANING = {
    EXIT_USAGE: "the command or conf/ is wrong (64); a retry cannot help",
    EXIT_REFUSED: "the data were refused (65); a retry cannot help",
    EXIT_RETRY: "a transient fault, or data that are not there yet (75)",
}


class SparkStep(SparkSubmitOperator):
    """Runs `step` of `pipeline` for the run's hours.

    Args:
        pipeline: name of the pipeline.
        step: name of the step, as in steps/plan.py.
        width: length of the run's interval.
        gated: the step is followed by gates, which say what was refused: its exit 65 is not a failure of the task.
    """

    template_fields: Sequence[str] = ()  # nothing is templated: the words are made from the partition key in execute
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        pipeline: str,
        step: str,
        width: timedelta = HOUR,
        gated: bool = False,
        **kwargs: Any,  # Airflow's own
    ) -> None:
        super().__init__(conn_id="spark_default", durable=False, **kwargs)
        self.pipeline, self.step, self.width, self.gated = pipeline, step, width, gated

    def call_of(self, context: Context) -> Invocation | None:
        """The call that this run makes: `step` over the interval of its partition key. None: there is nothing to do.

        Raises:
            AirflowFailException: the run names no hour, or one that the pipeline does not have.
        """
        return invocation(context, self.pipeline, self.step, self.width)

    def prepare(self, call: Invocation) -> str:
        """Fill in what spark-submit is handed for `call`; returns the command that a person repeats it with."""
        from spark_jobs.config.load import load_environment
        from spark_jobs.runtime.spark import process_environment, step_conf

        environment, places = load_environment(environment_name())
        profile, self.conf = step_conf(environment, places, self.step, call.hours)
        self.application = str(CHECKOUT / "spark_jobs/submit/run_step.py")
        self.application_args = call.argv()
        folders = {"TIDEGATE_PROJECT": str(places.project), "TIDEGATE_DATA": str(places.data)}
        self.env_vars = process_environment(folders)
        self._driver_memory = f"{profile.memory_mb}m"
        self.name = f"{self.pipeline}.{self.step} {call.argv()[5]}"
        return call.command()

    def execute(self, context: Context) -> None:
        """Submit, wait, and say what the exit code means; nothing is submitted where no Spark is needed."""
        from spark_jobs.steps.without_spark import conclude_without_spark

        try:
            call = self.call_of(context)
            if call is None:
                self.log.info("%s: nothing to do", self.step)
                return
            done = conclude_without_spark(call)
        except UsageError as fault:  # conf/ has faults, or contradicts published rows: no retry helps
            raise AirflowFailException(str(fault)) from fault
        if done and done.exit_code:
            self._conclude(done.exit_code, call.command(), context["ti"].try_number, done.why)
            return
        if done:
            self.log.info("%s: %s", self.step, done.why)
            return
        command = self.prepare(call)
        self._hook = hook = self._get_hook()
        self._require_master(str(hook._connection["master"]))
        try:
            hook.submit(self.application, process_group=0, preexec_fn=die_with_parent)
        except AirflowException as error:
            code = self._exit_code()
            if code in (None, EXIT_OK):
                raise
            self._conclude(int(code or 0), command, context["ti"].try_number, str(error))

    def _require_master(self, master: str) -> None:
        """That the connection names a Spark master: Airflow's provider takes a missing one for YARN, silently.

        Raises:
            AirflowFailException: it is missing, or Spark would not take its host for a master.
        """
        from spark_jobs.config.load import load_environment

        environment, _ = load_environment(environment_name())
        wanted = environment.spark.master
        if is_master(master) and (master != "yarn" or wanted == "yarn"):
            return
        raise AirflowFailException(
            f"connection spark_default: it is missing or names no Spark master (resolved to {master})\n"
            f"  allowed: a connection of type spark; the master of environment {environment_name()} is {wanted}\n"
            f"  do: airflow connections add spark_default --conn-type spark --conn-host '{wanted}'"
        )

    def _conclude(self, code: int, command: str, try_number: int, text: str) -> None:
        """Nothing when the gates decide, else the exception that Airflow's retries understand."""
        if code == EXIT_REFUSED and self.gated:
            self.log.warning("%s: refused, nothing is published; the gate says why", self.step)
            return
        meaning = _MEANING.get(code, f"ended with exit code {code}; its last lines are above")
        message = f"{self.pipeline}.{self.step}: {meaning}\n  do: {command}"
        final = code in (EXIT_USAGE, EXIT_REFUSED) or (code != EXIT_RETRY and try_number >= BUG_TRIES)
        raise (AirflowFailException if final else AirflowException)(message) from None

    def _exit_code(self) -> int | None:
        """spark-submit's exit code, which is the step's; private to the provider, hence its pin."""
        process = getattr(self._hook, "_submit_sp", None)
        return None if process is None else process.returncode

    def on_kill(self) -> None:
        """End the JVM and its Python driver: TERM to their process group, then KILL."""
        process = getattr(self._hook, "_submit_sp", None)
        if process is None or process.poll() is not None:
            return
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(KILL_AFTER_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        except ProcessLookupError:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)  # the driver may outlive the JVM that heads the group
        except ProcessLookupError:
            return
