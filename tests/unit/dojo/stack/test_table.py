"""The table of processes, its ports, and the settings remembered by a home."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from dojo.core.settings import Settings, load_settings, port_field
from dojo.stack import doctor_checks, environment
from dojo.stack.environment import WorldConflictError
from dojo.stack.ports import doubled_ports, taken_ports
from dojo.stack.table import ProcessSpec, processes, stop_order


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith("DOJO_")]:
        monkeypatch.delenv(name)
    return load_settings(home=tmp_path)


def by_name(specs: list[ProcessSpec]) -> dict[str, ProcessSpec]:
    return {spec.name: spec for spec in specs}


def test_each_process_names_the_setting_that_moves_its_port(settings: Settings) -> None:
    for spec in processes(settings):
        field = port_field(spec.name)
        assert spec.variable == f"DOJO_{field.upper()}"
        moved = by_name(processes(settings.model_copy(update={field: 12345})))[spec.name]
        assert (spec.port, moved.port) == (getattr(settings, field), 12345)
        assert ":12345" in moved.address


def test_the_gateway_waits_for_nobody_and_payments_wait_for_the_gateway(settings: Settings) -> None:
    table = by_name(processes(settings))
    assert not table["gateway"].waits
    assert "gateway" in table["simulator"].depends_on


def test_servers_that_run_elsewhere_are_not_started_and_not_waited_for(settings: Settings) -> None:
    elsewhere = settings.model_copy(
        update={"redis_url": "redis://other:6379/0", "mlflow_url": "http://other:5000"}
    )
    table = by_name(processes(elsewhere))
    assert not {"redis", "redis-online", "mlflow"} & set(table)
    assert all(dependency in table for spec in table.values() for dependency in spec.depends_on)


REDIS = {"redis", "redis-online"}


@pytest.mark.parametrize(
    ("elsewhere", "here"),
    [
        ({}, REDIS),
        ({"redis_url": "redis://other:6379/0"}, set()),
        ({"online_store_url": "redis://other:6379/0"}, {"redis"}),
    ],
)
def test_a_redis_is_started_for_each_address_that_is_not_elsewhere(
    settings: Settings, elsewhere: dict[str, str], here: set[str]
) -> None:
    chosen = settings.model_copy(update=elsewhere)
    table = by_name(processes(chosen))
    assert REDIS & set(table) == here
    for name, address in (("redis", chosen.redis), ("redis-online", chosen.online_store)):
        assert name not in table or table[name].address == address


def test_each_redis_has_files_of_its_own(settings: Settings) -> None:
    table = by_name(processes(settings))
    for name in REDIS:
        command = table[name].command
        assert command[command.index("--dir") + 1] == str(settings.home / name)


def test_without_the_online_store_only_its_writers_wait(settings: Settings) -> None:
    waiting = {
        spec.name
        for spec in processes(settings)
        if spec.waits and "redis-online" in spec.depends_on
    }
    assert waiting == {"streamer", "materializer"}


def test_the_stack_can_do_without_airflow_and_goes_on_retraining(settings: Settings) -> None:
    for chosen in ({"without": ("airflow",)}, {"airflow_url": "http://other:8080"}):
        table = by_name(processes(settings.model_copy(update=chosen)))
        assert "airflow" not in table
        assert "trainer" in table
    assert "airflow" in by_name(processes(settings))


def machine_with(directory: Path, monkeypatch: pytest.MonkeyPatch, *commands: str) -> None:
    """Make a PATH with exactly these commands."""
    directory.mkdir()
    for name in commands:
        (directory / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(directory))


ALERTING = {"prometheus", "alertmanager", "receiver"}


@pytest.mark.parametrize("alertmanager", ["prometheus-alertmanager", "alertmanager"])
def test_where_prometheus_and_alertmanager_are_installed_they_run_with_the_receiver(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alertmanager: str
) -> None:
    machine_with(tmp_path / "bin", monkeypatch, "prometheus", alertmanager)
    table = by_name(processes(settings))
    assert set(table) >= ALERTING
    groups = [{spec.name for spec in group} for group in stop_order(processes(settings))]
    assert "prometheus" in groups[0], "a stack that goes down must alert nobody"
    assert (
        not set(by_name(processes(settings.model_copy(update={"without": ("prometheus",)}))))
        & ALERTING
    )


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        ((), "prometheus and alertmanager not installed"),
        (("prometheus",), "alertmanager not installed"),
        (("alertmanager",), "prometheus not installed"),
    ],
)
def test_a_machine_without_them_runs_the_rest_and_says_what_is_missing(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    commands: tuple[str, ...],
    why: str,
) -> None:
    machine_with(tmp_path / "bin", monkeypatch, *commands)
    table = by_name(processes(settings))
    assert not set(table) & ALERTING
    assert {"gateway", "recorder", "redis"} <= set(table)
    check = doctor_checks.alerting(settings)
    assert (check.verdict, check.found) == (doctor_checks.DoctorVerdict.OPTIONAL, f"off: {why}")
    assert "prometheus" in check.next_step


def test_prometheus_asks_every_process_that_is_ours(settings: Settings) -> None:
    for spec in processes(settings):
        ours = any(
            part.startswith(("services.", "pipelines.", "dojo.stack.observability"))
            for part in spec.command
        )
        assert spec.metrics == (ours and spec.name != "airflow"), f"{spec.name}: {spec.command}"


def test_nothing_is_stopped_before_what_depends_on_it(settings: Settings) -> None:
    groups = [{spec.name for spec in group} for group in stop_order(processes(settings))]
    position = {name: i for i, group in enumerate(groups) for name in group}
    assert len(position) == len(processes(settings))
    for spec in processes(settings):
        assert all(position[spec.name] < position[dependency] for dependency in spec.depends_on)


def test_a_circle_of_dependencies_is_refused(settings: Settings) -> None:
    redis, *others = processes(settings)
    with pytest.raises(ValueError, match="circle: redis, gateway"):
        stop_order(
            [
                replace(redis, depends_on=("gateway",)),
                *(spec for spec in others if spec.name == "gateway"),
            ]
        )


@pytest.mark.parametrize("setting", ["gateway_port", "gateway_grpc_port"])
def test_a_taken_port_is_named_with_its_holder_and_the_setting_that_moves_it(
    setting: str, settings: Settings
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        specs = processes(settings.model_copy(update={setting: port}))
        (message,) = [
            str(taken) for taken in taken_ports(specs, settings.host) if taken.port == port
        ]
        assert f"port {port} (gateway) is taken by pid {os.getpid()} (" in message
        assert message.endswith(f"DOJO_{setting.upper()} moves it")
    assert port not in {taken.port for taken in taken_ports(specs, settings.host)}


@pytest.mark.parametrize("setting", ["gateway_port", "gateway_grpc_port"])
def test_two_processes_on_one_port_are_named(setting: str, settings: Settings) -> None:
    port = settings.mlflow_port
    specs = processes(settings.model_copy(update={setting: port}))
    assert doubled_ports(specs) == [
        f"DOJO_MLFLOW_PORT and DOJO_{setting.upper()} are both {port}: give each its own"
    ]


def test_what_a_home_was_started_with_completes_a_later_shell_and_never_overrides_it(
    tmp_path: Path,
) -> None:
    environment.remember(
        tmp_path,
        {
            "DOJO_HOME": "x",
            "DOJO_GATEWAY_PORT": "9000",
            "DOJO_SEED": "3",
            "PATH": "/bin",
            "SECRET_KEY": "s",
        },
    )
    shell = {"DOJO_HOME": str(tmp_path), "DOJO_SEED": "4"}
    environment.adopt(shell)
    assert shell == {"DOJO_HOME": str(tmp_path), "DOJO_SEED": "4", "DOJO_GATEWAY_PORT": "9000"}
    assert set(environment.remembered(tmp_path)) == {"DOJO_GATEWAY_PORT", "DOJO_SEED"}


@pytest.fixture
def replayed_world(tmp_path: Path) -> Path:
    environment.remember(
        tmp_path, {"DOJO_WORLD_SOURCE": "replay", "DOJO_REPLAY_DATASET": "/a.parquet"}
    )
    lake = tmp_path / "lake" / "transactions" / "date=2018-04-01"
    lake.mkdir(parents=True)
    (lake / "history.parquet").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({}, "DOJO_WORLD_SOURCE=replay; it cannot go on with DOJO_WORLD_SOURCE=synthetic"),
        (
            {"DOJO_WORLD_SOURCE": "replay", "DOJO_REPLAY_DATASET": "/b.parquet"},
            "DOJO_REPLAY_DATASET=/a.parquet",
        ),
        (
            {"DOJO_WORLD_SOURCE": "replay", "DOJO_REPLAY_DATASET": "/a.parquet", "DOJO_SEED": "8"},
            "DOJO_SEED=7",
        ),
    ],
)
def test_a_world_is_never_continued_as_another_one(
    replayed_world: Path, asked: dict[str, str], named: str
) -> None:
    with pytest.raises(WorldConflictError, match=named):
        environment.check_same_world(replayed_world, asked)


def test_the_same_world_goes_on_and_an_unbuilt_one_may_become_any(
    replayed_world: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    same = {"DOJO_WORLD_SOURCE": "replay", "DOJO_REPLAY_DATASET": "/a.parquet", "DOJO_SPEED": "600"}
    environment.check_same_world(replayed_world, same)
    environment.check_same_world(
        replayed_world, {**same, "DOJO_MODELS": "all", "DOJO_SEED": ""}
    )  # further models join, and the other one is the default
    unbuilt = tmp_path_factory.mktemp("home")
    environment.remember(unbuilt, {"DOJO_WORLD_SOURCE": "replay"})
    environment.check_same_world(unbuilt, {})
