"""A model version as files with hashes, below the data folder, so that scoring an hour imports no MLflow.

`{folder}/<model>/<version>/` holds booster.ubj, encoder.json and sha256.json; the hashes are checked at each read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from spark_jobs.learning.encode import Encoder
from spark_jobs.storage.files import write_whole

_HASHES = "sha256.json"


@dataclass(frozen=True)
class LoadedModel:
    """One version of a model, ready to score with."""

    model: str
    version: int
    booster: bytes
    encoder: Encoder


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def kept_model(folder: Path, model: str, version: int) -> LoadedModel | None:
    """The version kept below `folder`; None when it is not there, not complete, or not what was written."""
    place = folder / model / str(version)
    try:
        hashes = json.loads((place / _HASHES).read_text(encoding="utf-8"))
        files = {name: (place / name).read_bytes() for name in ("booster.ubj", "encoder.json")}
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    if hashes != {name: sha256(content) for name, content in files.items()}:
        return None
    return LoadedModel(model, version, files["booster.ubj"], Encoder.from_json(files["encoder.json"].decode()))


def keep_model(folder: Path, loaded: LoadedModel) -> None:
    """Write `loaded` below `folder`; each file appears whole or not at all, so a second run changes nothing."""
    place = folder / loaded.model / str(loaded.version)
    files = {"booster.ubj": loaded.booster, "encoder.json": loaded.encoder.to_json().encode()}
    hashes = {name: sha256(content) for name, content in files.items()}
    for name, content in {**files, _HASHES: json.dumps(hashes).encode()}.items():
        write_whole(place / name, content)
