"""Hints of errors about damaged files: what to restore. None advises to edit or delete a file of a Delta log.

A table that was repaired by hand can agree with itself and lack rows that the ledger counts. Files of a Delta table never change
after they are written, so any backup that has a missing file has the right one. A table as a whole is restored with the
entire lake only: an older copy of one table would lack publications that the ledger has released.
"""

from __future__ import annotations

_LAKE = "the whole lake: `make restore FROM=<backup>` (docs/how-to/operate.md, Damaged files)"
RESTORE_FILE = f"restore this file from a backup or from the storage's own versions; if none has it, {_LAKE}"
RESTORE_LAKE = f"restore {_LAKE}"
