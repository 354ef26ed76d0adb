"""Print the generated pages, or write them into docs/reference/."""

from __future__ import annotations

import sys

from spark_jobs.reference.pages import WRITE, pages, write


def main(arguments: list[str]) -> int:
    """Exit code 0, or 64 for other arguments than `--write`."""
    if arguments == ["--write"]:
        write()
    elif arguments:
        print(f"usage: {WRITE}", file=sys.stderr)
        return 64
    else:
        print("\n".join(pages().values()), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
