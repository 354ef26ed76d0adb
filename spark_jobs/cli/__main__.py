"""`python -m spark_jobs.cli` is `tidegate`."""

from spark_jobs.cli import main

if __name__ == "__main__":
    main()
