"""The table of processes is the one list. Tests compare every other, handwritten list with it.

A complaint names the file and the line to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dojo.cli.compose import COMPOSE_FILE
from dojo.core.settings import Settings, load_settings, markdown_table, port_field
from dojo.stack.health import HttpHealth, RedisPing
from dojo.stack.table import ProcessSpec, processes

ROOT = Path(__file__).parents[4]
COMPOSE: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
DOCKERFILE = "deploy/docker/Dockerfile"
RULES = sorted((ROOT / "monitoring" / "prometheus" / "rules").glob("*.yml"))
PAGES = [
    ROOT / "README.md",
    ROOT / "MAP.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "monitoring" / "runbooks").glob("*.md")),
]

# Process -> its container, where the names differ.
CONTAINERS = {"redis": "redis-events"}
# Not in the table: Grafana runs in a container only.
GRAFANA = 3000


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> list[ProcessSpec]:
    """Return every process at its default port, as if all servers were installed."""
    for field in Settings.model_fields:
        monkeypatch.delenv(f"DOJO_{field.upper()}", raising=False)
    return processes(load_settings(peer_hosts="{name}"))


def line_of(file: str, pattern: str) -> str:
    """Return `file:line` of the last matching line."""
    lines = enumerate((ROOT / file).read_text().splitlines(), 1)
    return (
        f"{file}:{max((number for number, line in lines if re.search(pattern, line)), default=1)}"
    )


def wrong_settings(specs: list[ProcessSpec]) -> Iterator[str]:
    ports = {
        name: field.default
        for name, field in Settings.model_fields.items()
        if name.endswith("_port")
    }
    for spec in specs:
        field = port_field(spec.name)
        if field not in ports:
            yield (
                f"{line_of('dojo/core/settings.py', r'_port: Port =')}: add {field}: Port ="
                f" Field(default={spec.port}, ...)"
            )
        elif (
            f"| `{spec.variable}` | `{spec.port}` |"
            not in (ROOT / "docs" / "settings.md").read_text()
        ):
            yield (
                f"{line_of('docs/settings.md', '_PORT`')}: paste the output of `python -m"
                " dojo.core.settings`"
            )
    of_processes = {port_field(spec.name) for spec in specs} | {
        name for spec in specs for name in spec.further_ports
    }
    for name in sorted(set(ports) - of_processes):
        yield (
            f"{line_of('dojo/core/settings.py', rf'{name}: Port')}: no process of"
            f" dojo/stack/table.py listens on {name}"
        )


def wrong_modules(specs: list[ProcessSpec]) -> Iterator[str]:
    for spec in specs:
        module = spec.command[2] if spec.command[1] == "-m" else ""
        file = f"{module.replace('.', '/')}/__main__.py"
        alone = ROOT / f"{module.replace('.', '/')}.py"
        if module.startswith(("services.", "dojo.")) and not (
            alone.exists() or (ROOT / file).exists()
        ):
            yield f"{file}: dojo/stack/table.py runs it as {spec.name}, and it is not there"


def find_image(service: dict[str, Any]) -> str:
    """Return the Dockerfile's stage that makes the service's image. Empty for foreign images."""
    target = service["image"].split("/")[-1].split(":")[0]
    stages = (ROOT / DOCKERFILE).read_text().split("\nFROM ")
    return next(
        (stage for stage in stages if stage.split("\n", 1)[0].endswith(f" AS {target}")), ""
    )


def wrong_container(spec: ProcessSpec) -> Iterator[str]:
    name = CONTAINERS.get(spec.name, spec.name)
    if (service := COMPOSE.get(name)) is None:
        yield (
            f"{line_of('docker-compose.yml', r'^    command: .*services')}: add a service {name}"
            " below"
        )
        return
    where = f"{line_of('docker-compose.yml', rf'^  {name}:')}: {name}"
    image = find_image(service)
    if spec.command[2].startswith("services."):
        arguments = ["python", "-m", spec.command[2]]
        if (
            service.get("command", arguments if str(arguments).replace("'", '"') in image else [])
            != arguments
        ):
            yield f"{where}: its command is not {' '.join(arguments)}"
    for variable, value in spec.environment.items():
        if (
            service.get("environment", {}).get(variable) != value
            and f"{variable}={value}" not in image
        ):
            yield f"{where}: its environment lacks {variable}={value}"
    check = str(
        service.get("healthcheck", {}).get("test")
        or re.findall(r"HEALTHCHECK (?:.*\\\n)?.*", image)
    )
    at_own_port = isinstance(spec.health, RedisPing)  # both are at the port of Redis' own image
    if not at_own_port and not re.search(rf"\b{spec.port}\b", check):
        yield f"{where}: its health check does not ask port {spec.port}"
    if isinstance(spec.health, HttpHealth) and spec.health.path not in check:
        yield f"{where}: its health check does not ask {spec.health.path}"
    for needed in (CONTAINERS.get(one, one) for one in spec.depends_on if spec.waits):
        if service.get("depends_on", {}).get(needed) != {"condition": "service_healthy"}:
            yield f"{where}: does not wait until {needed} is healthy"


def wrong_containers(specs: list[ProcessSpec]) -> Iterator[str]:
    for spec in specs:
        yield from wrong_container(spec)
    for name, service in COMPOSE.items():
        if "services." in str(service.get("command")) and name not in {spec.name for spec in specs}:
            yield (
                f"{line_of('docker-compose.yml', rf'^  {name}:')}: {name} is no process of"
                " dojo/stack/table.py"
            )


def wrong_rules(specs: list[ProcessSpec]) -> Iterator[str]:
    names = {spec.name for spec in specs}
    for path in RULES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for jobs in re.findall(r'\bjob[!=]~?"([^"]+)"', line):
                for job in sorted(set(jobs.split("|")) - names):
                    yield (
                        f"{path.relative_to(ROOT)}:{number}: {job} is no process of"
                        " dojo/stack/table.py"
                    )


def wrong_pages(specs: list[ProcessSpec]) -> Iterator[str]:
    ports = {port for spec in specs for port in spec.ports.values()} | {GRAFANA}
    for path in PAGES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for port in re.findall(r"(?:localhost:|127\.0\.0\.1:|^Port )(\d+)", line):
                if int(port) not in ports:
                    yield (
                        f"{path.relative_to(ROOT)}:{number}: no process listens on {port} by"
                        " default"
                    )


def complaints(specs: list[ProcessSpec]) -> list[str]:
    checks = (wrong_settings, wrong_modules, wrong_containers, wrong_rules, wrong_pages)
    return [complaint for check in checks for complaint in check(specs)]


def test_what_is_written_by_hand_agrees_with_the_table(table: list[ProcessSpec]) -> None:
    assert complaints(table) == []


def invented(table: list[ProcessSpec]) -> ProcessSpec:
    """Invent a process like the recorder, at the next port."""
    recorder = next(spec for spec in table if spec.name == "recorder")
    command = (*recorder.command[:2], "services.invented")
    return replace(
        recorder, name="invented", command=command, health=HttpHealth("invented", 8110), port=8110
    )


def test_a_new_process_is_asked_for_in_two_more_files_and_its_own(table: list[ProcessSpec]) -> None:
    said = complaints([*table, invented(table)])
    assert [re.sub(r":\d+:.*", "", complaint) for complaint in said] == [
        "dojo/core/settings.py",
        (
            "services/invented/__main__.py: dojo/stack/table.py runs it as invented, and it is not"
            " there"
        ),
        "docker-compose.yml",
    ]
    assert "add invented_port: Port = Field(default=8110, ...)" in said[0]
    assert "add a service invented" in said[2]


def test_a_removed_process_is_missed_wherever_it_is_named(table: list[ProcessSpec]) -> None:
    said = complaints([spec for spec in table if spec.name != "recorder"])
    assert {complaint.partition(":")[0] for complaint in said} == {
        "dojo/core/settings.py",
        "docker-compose.yml",
        "monitoring/prometheus/rules/monitoring.yml",
        "docs/metrics.md",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"port": 8110}, "its health check does not ask port 8110"),
        (
            {"command": ("python", "-m", "services.trainer")},
            "its command is not python -m services.trainer",
        ),
        ({"depends_on": ("redis", "gateway")}, "does not wait until gateway is healthy"),
        ({"environment": {"OMP_NUM_THREADS": "1"}}, "its environment lacks OMP_NUM_THREADS=1"),
        (
            {"health": HttpHealth("recorder", 8102, "/ready")},
            "its health check does not ask /ready",
        ),
    ],
)
def test_a_container_that_differs_from_its_process_is_named(
    table: list[ProcessSpec], change: dict[str, Any], said: str
) -> None:
    changed = [replace(spec, **change) if spec.name == "recorder" else spec for spec in table]
    (complaint,) = wrong_containers(changed)
    assert re.fullmatch(rf"docker-compose\.yml:\d+: recorder: {re.escape(said)}", complaint)


def test_a_moved_default_port_is_followed_by_the_page_of_settings(table: list[ProcessSpec]) -> None:
    assert "| `DOJO_RECORDER_PORT` | `8102` |" in markdown_table()
    moved = [replace(spec, port=8110) if spec.name == "recorder" else spec for spec in table]
    assert any(
        re.match(r"docs/settings\.md:\d+: paste", complaint) for complaint in complaints(moved)
    )


def test_no_two_processes_have_the_same_default_port(table: list[ProcessSpec]) -> None:
    assert len({spec.port for spec in table}) == len(table)
