"""Tests images and docker-compose.yml as files, without an engine. tests/deploy runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from dojo.cli.compose import COMPOSE_FILE, compose_command, run, split
from dojo.core.airflow_access import airflow_access
from dojo.core.settings import SettingsError, load_settings
from dojo.core.telemetry import HealthServer
from dojo.stack.airflow_server import migrate
from dojo.stack.airflow_server.home import keep_password, prepare
from dojo.stack.observability.__main__ import main as write_files
from dojo.stack.table import processes
from pipelines.release.provenance import current_code
from tests.support.servers import free_port

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", DOCKERFILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened_bounded_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "mem_limit" in service
    assert "restart" in service
    assert service["logging"]["options"]["max-size"]
    target = service["image"].split("/")[-1].split(":")[0]
    stages = {
        stage.split("\n", 1)[0].rpartition(" AS ")[2]: stage
        for stage in DOCKERFILE.read_text().split("\nFROM ")
    }
    assert "healthcheck" in service or "\nHEALTHCHECK " in stages[target]


def test_containers_that_read_specs_have_the_edited_ones_and_cannot_write_them() -> None:
    readers = {spec.name for spec in processes(load_settings()) if spec.reads_specs} - {
        "prometheus"
    } | {
        "monitoring-files",
        "tools",
    }
    readers |= {name for name in SERVICES if name.startswith("airflow")}
    mounted = {
        name
        for name, service in SERVICES.items()
        if "./models:/app/models:ro" in service.get("volumes", ())
    }
    assert readers <= mounted
    assert "WORKDIR /app" in DOCKERFILE.read_text()


def test_each_image_is_made_by_one_service_and_pulled_by_none() -> None:
    ours = {
        name: service
        for name, service in SERVICES.items()
        if service["image"].startswith("mlops-dojo/")
    }
    makers = [service["build"]["target"] for service in ours.values() if "build" in service]
    assert sorted(makers) == ["airflow", "gateway", "mlflow", "worker"]
    assert {service["pull_policy"] for service in ours.values()} == {"never"}


def test_proxies_that_docker_puts_into_containers_are_not_used() -> None:
    asking = {name: service.get("environment", {}) for name, service in SERVICES.items()}
    direct = {
        name
        for name, variables in asking.items()
        if variables.get("NO_PROXY") == variables.get("no_proxy") == "*"
    }
    assert set(SERVICES) - direct == {
        "redis-events",
        "redis-online",
        "postgres",
    }, "these ask nothing over HTTP"
    assert {asking[name].get("http_proxy") for name in direct} == {""}


def test_only_who_asks_airflow_knows_its_password() -> None:
    environments = {name: str(service.get("environment")) for name, service in SERVICES.items()}
    asking = {"trainer", "tools", *(name for name in SERVICES if name.startswith("airflow"))}
    assert {name for name, text in environments.items() if "AIRFLOW_PASSWORD" in text} == asking
    assert {name for name, text in environments.items() if "DOJO_AIRFLOW_URL" in text} == asking


def test_only_the_world_and_who_checks_it_know_the_time_key() -> None:
    environments = {name: str(service.get("environment")) for name, service in SERVICES.items()}
    assert {name for name, text in environments.items() if "DOJO_TIME_KEY" in text} == {
        "gateway",
        "simulator",
    }


def test_mlflow_does_not_know_the_key_that_its_record_is_proved_with() -> None:
    without = {
        name
        for name, service in SERVICES.items()
        if "DOJO_SEAL_KEY" not in str(service.get("environment"))
    }
    ours = {
        name for name, service in SERVICES.items() if service["image"].startswith("mlops-dojo/")
    }
    assert without & ours == {"mlflow", "mlflow-migrate"}


def test_no_secret_is_an_argument() -> None:
    secret = re.compile(r"\$\{?[A-Z_]*(PASSWORD|SECRET|KEY|STORE_URI)")
    arguments = [part for service in SERVICES.values() for part in service.get("command", ())]
    assert not [part for part in arguments if secret.search(part.replace("$$", "$"))]


def test_only_uis_and_the_gateway_are_published_and_by_default_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"gateway", "mlflow", "airflow", "grafana"}
    every = [port for ports in published.values() for port in ports]
    assert all(port.startswith("${PUBLISH_ON:-127.0.0.1}:") for port in every)
    inside = [int(port.rpartition(":")[2]) for port in published["gateway"]]
    gateway = next(one for one in processes(load_settings()) if one.name == "gateway")
    assert inside == list(gateway.ports.values()), "and EXPOSE of its image"
    assert f"EXPOSE {' '.join(map(str, inside))}\n" in DOCKERFILE.read_text()
    assert {name for name, service in SERVICES.items() if "edge" in service["networks"]} == set(
        published
    )
    assert COMPOSE["networks"]["platform"] == {"internal": True}


def test_secrets_have_no_default_and_come_from_make_env(tmp_path: Path) -> None:
    names = set(re.findall(r"\$\{([A-Z_]+(?:PASSWORD|KEY|SECRET))\b", COMPOSE_FILE.read_text()))
    assert {
        name
        for name in names
        if not re.search(rf"\$\{{{name}:\?run make env first\}}", COMPOSE_FILE.read_text())
    } == set()
    for _ in range(2):
        subprocess.run(
            [ROOT / "scripts" / "env.sh", tmp_path / ".env"], check=True, capture_output=True
        )
    lines = (tmp_path / ".env").read_text().splitlines()
    assert {line.partition("=")[0] for line in lines} == names
    assert len(lines) == len(names), "what is there is kept"
    assert len({line.partition("=")[2] for line in lines}) == len(names)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_a_file_that_is_there_keeps_what_it_says_and_gets_what_it_lacks(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        'GATEWAY_PORT=9000\nPOSTGRES_PASSWORD=""\nREDIS_PASSWORD=mine'
    )  # no newline at the end
    file.chmod(0o644)
    subprocess.run([ROOT / "scripts" / "env.sh", file], check=True, capture_output=True)
    values = dict(
        line.split("=", 1) for line in file.read_text().splitlines()
    )  # the last one counts, for Docker too
    assert values["GATEWAY_PORT"] == "9000"
    assert values["REDIS_PASSWORD"] == "mine"
    assert len(values["POSTGRES_PASSWORD"]) == 48
    assert file.stat().st_mode & 0o077 == 0


def test_every_process_of_ours_has_a_container_under_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = {
        "redis_url": "redis://events/0",
        "mlflow_url": "http://mlflow:5001",
        "airflow_url": "http://airflow:8088",
    }
    for process in processes(load_settings(peer_hosts="{name}", **elsewhere)):
        assert process.name in SERVICES
        assert process.address == f"http://{process.name}:{process.port}"


def test_images_are_pinned_once() -> None:
    text = COMPOSE_FILE.read_text() + DOCKERFILE.read_text()
    pins = COMPOSE["x-images"]
    assert all(re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", pin) for pin in pins.values())
    assert {name: text.count(pin) for name, pin in pins.items()} == dict.fromkeys(pins, 1) | {
        "python": 2
    }, "python: a default for docker build"


@pytest.mark.parametrize("pattern", ["redis", "{other}", "{name", "dojo-{}"])
def test_a_pattern_of_hosts_names_the_process(pattern: str) -> None:
    with pytest.raises(SettingsError, match="DOJO_PEER_HOSTS"):
        load_settings(peer_hosts=pattern)


def test_peers_are_found_by_name_or_here() -> None:
    assert load_settings().url_of("materializer") == "http://127.0.0.1:8104"
    assert load_settings(peer_hosts="dojo-{name}").gateway_url == "http://dojo-gateway:8000"


def test_a_context_comes_before_the_command() -> None:
    assert split(["--context", "compose", "status", "--json"]) == ("compose", ["status", "--json"])
    assert split(["--context=compose"]) == ("compose", [])
    assert split(["train", "--context"]) == ("embedded", ["train", "--context"])


def test_commands_go_into_the_network_and_starting_is_dockers() -> None:
    assert compose_command(["train", "m"], is_terminal=False)[4:] == [
        "run",
        "--rm",
        "--no-deps",
        "--no-TTY",
        "tools",
        "train",
        "m",
    ]
    assert compose_command([], is_terminal=True)[-2:] == ["tools", "--help"]
    assert compose_command(["up"], is_terminal=True)[4:] == ["up", "--build", "--wait"]
    assert compose_command(["restart", "monitor"], is_terminal=True)[4:] == ["restart", "monitor"]
    assert compose_command(["logs", "redis"], is_terminal=True)[4:] == ["logs", "redis-events"]
    assert compose_command(["logs", "redis-online"], is_terminal=True)[4:] == [
        "logs",
        "redis-online",
    ]
    assert compose_command(["logs", "airflow"], is_terminal=True)[4:] == [
        "logs",
        "airflow",
        "airflow-scheduler",
        "airflow-dag-processor",
    ]
    assert compose_command(["down", "--purge", "--yes"], is_terminal=True)[4:] == [
        "--profile",
        "full",
        "down",
        "--volumes",
    ]


@pytest.mark.parametrize("words", [["restart"], ["restart", "--json"]])
def test_a_restart_without_a_name_is_refused_before_docker_is_asked(
    tmp_path: Path, words: list[str]
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    docker.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "dojo", "--context", "compose", *words],
        text=True,
        capture_output=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=False,
    )
    assert (done.returncode, "restart needs a process" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "called").exists()


def test_an_unknown_context_is_refused_with_those_there_are() -> None:
    with pytest.raises(typer.Exit):
        run("kubernetes", ["status"])


@pytest.mark.parametrize(
    ("words", "said", "deleted"),
    [([], "n\n", False), ([], "y\n", True), (["--yes"], "", True)],
    ids=["no", "yes", "said before"],
)
def test_volumes_are_deleted_by_who_means_it(
    tmp_path: Path, words: list[str], said: str, deleted: bool
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    docker.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "dojo", "--context", "compose", "down", "--purge", *words],
        input=said,
        text=True,
        capture_output=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=False,
    )
    assert (done.returncode == 0) is deleted, done.stderr
    assert (tmp_path / "called").exists() is deleted
    if deleted:
        assert (tmp_path / "called").read_text().split()[-2:] == ["down", "--volumes"]


def test_prometheus_finds_every_process_in_its_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOJO_HOME", str(tmp_path))
    monkeypatch.setenv("DOJO_PEER_HOSTS", "{name}")
    tmp_path.chmod(0o700)  # as /data of an image is
    before = os.umask(0o077)
    try:
        assert write_files(["files"]) == 0
    finally:
        os.umask(before)
    servers = (tmp_path / "prometheus", tmp_path / "alertmanager")
    written = [tmp_path, *servers, *(path for server in servers for path in server.rglob("*"))]
    closed = [path for path in written if not path.stat().st_mode & 0o004]
    assert closed == [], "another user's server reads them"
    targets = json.loads((tmp_path / "prometheus" / "targets" / "processes.json").read_text())
    hosts = {target["labels"]["job"]: target["targets"][0].partition(":")[0] for target in targets}
    assert {"gateway", "recorder", "monitor", "responder", "receiver"} <= set(hosts)
    assert all(job == host for job, host in hosts.items())
    alertmanagers = json.loads(
        (tmp_path / "prometheus" / "targets" / "alertmanagers.json").read_text()
    )
    assert alertmanagers == [{"targets": ["alertmanager:9093"]}]
    assert (
        "http://receiver:8109/pager" in (tmp_path / "alertmanager" / "alertmanager.yml").read_text()
    )


def test_what_is_written_for_one_server_does_not_start_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert write_files(["grafana"]) == 2
    assert "prometheus, alertmanager, or files" in capsys.readouterr().err


def test_airflows_password_is_the_one_of_the_environment(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    home = prepare(settings)
    for password in ("first", "changed in .env"):
        keep_password(home, password)
        prepare(settings)
        access = airflow_access(settings)
        assert access is not None
        assert access.password == password
    assert (home / "passwords.json").stat().st_mode & 0o777 == 0o600


def test_an_airflow_without_its_password_is_not_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOJO_HOME", str(tmp_path))
    monkeypatch.delenv("AIRFLOW_PASSWORD", raising=False)
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("it went on"))
    assert migrate.main() == 2
    assert "AIRFLOW_PASSWORD" in capsys.readouterr().err
    assert not (tmp_path / "airflow").exists()


def test_a_version_of_an_image_names_the_commit_that_the_image_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uv.lock").write_text("version = 1\n")
    monkeypatch.delenv("SOURCE_COMMIT", raising=False)
    assert current_code(tmp_path).commit == "unknown"
    monkeypatch.setenv("SOURCE_COMMIT", "abc123")
    assert current_code(tmp_path).commit == "abc123"
    assert len(current_code(tmp_path).lock_sha256) == 64


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """Answers like Airflow's monitor."""
    health = {"metadatabase": {"status": "healthy"}, "dag_processor": {"status": "unhealthy"}}
    port = free_port()
    with HealthServer("127.0.0.1", port, lambda: (True, health)):
        yield port


def test_a_health_check_believes_only_what_it_is_told(server: int) -> None:
    def healthy(*arguments: object) -> bool:
        return (
            subprocess.run(
                [ROOT / "deploy/docker/healthy", *map(str, arguments)], capture_output=True
            ).returncode
            == 0
        )

    assert healthy(server, "/healthz")
    assert healthy(server, "/healthz", '"metadatabase": {"status": "healthy"')
    assert not healthy(server, "/healthz", '"dag_processor": {"status": "healthy"')
    assert healthy(server, "/healthz", "", "localhost")
    assert not healthy(server, "/elsewhere"), "404"
    assert not healthy(free_port(), "/healthz"), "nobody there"


@pytest.mark.parametrize(
    ("published", "hosts", "origins"),
    [
        ({}, ["mlflow:5001", "127.0.0.1:5001", "localhost:5001"], ["http://localhost:5001"]),
        ({"MLFLOW_PORT": "9001"}, ["mlflow:5001", "localhost:9001"], ["http://127.0.0.1:9001"]),
        (
            {"PUBLISH_ON": "192.168.1.20", "PUBLISH_AS": "shop.lan, *.dojo.lan"},
            ["192.168.1.20:5001", "shop.lan:5001", "shop.lan", "*.dojo.lan:5001"],
            [
                "http://192.168.1.20:5001",
                "http://shop.lan:5001",
                "https://shop.lan",
                "http://*.dojo.lan:5001",
            ],
        ),
    ],
)
def test_mlflow_is_started_for_the_names_that_it_is_published_under(
    tmp_path: Path, published: dict[str, str], hosts: list[str], origins: list[str]
) -> None:
    (tmp_path / "mlflow").write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    (tmp_path / "mlflow").chmod(0o755)
    (tmp_path / "a.dojo.lan").touch()  # a `*` must not become the name of a file
    script = ROOT / "deploy" / "docker" / "mlflow-server"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **published}
    done = subprocess.run(
        [script, "--port", "5001"],
        capture_output=True,
        text=True,
        check=True,
        env=env,
        cwd=tmp_path,
    )
    words = done.stdout.splitlines()
    assert words[0] == "server"
    assert words[-2:] == ["--port", "5001"]
    assert set(hosts) <= set(words[words.index("--allowed-hosts") + 1].split(","))
    assert set(origins) <= set(words[words.index("--cors-allowed-origins") + 1].split(","))
    assert "*" not in words[words.index("--allowed-hosts") + 1].split(",")


def test_mlflow_knows_every_variable_that_decides_where_it_is_published() -> None:
    environment = SERVICES["mlflow"]["environment"]
    assert {name for name in environment if name.startswith("PUBLISH")} == {
        "PUBLISH_ON",
        "PUBLISH_AS",
    }
    assert environment["MLFLOW_PORT"] == "${MLFLOW_PORT:-5001}"
    assert environment["PUBLISH_ON"] == "${PUBLISH_ON:-127.0.0.1}"
