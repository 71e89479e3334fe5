"""A small typed client for the part of MLflow's public REST API that the model registry needs.

MLflow's own client costs each process 6 s of processor time and 215 MB to import. This one costs
0.2 s and 15 MB. Training still uses MLflow's client (pipelines/release/tracking.py). It logs
models, and has both already.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.registry.mlflow_answers import (
    ArtifactEntry,
    ArtifactListing,
    ExperimentAnswer,
    LoggedExperiment,
    LoggedRun,
    ModelAnswer,
    ModelPage,
    ModelVersion,
    RegisteredModel,
    RunAnswer,
    RunPage,
    VersionAnswer,
    VersionPage,
)
from dojo.core.registry.mlflow_http import MlflowHttp

REGISTRY_API = "/api/2.0/mlflow"
ARTIFACTS_API = "/api/2.0/mlflow-artifacts/artifacts"

# Artifacts that the server hands out itself, with any store behind it.
PROXIED_SCHEME = "mlflow-artifacts"

# Rows per page of a search. MLflow's own default for model versions is far too large for a page.
PAGE_SIZE = 200

_T = TypeVar("_T")


class MlflowApi:
    """MLflow's REST API. Threads may share one.

    Each method raises UnknownVersionError when MLflow says that the requested item does not exist.
    It raises RegistryUnavailableError when MLflow does not answer or refuses for another reason.

    Args:
        url: The tracking server, with user and password where it wants them.
        timeout_seconds: Limit for connecting, and for each answer.
        retries: Repetitions after a failed attempt.
    """

    def __init__(self, url: str, timeout_seconds: float, retries: int) -> None:
        self._http = MlflowHttp(url, timeout_seconds, retries)

    def get_model_version_by_alias(self, model: str, alias: str) -> ModelVersion:
        query = {"name": model, "alias": alias}
        return self._ask(
            "GET", "registered-models/alias", f"{model}@{alias}", VersionAnswer, query
        ).model_version

    def get_model_version(self, model: str, version: str) -> ModelVersion:
        query = {"name": model, "version": version}
        return self._ask(
            "GET", "model-versions/get", f"{model}@{version}", VersionAnswer, query
        ).model_version

    def get_registered_model(self, model: str) -> RegisteredModel:
        return self._ask(
            "GET", "registered-models/get", model, ModelAnswer, {"name": model}
        ).registered_model

    def get_run(self, run_id: str) -> LoggedRun:
        """A run, deleted or not."""
        return self._ask("GET", "runs/get", f"run {run_id}", RunAnswer, {"run_id": run_id}).run

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> LoggedRun:
        body = {
            "experiment_id": self.get_experiment(experiment).experiment_id,
            "run_name": name,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        answer = self._tell("POST", "runs/create", f"run {name}", body, repeat=False)
        return _decoded(answer, RunAnswer, name).run

    def finish_run(self, run_id: str) -> None:
        body = {"run_id": run_id, "status": "FINISHED"}
        self._tell("POST", "runs/update", f"run {run_id}", body)

    def restore_run(self, run_id: str) -> None:
        self._tell("POST", "runs/restore", f"run {run_id}", {"run_id": run_id})

    def get_experiment(self, name: str) -> LoggedExperiment:
        """An experiment, deleted or not."""
        query = {"experiment_name": name}
        return self._ask(
            "GET", "experiments/get-by-name", f"experiment {name}", ExperimentAnswer, query
        ).experiment

    def restore_experiment(self, experiment_id: str) -> None:
        """The experiment and the runs that were deleted with it."""
        self._tell(
            "POST",
            "experiments/restore",
            f"experiment {experiment_id}",
            {"experiment_id": experiment_id},
        )

    def newest_run(self, experiment: str, tag: str) -> str | None:
        """The id of an experiment's newest run that has a tag, None where no run has it."""
        body = {
            "experiment_ids": [self.get_experiment(experiment).experiment_id],
            "filter": f"tags.`{tag}` != ''",
            "order_by": ["attributes.start_time DESC"],
            "max_results": 1,
        }
        about = f"newest run of {experiment} with {tag}"
        runs = _decoded(self._tell("POST", "runs/search", about, body), RunPage, about).runs
        return runs[0].info.run_id if runs else None

    def search_registered_models(self) -> Iterator[RegisteredModel]:
        token = ""
        while True:
            query = {"max_results": str(PAGE_SIZE), "page_token": token}
            page = self._ask("GET", "registered-models/search", "all models", ModelPage, query)
            yield from page.registered_models
            token = page.next_page_token
            if not token:
                return

    def search_model_versions(self, model: str) -> Iterator[ModelVersion]:
        """Newest first, without aliases."""
        token = ""
        while True:
            query = {
                "filter": f"name='{model}'",
                "max_results": str(PAGE_SIZE),
                "page_token": token,
            }
            page = self._ask("GET", "model-versions/search", model, VersionPage, query)
            yield from page.model_versions
            token = page.next_page_token
            if not token:
                return

    def create_registered_model(self, model: str) -> None:
        self._tell("POST", "registered-models/create", model, {"name": model}, repeat=False)

    def create_model_version(
        self, model: str, source: str, run_id: str, tags: Mapping[str, str]
    ) -> ModelVersion:
        body = {
            "name": model,
            "source": source,
            "run_id": run_id,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        answer = self._tell(
            "POST", "model-versions/create", f"{model}, run {run_id}", body, repeat=False
        )
        return _decoded(answer, VersionAnswer, model).model_version

    def set_registered_model_alias(self, model: str, alias: str, version: str) -> None:
        body = {"name": model, "alias": alias, "version": version}
        self._tell("POST", "registered-models/alias", f"{model}@{version}", body)

    def delete_registered_model_alias(self, model: str, alias: str) -> None:
        self._tell(
            "DELETE", "registered-models/alias", f"{model}@{alias}", {"name": model, "alias": alias}
        )

    def set_model_version_tag(self, model: str, version: str, key: str, value: str) -> None:
        body = {"name": model, "version": version, "key": key, "value": value}
        self._tell("POST", "model-versions/set-tag", f"{model}@{version}", body)

    def delete_model_version_tag(self, model: str, version: str, key: str) -> None:
        body = {"name": model, "version": version, "key": key}
        self._tell("DELETE", "model-versions/delete-tag", f"{model}@{version}", body)

    def list_artifacts(self, uri: str) -> tuple[str, ...]:
        """The names in a directory of artifacts, none for a directory that does not exist."""
        return tuple(file.path for file in self._list(_served_path(uri)))

    def get_artifacts(self, uri: str, target: Path) -> Path:
        """Copy a file or a directory of artifacts into `target` and return the copy's path.

        Raises:
            UnknownVersionError: MLflow has nothing there.
            RegistryUnavailableError: MLflow does not answer, or its server does not hand out the
                store itself.
        """
        root = _served_path(uri)
        copy = target / root.name
        listed = self._list(root)
        if not listed:
            self._copy(root, copy)
            return copy
        copy.mkdir(parents=True, exist_ok=True)
        directories = [(root, copy, listed)]
        while directories:
            source, into, files = directories.pop()
            for file in files:
                name = _plain_name(file.path, uri)
                if file.is_dir:
                    (into / name).mkdir(exist_ok=True)
                    directories.append((source / name, into / name, self._list(source / name)))
                else:
                    self._copy(source / name, into / name)
        return copy

    def put_artifact(self, uri: str, file: Path) -> None:
        """Copy a file into a directory of artifacts.

        Raises:
            RegistryUnavailableError: MLflow does not answer, or its server does not take artifacts.
        """
        target = _served_path(uri) / file.name
        self._http.request(
            "PUT", f"{ARTIFACTS_API}/{quote(str(target))}", str(target), file.read_bytes()
        )

    def _list(self, directory: PurePosixPath) -> tuple[ArtifactEntry, ...]:
        """The content of a directory. Empty for a file, and for a missing path."""
        answer = self._http.request(
            "GET", f"{ARTIFACTS_API}?path={quote(str(directory))}", str(directory)
        )
        return _decoded(answer.data, ArtifactListing, str(directory)).files

    def _copy(self, file: PurePosixPath, target: Path) -> None:
        from urllib3.exceptions import HTTPError

        answer = self._http.request(
            "GET", f"{ARTIFACTS_API}/{quote(str(file))}", str(file), whole=False
        )
        try:
            with target.open("wb") as copy:
                shutil.copyfileobj(answer, copy)
        except HTTPError as error:
            raise RegistryUnavailableError(
                f"{file}: MLflow stopped in the middle: {error}"
            ) from error
        finally:
            answer.release_conn()

    def _ask(
        self, method: str, call: str, about: str, type: type[_T], query: Mapping[str, str]
    ) -> _T:
        parts = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items() if value)
        return _decoded(
            self._http.request(method, f"{REGISTRY_API}/{call}?{parts}", about).data, type, about
        )

    def _tell(
        self, method: str, call: str, about: str, body: Mapping[str, object], repeat: bool = True
    ) -> bytes:
        return self._http.request(
            method, f"{REGISTRY_API}/{call}", about, msgspec.json.encode(body), repeat=repeat
        ).data


def _decoded(content: bytes, type: type[_T], about: str) -> _T:
    try:
        return msgspec.json.decode(content, type=type)
    except msgspec.MsgspecError as error:
        raise RegistryUnavailableError(
            f"{about}: MLflow gave an answer that is not understood: {error}"
        ) from error


def _served_path(uri: str) -> PurePosixPath:
    """Where the server keeps an artifact.

    Raises RegistryUnavailableError for another store's address.
    """
    address = urlsplit(uri)
    if address.scheme != PROXIED_SCHEME:
        raise RegistryUnavailableError(
            f"{uri}: expected {PROXIED_SCHEME}:/...; start MLflow's server with"
            " --artifacts-destination, so that it serves artifacts"
        )
    return PurePosixPath(address.path.strip("/"))


def _plain_name(path: str, uri: str) -> str:
    """The name of a listed file.

    A name that leads out of its directory is refused, because the caller writes a file under it.
    """
    name = PurePosixPath(path).name
    if name in ("", "..") or name != path:
        raise RegistryUnavailableError(
            f"{uri}: MLflow lists a file with the name {path!r}; expected a plain file name"
        )
    return name
