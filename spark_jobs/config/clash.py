"""A contradiction between two sections of conf/, and how names and calls are held against what is legal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from spark_jobs.config.registered import Signature
from spark_jobs.config.section import TransformCall
from spark_jobs.config.typed_values import class_of
from spark_jobs.config.yaml_file import Where
from spark_jobs.errors import nearest


@dataclass(frozen=True)
class Clash:
    """One contradiction: the file (`pipeline.yaml`, …, or the suite of a table), the key path, found, allowed."""

    file: str
    where: Where
    found: str
    allowed: str = ""
    also: tuple[str, Where] | None = None  # file and key path of the other side, which is named by its line


def unknown_names(file: str, where: Where, used: Iterable[str], legal: Iterable[str], kind: str) -> Iterator[Clash]:
    """A clash for each of `used` (a list that stands at `where`) that is not legal."""
    known = list(legal)
    for index, name in enumerate(used):
        if name not in known:
            yield Clash(file, (*where, index), f"no {kind} '{name}'", nearest(name, known))


def unknown_name(file: str, where: Where, name: str, legal: Iterable[str], kind: str) -> Iterator[Clash]:
    """A clash when `name`, which stands at `where`, is not legal."""
    known = list(legal)
    if name not in known:
        yield Clash(file, where, f"no {kind} '{name}'", nearest(name, known))


def wrong_call(
    file: str, where: Where, call: TransformCall, columns: Mapping[str, str], known: dict[str, Signature]
) -> Iterator[Clash]:
    """Clashes of a transform: its name, its columns (by name, with their types) and its options."""
    yield from unknown_names(file, (*where, "columns"), call.columns, columns, "column")
    yield from unknown_name(file, (*where, "use"), call.use, known, "transform")
    if call.use not in known:
        return
    signature = known[call.use]
    given, most = len(call.columns), signature.at_most
    if given < signature.at_least or (most is not None and given > most):
        allowed = f"{signature.at_least}" if most == signature.at_least else f"{signature.at_least} to {most or 'any'}"
        yield Clash(file, (*where, "columns"), f"{given} columns for '{call.use}'", f"columns: {allowed}")
    for index, (name, wanted) in enumerate(zip(call.columns, signature.takes, strict=False)):
        if name in columns and not _takes(wanted, columns[name]):
            yield Clash(
                file, (*where, "columns", index), f"'{name}' is {columns[name]}", f"'{call.use}' takes a {wanted}"
            )
    for option, found, allowed in signature.faults(call.options):
        yield Clash(
            file, (*where, "options", option) if option else (*where, "options"), f"{found} of '{call.use}'", allowed
        )


def _takes(wanted: str, kind: str) -> bool:
    return class_of(kind) == "number" if wanted == "number" else kind == wanted


def result_type(call: TransformCall, columns: Mapping[str, str], known: dict[str, Signature]) -> str:
    """The type of what a transform gives, as far as its signature says; empty when it is not known."""
    gives = known[call.use].gives if call.use in known else ""
    return columns.get(call.columns[0], "") if gives == "same" and call.columns else "" if gives == "same" else gives
