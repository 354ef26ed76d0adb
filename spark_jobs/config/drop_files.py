"""What a source of kind files says of its drops' files: where they lie, in which format, and when one is whole.

Paths are templates below the pipeline's landing folder; none of them leads out of it, whatever {day} and {hour} become.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from spark_jobs.config.section import Duration, Section


def _inside(value: str) -> str:
    """A relative path that names nothing outside its root, whatever {day} and {hour} become."""
    parts = value.split("/")
    if not value or value.startswith(("/", "~")) or "\\" in value or ":" in value or "\0" in value:
        raise ValueError(f"'{value}' is not a relative path; write one below the landing folder, with /")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"'{value}' may not hold '..', '.' or an empty part")
    return value


def _template(value: str) -> str:
    _inside(value)
    if value.count("{day}") != 1 or value.count("{hour}") != 1:
        raise ValueError(
            f"'{value}' must hold {{day}} and {{hour}} once each, such as orders/{{day}}/{{hour}}.manifest.json"
        )
    if set(re.findall(r"[{}*?\[\]]", value.replace("{day}", "").replace("{hour}", ""))):
        raise ValueError(f"'{value}' may hold no other braces and no wildcards")
    if "{hour}" not in PurePosixPath(value).name:
        raise ValueError(f"'{value}' must hold {{hour}} in its last part, where a manifest's version is marked (12.2)")
    return value


RelativePath = Annotated[str, AfterValidator(_inside)]
HourPath = Annotated[str, AfterValidator(_template)]
DropFormat = Literal["csv", "jsonl", "parquet"]


def manifest_names(manifests: str, day: str) -> re.Pattern[str]:
    """Names of the manifests of `day` in their folder: HH is the first group, the version the second (none: 1)."""
    before, _, after = PurePosixPath(manifests.replace("{day}", day)).name.partition("{hour}")
    return re.compile(re.escape(before) + r"(\d\d)(?:\.([1-9]\d{0,5}))?" + re.escape(after))


class CompleteConf(Section):
    """When an hour's file is whole. Only `manifest` needs an upstream that writes manifests; else tidegate writes them."""

    by: Literal["manifest", "marker", "stable"] = Field(
        default="manifest",
        description="manifest (the upstream writes one last), marker (an empty file beside it, written last and not older"
        " than the data) or stable (nobody wrote to the file for a while, counted from the end of the hour at the"
        " earliest; not on hdfs); for marker and stable the task drops_ready and `tidegate fetch` write the manifest, a file of"
        " no rows is refused until a manifest by hand says 0, and other bytes under the same name are the next version;"
        " example: marker",
    )
    data: HourPath | None = Field(
        default=None,
        description="of marker and stable: path of the data file, in the folder of `manifests`; never a link;"
        " example: orders/{day}/{hour}.csv.gz",
    )
    marker: HourPath | None = Field(
        default=None,
        description="of marker: path of the marker, whose content is not read; example: orders/{day}/{hour}.done",
    )
    quiet: Duration | None = Field(
        default=None,
        alias="for",
        description="of stable: how long size and time of change must stay as they are, less than `grace`; unit: m, h or d;"
        " example: 10m",
    )

    @model_validator(mode="after")
    def _fields_belong_to_their_way(self) -> CompleteConf:
        needed = {"manifest": (), "marker": ("data", "marker"), "stable": ("data", "for")}[self.by]
        for name, value in (("data", self.data), ("marker", self.marker), ("for", self.quiet)):
            if value is None and name in needed:
                raise ValueError(f"by: {self.by} needs {name}: as well")
            if value is not None and name not in needed:
                raise ValueError(f"{name}: does not belong to by: {self.by}")
        if self.quiet is not None and self.quiet <= timedelta(0):
            raise ValueError("for: no time at all; write 1m or more")
        if self.data is not None and self.data == self.marker:
            raise ValueError(f"marker: '{self.marker}' is the data file itself")
        return self

    def check_beside(self, manifests: str, grace: timedelta) -> None:
        """Nothing, when the files can lie beside their manifests and be whole in time.

        Raises:
            ValueError: another folder, a name that would be taken for a manifest's, or a longer time than `grace`.
        """
        if self.data is not None and PurePosixPath(self.data).parent != PurePosixPath(manifests).parent:
            raise ValueError(f"complete.data: '{self.data}' must lie in the folder of manifests: '{manifests}'")
        for path in (self.data, self.marker):
            shown = (path or "").replace("{day}", "2000-01-01").replace("{hour}", "00")
            folder = PurePosixPath(manifests.replace("{day}", "2000-01-01")).parent
            name = PurePosixPath(shown)
            if path and name.parent == folder and manifest_names(manifests, "2000-01-01").fullmatch(name.name):
                raise ValueError(f"complete: '{path}' has the name of a manifest: '{manifests}'")
        if self.quiet is not None and self.quiet >= grace:
            raise ValueError("complete.for: is not less than grace; every hour would be late")
