"""The registry's REST client on a real MLflow, compared with MLflow's own client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from dojo.core.registry.mlflow_api import MlflowApi
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import ModelRegistry, Version
from pipelines.release.tracking import tracking_client
from tests.support.registries import sealed_registry
from tests.support.servers import MlflowServer

pytestmark = pytest.mark.integration

PLAIN = "api_model"
FILES = {
    "bundle.json": b"{}",
    "a b+c%.txt": b"odd name",
    "deep/er/model.onnx": bytes(range(256)) * 4096,
    "empty": b"",
}


@pytest.fixture(scope="module")
def registry(mlflow_server: MlflowServer) -> ModelRegistry:
    return sealed_registry(mlflow_server.url, timeout_seconds=10, retries=0)


@pytest.fixture(scope="module")
def version(registry: ModelRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Version]:
    """Register a version with oddly named nested files in its bundle."""
    directory = tmp_path_factory.mktemp("bundle")
    for name, content in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    client = tracking_client(registry)
    run = client.create_run("0").info
    client.log_artifacts(run.run_id, str(directory), "bundle")
    made = registry.register(
        PLAIN, run.run_id, f"{run.artifact_uri}/bundle", VersionTags(rolled_back="0.7 \u20ac")
    )
    registry.api.set_model_version_tag(PLAIN, made.version, "empty", "")
    yield registry.get(PLAIN, made.version)
    client.delete_registered_model(PLAIN)


def test_it_says_what_mlflows_own_client_says(registry: ModelRegistry, version: Version) -> None:
    registry.set_alias(PLAIN, "champion", version.version)
    registry.set_alias(PLAIN, "previous_champion", version.version)
    theirs = tracking_client(registry).get_model_version(PLAIN, version.version)
    for ours in (
        registry.get(PLAIN, version.version),
        registry.by_alias(PLAIN, "champion"),
        registry.versions(PLAIN)[0],
    ):
        assert ours is not None
        assert (ours.model, ours.version, ours.run_id, ours.source) == (
            theirs.name,
            str(theirs.version),
            theirs.run_id,
            theirs.source,
        )
        assert (
            ours.tags.raw
            == theirs.tags
            == {"rolled_back": "0.7 \u20ac", "empty": "", "seal": ours.tags.seal}
        )
        assert ours.tags.rolled_back == "0.7 \u20ac"
        assert sorted(ours.aliases) == sorted(theirs.aliases) == ["champion", "previous_champion"]
    assert registry.models() == sorted(
        m.name for m in tracking_client(registry).search_registered_models()
    )


def test_what_it_writes_mlflows_own_client_reads(registry: ModelRegistry, version: Version) -> None:
    client = tracking_client(registry)
    registry.tag(PLAIN, version.version, VersionTags(rollout="it's 100 % \u201cfine\u201d"))
    registry.set_alias(PLAIN, "challenger", version.version)
    assert (
        client.get_model_version(PLAIN, version.version).tags["rollout"]
        == "it's 100 % \u201cfine\u201d"
    )
    assert client.get_model_version_by_alias(PLAIN, "challenger").version == version.version
    registry.api.delete_model_version_tag(PLAIN, version.version, "rollout")
    registry.remove_alias(PLAIN, "challenger")
    assert "rollout" not in client.get_model_version(PLAIN, version.version).tags
    assert "challenger" not in client.get_model_version(PLAIN, version.version).aliases


def test_registering_a_run_twice_is_one_version(registry: ModelRegistry, version: Version) -> None:
    assert (
        registry.register(PLAIN, version.run_id, version.source, VersionTags()).version
        == version.version
    )
    assert len(registry.versions(PLAIN)) == 1


def test_versions_of_several_pages_come_once_and_in_order(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dojo.core.registry.mlflow_api.PAGE_SIZE", 2)
    client = tracking_client(registry)
    for _ in range(5):
        run = client.create_run("0").info
        registry.register("api_pages", run.run_id, f"{run.artifact_uri}/bundle", VersionTags())
    assert [v.version for v in registry.versions("api_pages")] == ["1", "2", "3", "4", "5"]
    assert "api_pages" in registry.models()
    client.delete_registered_model("api_pages")


def test_artifacts_arrive_whole(registry: ModelRegistry, version: Version, tmp_path: Path) -> None:
    copy = registry.download(version, tmp_path / "new")
    found = {
        str(file.relative_to(copy)): file.read_bytes() for file in copy.rglob("*") if file.is_file()
    }
    assert found == FILES
    one = registry.download_run_artifact(version, "bundle/a b+c%.txt", tmp_path / "one")
    assert one == tmp_path / "one" / "a b+c%.txt"
    assert one.read_bytes() == b"odd name"


def test_a_run_and_its_files_are_made_as_by_mlflows_own_client(
    registry: ModelRegistry, version: Version, tmp_path: Path
) -> None:
    client = tracking_client(registry)
    experiment = client.create_experiment("made_by_api")
    run = registry.api.create_run("made_by_api", "a run", {"who": "\u20ac"})
    for name, content in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        directory = Path("model", name).parent
        registry.api.put_artifact(f"{run.info.artifact_uri}/{directory}", file)
    registry.api.finish_run(run.info.run_id)
    theirs = client.get_run(run.info.run_id)
    assert (theirs.info.experiment_id, theirs.info.run_name) == (experiment, "a run")
    assert (theirs.info.status, theirs.data.tags["who"]) == ("FINISHED", "\u20ac")
    copy = Path(client.download_artifacts(run.info.run_id, "model", str(tmp_path)))
    assert {name: (copy / name).read_bytes() for name in FILES} == FILES


def test_what_is_not_there_is_unknown(
    registry: ModelRegistry, version: Version, tmp_path: Path
) -> None:
    for ask in (
        lambda: registry.get(PLAIN, "99"),
        lambda: registry.get(PLAIN, "one"),
        lambda: registry.get("no_such_model", "1"),
        lambda: registry.tag(PLAIN, "99", VersionTags(rollout="b")),
        lambda: registry.set_alias(PLAIN, "champion", "99"),
        lambda: registry.download_run_artifact(version, "no/such/file", tmp_path),
    ):
        with pytest.raises(UnknownVersionError, match="not in the registry"):
            ask()
    assert registry.by_alias(PLAIN, "nobodys") is None
    assert registry.by_alias("no_such_model", "champion") is None
    assert registry.versions("no_such_model") == []
    registry.remove_alias(PLAIN, "nobodys")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_the_server_does_not_hand_out_is_refused_with_the_way_out(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    with pytest.raises(RegistryUnavailableError, match="--artifacts-destination"):
        registry.api.get_artifacts("s3://bucket/bundle", tmp_path)


def test_proxies_of_the_environment_are_not_asked(
    registry: ModelRegistry, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    fresh = sealed_registry(registry.url, timeout_seconds=5, retries=0)
    assert fresh.get(PLAIN, version.version).version == version.version


class Scripted:
    """An HTTP server that answers from a list, and remembers the requests."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        left, asked = list(answers), []

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked.append((self.command, self.path, self.headers.get("Authorization"), body))
                status, content = left.pop(0) if left else (500, b"no more answers")
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 -- the library's names

            def log_message(self, *_: object) -> None: ...

        self.asked = asked
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


MODELS = b'{"registered_models": [{"name": "m", "a field of tomorrow": 1}]}'


def test_a_passing_failure_is_tried_again_and_a_creation_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dojo.core.registry.mlflow_http.BACKOFF_SECONDS", 0.01)
    with Scripted((503, b""), (500, b"oops"), (200, MODELS)) as server:
        assert [
            m.name
            for m in MlflowApi(f"http://{server.address}", 5, retries=2).search_registered_models()
        ] == ["m"]
        assert len(server.asked) == 3
    with Scripted((503, b""), (200, b'{"model_version": {"name": "m", "version": "1"}}')) as server:
        with pytest.raises(RegistryUnavailableError, match="HTTP status 503"):
            MlflowApi(f"http://{server.address}", 5, retries=2).create_model_version(
                "m", "mlflow-artifacts:/x", "r", {}
            )
        assert len(server.asked) == 1


def test_user_and_password_are_sent_and_never_shown() -> None:
    with Scripted((200, MODELS), (401, b"who are you?")) as server:
        api = MlflowApi(f"http://ann:s3cret@{server.address}", 5, retries=0)
        assert [m.name for m in api.search_registered_models()] == ["m"]
        assert server.asked[0][2] == "Basic YW5uOnMzY3JldA=="
        with pytest.raises(RegistryUnavailableError, match="HTTP status 401") as refused:
            list(api.search_registered_models())
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"<html>a proxy's page</html>", b"[]", b'{"registered_models": 3}']
)
def test_an_answer_that_is_not_mlflows_is_no_answer(content: bytes) -> None:
    with (
        Scripted((200, content)) as server,
        pytest.raises(RegistryUnavailableError, match="not understood"),
    ):
        list(MlflowApi(f"http://{server.address}", 5, retries=0).search_registered_models())


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a/b"])
def test_a_listed_name_that_leads_elsewhere_is_refused_and_nothing_is_written(
    name: str, tmp_path: Path
) -> None:
    listing = b'{"files": [{"path": "%s"}]}' % name.encode()
    with (
        Scripted((200, listing), (200, b"bad")) as server,
        pytest.raises(RegistryUnavailableError, match="plain file name"),
    ):
        MlflowApi(f"http://{server.address}", 5, retries=0).get_artifacts(
            "mlflow-artifacts:/0/run/bundle", tmp_path
        )
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
