"""Where the files that belong to a training set are. Imports no Spark, as maintenance does without it."""

from __future__ import annotations

from pathlib import Path


def set_folder(root: Path, model: str, pub: int) -> Path:
    """Folder beside the rows of a training set, with its manifest and the models that were fitted to it."""
    return root / "training_sets" / model / str(pub)
