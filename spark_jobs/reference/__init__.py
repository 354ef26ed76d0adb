"""The generated pages of docs/reference/: command line, tables, ledger and exit codes, from the code itself.

`python -m spark_jobs.reference --write` writes them; a test fails while one is stale. The page of the configuration has a
generator of its own, `spark_jobs.config.docs`.
"""
