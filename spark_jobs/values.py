"""Values as text and as JSON: exact, unambiguous, and valid JSON whatever the type; and the one function for all text that is shown.

Text of an upstream, of a file or of a library reaches terminals, logs, alerts and pages through `printable` or `Lines`.

Instants are ISO 8601 in UTC with every digit of the fraction that is not zero; years outside 0000-9999 carry a sign.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache

DAY_MICROS = 86_400_000_000
INFINITE = {2**63 - 1: "Infinity", -(2**63 - 1): "-Infinity"}  # DuckDB's instants without end, in microseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS_TO_1970 = 719_468  # from 1 March of year 0, proleptic Gregorian calendar


class Lines(str):
    """Text of several lines, of which each has gone through `printable`: only our own code ends a line."""

    @classmethod
    def of(cls, lines: Iterable[str]) -> Lines:
        """The lines as one text; a `Lines` among them stays the lines that it is."""
        return cls("\n".join(one if isinstance(one, Lines) else printable(one) for one in lines))


def printable(text: str, longest: int | None = None) -> str:
    """`text` on one line, cut where it is longer than `longest` characters; `Lines` stay several lines.

    Characters that are not printable, such as escape codes, line ends and marks that change the direction of writing, are spelled
    out as Python writes them (\\x1b, \\n, \\u202e), so that nothing that an upstream delivers acts on a terminal or forges a line.
    """
    if isinstance(text, Lines) and longest is None:
        return text
    shown = text[:longest]
    if not shown.isprintable():
        shown = "".join(one if one.isprintable() else repr(one)[1:-1] for one in shown)
    return shown if longest is None or len(text) <= longest else f"{shown} …"


def to_json(data: object, *, ascii_only: bool = False, compact: bool = False) -> str:
    """`data` as one line of valid JSON; types that JSON lacks as `plain` writes them, characters that do not print as \\u escapes."""
    line = json.dumps(plain(data), ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":") if compact else None)
    return line if line.isprintable() else "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in line)


def plain(value: object) -> object:
    """`value` made of None, bool, int, finite float, str, list and dict with text keys; nothing is rounded.

    NaN and infinities become "NaN", "Infinity" and "-Infinity", decimals their digits, bytes base64, instants ISO 8601. A
    mapping with keys that are not text becomes a list of [key, value].
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else float_text(value)
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: plain(item) for key, item in value.items()}
        return [[plain(key), plain(item)] for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value)]
    return text(value)


def text(value: object) -> str:
    """`value` as text that names exactly one value of its type; null is written null."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}" if value.is_finite() else float_text(float(value))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return to_json(value)
    return str(value)


def float_text(value: float) -> str:
    """The shortest digits that read back as the same float."""
    if math.isfinite(value):
        return repr(value).removesuffix(".0")
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def instant_text(at: datetime) -> str:
    """An instant as ISO 8601, in UTC with a Z; without a Z where it has no zone."""
    if at.tzinfo is None:
        return _of_datetime(at)
    try:
        return f"{_of_datetime(at.astimezone(UTC).replace(tzinfo=None))}Z"
    except OverflowError:  # in UTC it lies outside datetime's years
        micros = (at.replace(tzinfo=UTC) - _EPOCH - (at.utcoffset() or timedelta(0))) // timedelta(microseconds=1)
        return micros_text(micros, zoned=True)


def _of_datetime(at: datetime) -> str:
    spec = "seconds" if not at.microsecond else "microseconds" if at.microsecond % 1000 else "milliseconds"
    return at.isoformat(timespec=spec)


@lru_cache(4096)  # the hours and times of a lake's rows repeat
def micros_text(micros: int, *, zoned: bool) -> str:
    """Microseconds since 1970 as ISO 8601, of any year."""
    if micros in INFINITE:
        return INFINITE[micros]
    days, left = divmod(micros, DAY_MICROS)
    clock = (_EPOCH + timedelta(microseconds=left)).replace(tzinfo=None)
    return f"{day_text(days)}T{_of_datetime(clock).partition('T')[2]}{'Z' if zoned else ''}"


def day_text(days: int) -> str:
    """Days since 1970 as an ISO 8601 date of any year: 0999-01-01, +10000-01-01, -0043-01-01."""
    era, of_era = divmod(days + _DAYS_TO_1970, 146_097)  # days of 400 years
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * of_year + 2) // 153
    day = of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    year = 400 * era + year_of_era + (month <= 2)
    sign = "+" if year > 9999 else "-" if year < 0 else ""
    return f"{sign}{abs(year):04d}-{month:02d}-{day:02d}"
