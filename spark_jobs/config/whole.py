"""A pipeline as one frozen value: all sections of conf/pipelines/<name> and its expectation suites."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from spark_jobs.config.features import FeaturesFile, WindowGroup
from spark_jobs.config.model import Model, ModelFile
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
    suites: dict[str, Suite]  # by table: a silver table's name, features/<group> or training_sets/<model>
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

    @property
    def has_sensitive(self) -> bool:
        """Whether a silver table has a column whose values nobody is shown."""
        return any(self.sensitive(f"silver/{name}") for name in self.silver)

    def sensitive(self, table: str) -> frozenset[str]:
        """The columns of a silver, features, predictions or training set table of the lake whose values nobody is shown."""
        kind, _, name = table.partition("/")
        if kind == "predictions":
            return self.sensitive(f"silver/{self.features.spine.table}")
        if kind == "silver":
            columns, lookups = self.silver[name].columns, self.silver[name].lookups
            looked_up = {to for to, look in lookups.items() if look.column in self.sensitive(f"silver/{look.table}")}
            return frozenset({*looked_up, *(column for column, conf in columns.items() if conf.sensitive)})
        if kind == "training_sets":
            return self._sensitive_of_set(name)
        group = self.features.groups[name]
        taken = [] if isinstance(group, WindowGroup) else group.columns
        hidden, spine = self.sensitive(f"silver/{group.table}"), self.features.spine
        of_spine = self.sensitive(f"silver/{spine.table}")
        named = any({*spine.entities[entity]} & {*hidden, *of_spine} for entity in group.entities)
        return frozenset({*(["key"] if named else []), *(hidden & {*taken})})

    def _sensitive_of_set(self, model: str) -> frozenset[str]:
        """The spine's columns, joined features and the label of a training set whose values nobody is shown."""
        label = self.models.models[model].label if self.models else None
        hidden = {*self.sensitive(f"silver/{self.features.spine.table}")}
        for group in self.features.joined:
            hidden |= self.sensitive(f"features/{group}") - {"key"}
        if label and {*label.columns} & self.sensitive(f"silver/{label.table}"):
            hidden.add("label")
        return frozenset(hidden)

    @property
    def model_settings(self) -> Mapping[str, Model]:
        """What model.yaml says of each model, by name; empty without that file."""
        return self.models.models if self.models else {}

    @property
    def training_sets(self) -> list[str]:
        """Tables that models learn from, as training_sets/<model>."""
        return [f"training_sets/{name}" for name in self.model_settings]

    @property
    def feature_tables(self) -> list[str]:
        """Tables of features, as features/<group>."""
        return [f"features/{name}" for name in self.features.groups]


def lake_table(suite_table: str) -> str:
    """The lake table that a suite judges: its `table`, where silver tables have their plain name."""
    return suite_table if "/" in suite_table else f"silver/{suite_table}"
