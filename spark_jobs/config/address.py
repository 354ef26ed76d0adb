"""Where an upstream is: the url in conf/, or what a variable says instead, so that one conf/ serves several environments.

Both are held to the same rules; without TLS only this machine is spoken to, and hosts that conf/ names as one's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from spark_jobs.errors import UsageError

LOOPBACK = ("127.0.0.1", "localhost")

PlainHost = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]
PLAIN_HOSTS = (
    "hosts, besides 127.0.0.1 and localhost, that are spoken to without TLS: whoever is on the way reads and can change"
    " what they say, so only inside one's own network; example: [upstream]"
)
URL_ENV = (
    "name of an environment variable that says another url, under the same rules, where it is set; example: SHOP_URL"
)


def address(url: str, variable: str | None, check: Callable[[str], None]) -> str:
    """The url that holds here; `check` raises ValueError for one that is not legal.

    Raises:
        UsageError: the variable holds no legal url; the text shows nothing of it.
    """
    given = os.environ.get(variable) if variable else None
    if not given:
        return url
    try:
        check(given)
    except ValueError as error:
        raise UsageError(
            f"variable {variable}",
            f"its url {error}",
            f"one such as {url}",
            f"export {variable}=…, or unset {variable}",
        ) from None
    return given
