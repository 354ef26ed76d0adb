"""A packaged history as the text lines of hourly drops; vectorised, and without knowing any column by name.

What is written where, and which version a drop gets, is `replay.py`'s work.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pa_csv

from spark_jobs.config.replay import HourOf, InstantOf, ReplayConf, ReplaySource
from spark_jobs.errors import UsageError, nearest

HOUR_SECONDS = 3600
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class HourlyText:
    """Delivered lines of one source, sorted by hour, in the history's order within an hour.

    `hours`: int64[n], hours since 1970 (UTC), ascending. `ends`: int64[n + 1], byte offsets of the lines in `data`.
    """

    header: bytes
    data: memoryview
    ends: npt.NDArray[np.int64]
    hours: npt.NDArray[np.int64]

    def of_hour(self, hour: int) -> tuple[bytes, int]:
        """Lines of the drop of `hour` (hours since 1970), without the header, and their number."""
        first, last = (int(at) for at in np.searchsorted(self.hours, [hour, hour + 1]))
        return bytes(self.data[int(self.ends[first]) : int(self.ends[last])]), last - first

    def rows_in(self, start: datetime, end: datetime) -> int:
        """Number of rows of the hours [start, end)."""
        bounds = [int(at.timestamp()) // HOUR_SECONDS for at in (start, end)]
        first, last = (int(at) for at in np.searchsorted(self.hours, bounds))
        return last - first

    def lines_of_hour(self, hour: int) -> list[bytes]:
        """The same rows one by one, without the header, each with its line end."""
        first, last = (int(at) for at in np.searchsorted(self.hours, [hour, hour + 1]))
        return [bytes(self.data[int(self.ends[at]) : int(self.ends[at + 1])]) for at in range(first, last)]


def data_folder(conf: ReplayConf) -> Path:
    """The folder of the history's files, found without importing the package.

    Raises:
        UsageError: the package or the folder is not there.
    """
    for root in sys.path:  # not find_spec: a DAG file of the package's name may stand before it
        if (folder := Path(root) / conf.package / conf.folder).is_dir():
            return folder
    todo = "uv sync --all-extras"
    raise UsageError(
        "replay.yaml: package", f"no folder '{conf.folder}' of package '{conf.package}'", "an installed package", todo
    )


def source_columns(source: ReplaySource) -> list[str]:
    """The columns of the history that the source needs, each once."""
    hour = source.hour
    specs: list[str | InstantOf] = [*source.columns.values(), *([hour.of] if hour else [])]
    names = [spec if isinstance(spec, str) else spec.instant for spec in specs]
    names += [spec.plus_minutes for spec in specs if isinstance(spec, InstantOf) and spec.plus_minutes]
    return list(dict.fromkeys([*names, *([hour.plus_minutes] if hour and hour.plus_minutes else [])]))


def read_history(path: Path, columns: list[str], nulls: list[str]) -> pa.Table:
    """The named columns of the file as text, null where the text is one of `nulls`; one row a row of the file.

    Raises:
        UsageError: the file or a column is not there.
    """
    if not path.is_file():
        raise UsageError(
            "replay.yaml: file", f"no file {path}", nearest(path.name, [p.name for p in path.parent.glob("*.csv*")])
        )
    data = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read(path.stem)
    header = next(iter(data.split(b"\n", 1))).decode("utf-8-sig").strip("\r").replace('"', "").split(",")
    for name in columns:
        if name not in header:
            raise UsageError("replay.yaml: columns", f"{path.name} has no column '{name}'", nearest(name, header))
    convert = pa_csv.ConvertOptions(
        include_columns=columns,
        column_types=dict.fromkeys(columns, pa.string()),
        null_values=nulls,
        strings_can_be_null=True,
    )
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    return pa_csv.read_csv(io.BytesIO(data), parse_options=parse, convert_options=convert).combine_chunks()


def hourly_text(
    history: pa.Table,
    source: ReplaySource,
    scale: Mapping[str, float],
    first: datetime,
    *,
    higher: str | None = None,
    backwards: bool = False,
) -> HourlyText:
    """Every row of the history once, as the line of a drop; `scale` multiplies a delivered column of numbers.

    `first`: the hour of all rows of a source that does not say which. `higher`: a delivered column of numbers to which 1
    is added then. `backwards`: columns in reverse order.

    Raises:
        UsageError: a column that is scaled or made higher does not hold numbers, or they become too large.
    """
    hours = _hours(history, source.hour, first)
    order = np.argsort(hours, kind="stable")
    texts = {name: _delivered(history, spec) for name, spec in source.columns.items()}
    for name, factor in scale.items():
        texts[name] = _scaled(texts[name], name, factor)
    if higher:
        texts[higher] = _scaled(texts[higher], higher, 1.0, 1.0)
    if backwards:
        texts = dict(reversed(texts.items()))
    columns = [column.take(pa.array(order)) for column in texts.values()]
    if source.format == "csv":
        lines, header = _csv_lines(columns), (",".join(texts) + "\n").encode()
    else:
        lines, header = _json_lines(list(texts), columns), b""
    _, offsets, data = lines.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[lines.offset : lines.offset + len(lines) + 1]
    return HourlyText(header, memoryview(data or b""), ends, hours[order])


def _hours(history: pa.Table, hour: HourOf | None, first: datetime) -> npt.NDArray[np.int64]:
    """The hour of each row, hours since 1970, int64[n]."""
    if hour is None:
        return np.full(len(history), int(first.timestamp()) // HOUR_SECONDS, dtype=np.int64)
    seconds = _seconds(history, hour.of) + _minutes(history, hour.plus_minutes) * 60
    return np.asarray(np.floor_divide(seconds + int(hour.shift.total_seconds()), HOUR_SECONDS), dtype=np.int64)


def _seconds(history: pa.Table, spec: InstantOf) -> npt.NDArray[np.int64]:
    """Seconds since 1970 (UTC) of the instant, int64[n].

    Raises:
        UsageError: a value is missing or is not an instant with Z.
    """
    try:
        instants = pc.cast(history[spec.instant], pa.timestamp("s", tz="UTC"))
        seconds = pc.cast(instants, pa.int64()).to_numpy()
        if instants.null_count:
            raise pa.ArrowInvalid(f"{instants.null_count} rows have none")
    except pa.ArrowInvalid as error:
        raise UsageError(
            f"replay.yaml: {spec.instant}", str(error), "ISO text in UTC, such as 2013-01-01T10:00:00Z"
        ) from error
    return np.asarray(seconds + _minutes(history, spec.plus_minutes) * 60, dtype=np.int64)


def _minutes(history: pa.Table, name: str | None) -> npt.NDArray[np.int64]:
    """Whole minutes in the column, 0 where null or when no column is named, int64[n]."""
    if name is None:
        return np.zeros(len(history), dtype=np.int64)
    try:
        return np.asarray(pc.fill_null(pc.cast(history[name], pa.int64()), 0).to_numpy(), dtype=np.int64)
    except pa.ArrowInvalid as error:
        raise UsageError(f"replay.yaml: {name}", str(error), "a column of whole minutes") from error


def _delivered(history: pa.Table, spec: str | InstantOf) -> pa.Array:
    if isinstance(spec, str):
        column = history[spec].cast(pa.large_string())
    else:
        instants = pa.array(_seconds(history, spec), pa.timestamp("s", tz="UTC"))
        column = pc.strftime(instants, format="%Y-%m-%dT%H:%M:%SZ").cast(pa.large_string())
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _scaled(column: pa.Array, name: str, factor: float, more: float | None = None) -> pa.Array:
    """The numbers of `column` times `factor`, then plus `more`, as text; whole numbers without a point."""
    try:
        numbers = pc.multiply(pc.cast(column, pa.float64()), factor)
        numbers = numbers if more is None else pc.add(numbers, more)
        whole = pc.all(pc.equal(numbers, pc.round(numbers))).as_py() is not False
        return pc.cast(pc.cast(numbers, pa.int64()) if whole else numbers, pa.large_string())
    except pa.ArrowInvalid as error:
        raise UsageError(f"replay: column '{name}'", str(error), "a delivered column of numbers") from error


def _csv_lines(columns: list[pa.Array]) -> pa.Array:
    return _joined([pc.fill_null(_quoted(column), "") for column in columns], [""] + [","] * (len(columns) - 1), "\n")


def _quoted(column: pa.Array) -> pa.Array:
    """The column with CSV quotes where a value needs them."""
    needs = pc.match_substring_regex(column, r'[",\r\n]')
    if not pc.any(needs).as_py():
        return column
    escaped = pc.replace_substring(column, pattern='"', replacement='""')
    return pc.if_else(needs, _joined([escaped], ['"'], '"'), column)


def _json_lines(names: list[str], columns: list[pa.Array]) -> pa.Array:
    before = [("{" if at == 0 else ",") + json.dumps(name) + ":" for at, name in enumerate(names)]
    return _joined([pc.fill_null(_json(column), "null") for column in columns], before, "}\n")


def _json(column: pa.Array) -> pa.Array:
    """JSON of each value: numbers where every value of the column is one, strings otherwise; null stays null."""
    if pc.all(pc.match_substring_regex(column, _NUMBER)).as_py() is not False:
        return column
    if pc.any(pc.match_substring_regex(column, r'["\\\x00-\x1f]')).as_py():
        texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist()]
        return pa.array(texts, pa.large_string())
    return _joined([column], ['"'], '"')


def _joined(columns: list[pa.Array], before: list[str], end: str) -> pa.Array:
    """One large_string a row: each value after its own text of `before`, then `end`; null where a value is null."""
    parts: list[object] = []
    for text, column in zip(before, columns, strict=True):
        parts += [pa.scalar(text, pa.large_string()), column.cast(pa.large_string())]
    empty = pa.scalar("", pa.large_string())
    return pc.binary_join_element_wise(*parts, pa.scalar(end, pa.large_string()), empty)
