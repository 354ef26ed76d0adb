"""conf/ and expectations/ as one frozen Pipeline; public: load_pipeline, list_pipelines, load_environment."""

from spark_jobs.config.load import ConfigError, list_pipelines, load_environment, load_pipeline, project_folder

__all__ = ["ConfigError", "list_pipelines", "load_environment", "load_pipeline", "project_folder"]
