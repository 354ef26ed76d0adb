"""The command line, thin over the functions that the DAGs use; heavy libraries are imported inside the commands."""

from spark_jobs.cli.app import main

__all__ = ["main"]
