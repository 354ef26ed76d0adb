"""Values in conf/ that are compared with a column, as values of that column's type; and which types can be compared.

Used by `validate` on declared types and by the gate on those of a frame, so that both judge a rule alike.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

TypeClass = Literal["number", "text", "instant", "day", "truth", "other"]
_CLASSES: dict[str, TypeClass] = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint", "float", "double"), "number"),
    "string": "text",
    "timestamp": "instant",
    "date": "day",
    "boolean": "truth",
}
EXPECTED: dict[TypeClass, str] = {
    "number": "a number such as 15 or 0.5",
    "text": 'text; write numbers and true or false in quotes, such as "15"',
    "instant": "an instant such as 2013-11-01T12:00:00Z, or a day such as 2013-11-01",
    "day": "a day such as 2013-11-01",
    "truth": "true or false",
    "other": "a value",
}
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_BITS = {"int": 32, "bigint": 64}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def class_of(kind: str) -> TypeClass:
    """The class of a column type: values of one class can be compared with each other."""
    return "number" if kind.startswith("decimal") else _CLASSES.get(kind, "other")


def comparable(one: str, other: str) -> bool:
    """Whether columns of two types can be compared: a day is the instant of its midnight."""
    classes = {class_of(one), class_of(other)}
    return len(classes) == 1 or classes == {"instant", "day"}


def same_text(one: str, other: str) -> bool:
    """Whether equal values of two types have the same text and compare as equal: keys of joins and of entities."""
    whole = ("tinyint", "smallint", "int", "bigint")
    return one == other or (one in whole and other in whole)


def typed_value(value: object, kind: str) -> Any:
    """`value` as Python has values of a column of type `kind`; instants have a time zone.

    Raises:
        ValueError: it is not such a value; the text says what is expected.
    """
    wanted = class_of(kind)
    expected = EXPECTED[wanted]
    if wanted == "other":
        return value
    if wanted == "number":
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    elif wanted == "truth":
        fits = isinstance(value, bool)
    elif wanted == "text":
        fits = isinstance(value, str)
    else:
        return _moment(value, day=wanted == "day", expected=expected)
    if not fits:
        raise ValueError(f"{shown(value)} is not {expected}")
    return value


def exact_value(value: object, kind: str) -> Any:
    """As `typed_value`, of a type of tables.yaml that holds `value` exactly.

    Raises:
        ValueError: it does not; the text says what is expected.
    """
    typed = typed_value(value, kind)
    if isinstance(typed, int) and abs(typed) >= 2**63:
        raise ValueError(f"{shown(value)} is not a number of 64 bits")
    if kind in _BITS and not (isinstance(typed, int) and -(2 ** (_BITS[kind] - 1)) <= typed < 2 ** (_BITS[kind] - 1)):
        raise ValueError(f"{shown(value)} is not a whole number of {_BITS[kind]} bits")
    if kind == "double" and not (math.isfinite(typed) and float(typed) == typed):
        raise ValueError(f"{shown(value)} is not a number that a double holds exactly")
    return typed


def _moment(value: object, *, day: bool, expected: str) -> datetime | date:
    found = value
    if isinstance(value, str) and (_DAY if day else _INSTANT).fullmatch(value):
        try:
            found = date.fromisoformat(value) if day else datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"{shown(value)}: {error}") from error
    if day and isinstance(found, date) and not isinstance(found, datetime):
        return found
    if not day and isinstance(found, date):
        whole = found if isinstance(found, datetime) else datetime.combine(found, time(tzinfo=UTC))
        return whole.replace(tzinfo=UTC) if whole.tzinfo is None else whole.astimezone(UTC)
    raise ValueError(f"{shown(value)} is not {expected}")


def micros(value: object) -> int:
    """Microseconds from 1970 to an instant, or to the midnight of a day, UTC; texts in their documented forms.

    Raises:
        ValueError: it is neither.
    """
    moment = typed_value(value, "timestamp")
    whole: int = (moment - _EPOCH) // timedelta(microseconds=1)
    return whole


def shown(value: object) -> str:
    """A value of YAML as a fault shows it: texts in quotes."""
    return f"'{value}'" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
