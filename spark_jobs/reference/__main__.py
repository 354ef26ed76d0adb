"""Print the generated pages, or write them into docs/reference/."""

from __future__ import annotations

import sys

from spark_jobs.generated_pages import print_or_write
from spark_jobs.reference.pages import WRITE, pages, write


def main(arguments: list[str]) -> int:
    """Exit code 0, or 64 for other arguments than `--write`."""
    return print_or_write(arguments, WRITE, lambda: "\n".join(pages().values()), write)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
