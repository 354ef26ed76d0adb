"""A pipeline as one frozen value: all sections of conf/pipelines/<name> and its expectation suites."""

from __future__ import annotations

from datetime import datetime

from spark_jobs.config.features import FeaturesFile, WindowGroup
from spark_jobs.config.model import ModelFile
from spark_jobs.config.pipeline import PipelineFile, Schedules
from spark_jobs.config.replay import ReplayConf
from spark_jobs.config.section import Section
from spark_jobs.config.sources import SourcesConf
from spark_jobs.config.suites import Suite
from spark_jobs.config.tables import SilverTable, TablesFile


class Pipeline(Section):
    """Everything that defines a pipeline.

    `config_hash`: digest of the definitions that the tables of an hour use; two runs with equal ones make equal rows of
    equal drops. Schedules, alerts, retention, replay, models and prose are not part of it.
    """

    settings: PipelineFile
    sources: SourcesConf
    tables: TablesFile
    features: FeaturesFile
    models: ModelFile | None = None
    replay: ReplayConf | None = None
    suites: dict[str, Suite]  # by table: a silver table's name, or features/<group>
    config_hash: str

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return self.settings.name

    @property
    def owner(self) -> str:
        """Team that answers for it."""
        return self.settings.owner

    @property
    def start(self) -> datetime:
        """First hour."""
        return self.settings.start

    @property
    def end(self) -> datetime | None:
        """Hour before which the pipeline ends, if it does."""
        return self.settings.end

    @property
    def schedules(self) -> Schedules:
        """When the DAGs run."""
        return self.settings.schedules

    @property
    def silver(self) -> dict[str, SilverTable]:
        """Silver tables by name."""
        return self.tables.tables

    def sensitive(self, table: str) -> frozenset[str]:
        """The columns of silver/<name>, features/<group> or predictions/<model> whose values nobody is shown."""
        kind, _, name = table.partition("/")
        if kind == "predictions":
            return self.sensitive(f"silver/{self.features.spine.table}")
        if kind == "silver":
            columns, lookups = self.silver[name].columns, self.silver[name].lookups
            looked_up = {to for to, look in lookups.items() if look.column in self.sensitive(f"silver/{look.table}")}
            return frozenset({*looked_up, *(column for column, conf in columns.items() if conf.sensitive)})
        group = self.features.groups[name]
        taken = [] if isinstance(group, WindowGroup) else group.columns
        hidden, spine = self.sensitive(f"silver/{group.table}"), self.features.spine
        of_spine = self.sensitive(f"silver/{spine.table}")
        named = any({*spine.entities[entity]} & {*hidden, *of_spine} for entity in group.entities)
        return frozenset({*(["key"] if named else []), *(hidden & {*taken})})

    @property
    def feature_tables(self) -> list[str]:
        """Tables of features, as features/<group>."""
        return [f"features/{name}" for name in self.features.groups]
