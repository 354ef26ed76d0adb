"""Regular expressions that neither Java nor Python compiles, found without a JVM.

Spark hands patterns to Java, whose dialect is not Python's: where the two may differ a pattern passes here, and the gate
asks Java before it reads a row.
"""

from __future__ import annotations

import re

_OF_JAVA = ("\\Q", "&&", "[[", "(?<", "\\p", "\\P", "\\N", "\\x{", "(?>", "^*", "^+", "$*", "$+")  # Python may misread
_SURE = (
    "missing )",
    "unbalanced parenthesis",
    "unterminated character set",
    "bad escape (end of pattern)",
    "nothing to repeat",
    "min repeat greater than max repeat",
    "bad character range",
)
_ONLY_PYTHON = re.compile(r"\(\?P[<=>]|\(\?\(")


def pattern_fault(text: str) -> str:
    """Why Java cannot compile `text`; empty when it can, or when only Java can tell."""
    if _ONLY_PYTHON.search(text):
        return f"regular expression {text[:60]}: (?P<name>…) and (?(1)…) are of Python alone; write (?<name>…)"
    if any(mark in text for mark in _OF_JAVA):
        return ""
    try:
        re.compile(text)
    except re.error as error:
        if error.msg.startswith(_SURE):
            return f"regular expression {text[:60]} is broken: {error.msg} at position {error.pos}"
    except (OverflowError, RecursionError):
        return ""
    return ""
