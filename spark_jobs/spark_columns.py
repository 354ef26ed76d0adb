"""Spark columns by their names, whatever characters a name has."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from spark_jobs.identifiers import quoted


def spark_column(name: str) -> Column:
    """The Spark column `name`; a dot or a backtick in it is part of the name, not a field of a struct."""
    return F.col(quoted(name, "spark"))
