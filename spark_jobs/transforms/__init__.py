"""Pure column functions, registered by name; nothing here reads or writes a table."""

from spark_jobs.transforms import columns as _columns  # registers the built-in transforms
from spark_jobs.transforms.registry import apply, load_modules, transform

__all__ = ["apply", "load_modules", "transform"]
del _columns
