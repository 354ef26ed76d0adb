"""Secrets come from variables of the environment; of one that was pasted into conf/ by mistake a fault names the place alone."""

from __future__ import annotations

import os
import re

from spark_jobs.errors import UsageError

_WORDS = "token|secret|passw|passphrase|api_?key|private_?key|credential|authorization|webhook|url_env|root_env"
# Options of a file system: many are secrets, and few names say so. `key:` alone, for S3's, not for the key of a table.
_OPTION = r"(?<![\w.-])(?:fs|dfs|hadoop)\.[\w.-]*|\boptions(?:_env)?\b"
_KEY = re.compile(r"(?m)^(\s*[\"']?key[\"']?\s*:\s*)[^\[\s#].*")
_FIELD = re.compile(rf"(?i)(?:{_WORDS})|{_OPTION}")
_VALUE = re.compile(rf"(?i)((?:(?:{_WORDS})[\w-]*|{_OPTION})[\"']?\s*:\s*)\S.*")
_USER = re.compile(r"://.*@")
_HOOK = re.compile(r"(?i)(https?://[^\s\"']*?hook[^/\s\"']*/)[^\s\"',}]+")  # whoever has it may post
_QUERY = re.compile(rf"(?i)([?&][^=&\s]*(?:{_WORDS}|key|sig)[^=&\s]*=)[^&\s\"']+")


def names_secret(key: object) -> bool:
    """Whether a field of this name may hold a secret, if only by mistake."""
    return bool(_FIELD.search(str(key)))


def secret_of(where: str, variable: str) -> str:
    """The value of a variable with a secret; `where` it is asked for.

    Raises:
        UsageError: it is not set.
    """
    value = os.environ.get(variable)
    if not value:
        raise UsageError(where, f"the variable {variable} is not set", "a value", f"export {variable}=…")
    return value


def masked(text: str) -> str:
    """A line of YAML, or a value, with *** for what may be secret: values of such fields, users and tokens in urls, webhooks."""
    text = _USER.sub("://***@", _KEY.sub(r"\1***", _VALUE.sub(r"\1***", text)))
    return _HOOK.sub(r"\1***", _QUERY.sub(r"\1***", text))
