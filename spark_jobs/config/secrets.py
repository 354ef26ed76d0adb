"""Secrets that were pasted into conf/ by mistake: a fault names their place and never shows them."""

from __future__ import annotations

import re

_WORDS = "token|secret|passw|passphrase|api_?key|private_?key|credential|authorization|webhook|url_env"
_FIELD = re.compile(rf"(?i)(?:{_WORDS})")
_VALUE = re.compile(rf"(?i)((?:{_WORDS})[\w-]*[\"']?\s*:\s*)\S.*")
_USER = re.compile(r"://.*@")
_HOOK = re.compile(r"(?i)(https?://[^\s\"']*?hook[^/\s\"']*/)[^\s\"',}]+")  # whoever has it may post
_QUERY = re.compile(rf"(?i)([?&][^=&\s]*(?:{_WORDS}|key|sig)[^=&\s]*=)[^&\s\"']+")


def names_secret(key: object) -> bool:
    """Whether a field of this name may hold a secret, if only by mistake."""
    return bool(_FIELD.search(str(key)))


def masked(text: str) -> str:
    """A line of YAML, or a value, with *** for what may be secret: values of such fields, users and tokens in urls, webhooks."""
    return _HOOK.sub(r"\1***", _QUERY.sub(r"\1***", _USER.sub("://***@", _VALUE.sub(r"\1***", text))))
