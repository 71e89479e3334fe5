"""The answers of MLflow's REST API, as far as the model registry reads them."""

from __future__ import annotations

import msgspec


class Pair(msgspec.Struct, frozen=True):
    """One tag."""

    key: str
    value: str = ""


class ModelVersion(msgspec.Struct, frozen=True):
    """A version as MLflow describes it. Search results carry no aliases."""

    name: str
    version: str
    source: str = ""
    run_id: str = ""
    tags: tuple[Pair, ...] = ()
    aliases: tuple[str, ...] = ()


class Alias(msgspec.Struct, frozen=True):
    """A role and the number of the version that holds it."""

    alias: str
    version: str


class RegisteredModel(msgspec.Struct, frozen=True):
    """A model and its aliases."""

    name: str
    aliases: tuple[Alias, ...] = ()


class VersionAnswer(msgspec.Struct):
    """One version."""

    model_version: ModelVersion


class ModelAnswer(msgspec.Struct):
    """One registered model."""

    registered_model: RegisteredModel


class VersionPage(msgspec.Struct):
    """A page of versions."""

    model_versions: tuple[ModelVersion, ...] = ()
    next_page_token: str = ""


class ModelPage(msgspec.Struct):
    """A page of registered models."""

    registered_models: tuple[RegisteredModel, ...] = ()
    next_page_token: str = ""


# MLflow's mark of a run or an experiment that can be restored. `mlflow gc` deletes it for good.
DELETED = "deleted"


class RunInfo(msgspec.Struct, frozen=True):
    """What a run says of itself."""

    artifact_uri: str
    run_id: str = ""
    lifecycle_stage: str = ""


class RunData(msgspec.Struct, frozen=True):
    """What was logged to a run."""

    tags: tuple[Pair, ...] = ()


class LoggedRun(msgspec.Struct, frozen=True):
    """A run as MLflow describes it."""

    info: RunInfo
    data: RunData = RunData()


class LoggedExperiment(msgspec.Struct, frozen=True):
    """Where a model's runs are."""

    experiment_id: str
    lifecycle_stage: str = ""


class RunAnswer(msgspec.Struct):
    """One run."""

    run: LoggedRun


class RunPage(msgspec.Struct):
    """A page of runs."""

    runs: tuple[LoggedRun, ...] = ()


class ExperimentAnswer(msgspec.Struct):
    """One experiment."""

    experiment: LoggedExperiment


class ArtifactEntry(msgspec.Struct):
    """A file or directory among the artifacts."""

    path: str
    is_dir: bool = False


class ArtifactListing(msgspec.Struct):
    """The entries of a directory of artifacts."""

    files: tuple[ArtifactEntry, ...] = ()
