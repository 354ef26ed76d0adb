"""What a person reads of an unforeseen error of a step, and which errors refuse the hour."""

import pytest
from pyspark.errors import PythonException

from spark_jobs.steps.failure import cause, is_caused_by_values, place

WORKER = """An exception was thrown from the Python worker:
Traceback (most recent call last):
  File "/srv/shop/own_transforms.py", line 8, in share
    raise ValueError(f"share of {value}")
"""
DIVISION = """[DIVIDE_BY_ZERO] Division by zero. Use `try_divide` to tolerate divisor being 0. SQLSTATE: 22012
"""
CRASH = """An error occurred while calling o199.parquet.
: org.apache.spark.SparkException: Python worker exited unexpectedly (crashed). Consider a fault handler.
\tat org.apache.spark.api.python.BasePythonRunner(PythonRunner.scala:704)
"""


def test_an_error_of_a_python_function_names_function_line_and_table():
    error = PythonException(WORKER + "ValueError: share of 3\n")
    error.add_note("while computing orders")
    assert cause(error) == "PythonException: ValueError: share of 3"
    assert place(error) == "; in share (own_transforms.py:8); while computing orders"


def test_an_error_of_a_spark_expression_names_its_table():
    error = RuntimeError(DIVISION)
    error.add_note("while computing orders")
    assert cause(error).startswith("RuntimeError: [DIVIDE_BY_ZERO] Division by zero")
    assert place(error) == "; while computing orders"


def test_a_crashed_worker_names_no_line():
    error = RuntimeError(CRASH)
    assert "Python worker exited unexpectedly" in cause(error)
    assert place(error) == ""


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (PythonException(WORKER + "ValueError: share of 777.25: too much\n"), "PythonException: ValueError: •••"),
        (
            PythonException(WORKER + "own_transforms.ShareError: 777.25\n"),
            "PythonException: own_transforms.ShareError: •••",
        ),
        (
            RuntimeError("[CAST_INVALID_INPUT] The value '777.25' cannot be cast"),
            "RuntimeError: [CAST_INVALID_INPUT] •••",
        ),
    ],
)
def test_values_are_masked_where_columns_are_sensitive(error, shown):
    assert cause(error, is_masked=True) == shown
    assert "777.25" in cause(error)


def test_errors_that_no_value_causes_are_shown_whole_where_columns_are_sensitive():
    assert cause(RuntimeError(CRASH), is_masked=True) == cause(RuntimeError(CRASH))


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (RuntimeError(DIVISION), True),
        (PythonException(WORKER + "ValueError: share of 3\n"), True),
        (PythonException(WORKER + "own_transforms.ShareError: 3\n"), True),
        (PythonException(WORKER + "ZeroDivisionError\n"), True),
        (PythonException(WORKER + "ModuleNotFoundError: No module named 'shop'\n"), False),
        (PythonException(WORKER + "MemoryError\n"), False),
        (PythonException(WORKER + "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 9 GiB\n"), False),
        (PythonException(WORKER + "xgboost.core.XGBoostError: [10:00:00] Connection closed by a worker\n"), False),
        (PythonException(WORKER + "FileNotFoundError: [Errno 2] No such file: 'rates.csv'\n"), False),
        (RuntimeError(CRASH), False),
        (RuntimeError(WORKER + "ValueError: not of a worker\n"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_only_errors_that_values_cause_refuse_the_hour(error, refused):
    """Memory, files, missing modules and dead workers may be the machine's fault: the step fails and is retried."""
    assert is_caused_by_values(error) is refused
