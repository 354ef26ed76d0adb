"""The manifest of a drop: the facts that its upstream states about one file of one source and hour.

Reading is strict, because everything after it (what is read, what a row count is compared with) rests on these facts.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from spark_jobs.errors import RefusedError
from spark_jobs.invocation import HOUR_FORMAT, format_hour

_SHAPE = (
    '{"schema_version": 1, "source", "hour": "2013-11-01T12:00:00", "file", "rows", "bytes", "sha256", "arrived_at"}'
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_AGAIN = "have the upstream deliver the manifest again, written last by a rename"


def _bare(value: str) -> str:
    if (
        not value
        or value in (".", "..")
        or "/" in value
        or "\\" in value
        or not value.isprintable()
        or len(value) > 200
    ):
        raise ValueError("must be a bare file name of at most 200 printable characters beside the manifest")
    return value


def _text(value: object) -> object:
    if not isinstance(value, datetime) and not (isinstance(value, str) and _DAY.match(value)):
        raise ValueError("must be text such as 2013-11-01T12:00:00Z, not a number")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of `pairs`; readers of JSON disagree on which of two equal keys counts."""
    facts = dict(pairs)
    if len(facts) != len(pairs):
        raise ValueError("a key twice in one object")
    return facts


def _utc(value: datetime) -> datetime:
    if value.tzinfo is not None and value.utcoffset() != timedelta(0):
        raise ValueError("must be UTC")
    return value.replace(tzinfo=UTC)


class Manifest(BaseModel):
    """Facts of one drop; fields that this version does not know are ignored, so that an upstream may state more."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_version: Literal[1]
    source: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    hour: Annotated[datetime, BeforeValidator(_text), AfterValidator(_utc)]
    file: Annotated[str, AfterValidator(_bare)]
    rows: int = Field(ge=0, strict=True)
    bytes: int = Field(ge=0, strict=True)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    arrived_at: Annotated[datetime, BeforeValidator(_text), AfterValidator(_utc)]

    def text(self) -> str:
        """The manifest as one line of JSON, always with the same bytes for the same facts."""
        facts = self.model_dump() | {
            "hour": self.hour.strftime(HOUR_FORMAT),
            "arrived_at": format_hour(self.arrived_at) + "Z",
        }
        return json.dumps(facts) + "\n"


def read_manifest(path: Path | str, source: str, hour: datetime) -> Manifest:
    """The facts in the manifest at `path`.

    Raises:
        RefusedError: it cannot be read, is not such an object, or speaks of another source or hour.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise RefusedError(
            str(path), f"manifest cannot be read: {error.strerror}", "a readable file", _AGAIN
        ) from error
    return parse_manifest(data, str(path), source, hour)


def parse_manifest(data: bytes, where: str, source: str, hour: datetime) -> Manifest:
    """The facts in the bytes of a manifest, which lies at `where`.

    Raises:
        RefusedError: it is not such an object, or speaks of another source or hour.
    """
    try:
        manifest = Manifest.model_validate_json(data)
        json.loads(data, object_pairs_hook=_unique)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        found = f"malformed manifest: {field + ': ' if field else ''}{first['msg']}"
        raise RefusedError(where, found, _SHAPE, _AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise RefusedError(where, f"malformed manifest: {str(error)[:200]}", _SHAPE, _AGAIN) from error
    if (manifest.source, manifest.hour) != (source, hour):
        found = f"manifest speaks of {manifest.source} {format_hour(manifest.hour)}"
        raise RefusedError(where, found, f"{source} {format_hour(hour)}", _AGAIN)
    return manifest
