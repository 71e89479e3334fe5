from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dojo.core.settings import Settings, load_settings
from dojo.stack import doctor_checks
from dojo.stack.doctor_checks import DISK_BYTES, DISK_FLOOR_BYTES, DoctorVerdict


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith("DOJO_")]:
        monkeypatch.delenv(name)
    return load_settings(home=tmp_path / "home")


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ((3, 10), "missing"),
        ((3, 11), "ok"),
        ((3, 13), "ok"),
        ((3, 14), "missing"),
        ((2, 7), "missing"),
    ],
)
def test_only_the_python_versions_of_the_lock_will_do(
    version: tuple[int, int], verdict: str
) -> None:
    assert doctor_checks.python(version).verdict == verdict


@pytest.mark.parametrize("role", doctor_checks.ROLES)
def test_every_role_is_installed_here(role: str) -> None:
    check = doctor_checks.packages(role)
    assert check.verdict is DoctorVerdict.OK, check.found
    assert int(check.found.split()[0]) > 0


def test_missing_and_outdated_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [
        "not-on-this-machine>=1; extra == 'world'",
        "polars>=999; extra == 'world'",
        "redis>=5",
    ]
    monkeypatch.setattr(doctor_checks.metadata, "requires", lambda _: wanted)
    check = doctor_checks.packages("world")
    assert check.verdict is DoctorVerdict.MISSING
    assert "not-on-this-machine is not installed" in check.found
    assert "polars" in check.found
    assert "wanted >=999" in check.found
    assert doctor_checks.packages("base").verdict is DoctorVerdict.OK


def test_a_taken_port_is_missing_and_says_which_setting_moves_it(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken = settings.model_copy(update={"recorder_port": held.getsockname()[1]})
        checks = [check for check in doctor_checks.ports(taken) if "recorder" in check.found]
    assert [check.verdict for check in checks] == [DoctorVerdict.MISSING]
    assert "DOJO_RECORDER_PORT" in checks[0].next_step


def test_free_ports_are_named_with_those_that_a_process_has_besides(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dojo.stack.ports.is_free", lambda host, port: True)
    (check,) = doctor_checks.ports(settings)
    assert {str(settings.gateway_port), str(settings.gateway_grpc_port)} <= set(
        check.found.removeprefix("free: ").split(", ")
    )


def test_an_address_of_another_machine_is_named_and_no_port_is_called_taken(
    settings: Settings,
) -> None:
    checks = list(doctor_checks.ports(settings.model_copy(update={"host": "203.0.113.9"})))
    assert [check.verdict for check in checks] == [DoctorVerdict.MISSING]
    assert checks[0].found == "DOJO_HOST: 203.0.113.9 is no address of this machine"
    assert checks[0].next_step == "set one that it has, such as 127.0.0.1"


def test_proxies_are_named_and_their_values_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_checks.proxy({"HTTP_PROXY": "", "NO_PROXY": "*"}).found == "no proxy is set"
    found = doctor_checks.proxy(
        {"HTTP_PROXY": "http://me:secret@proxy:3128", "all_proxy": "socks5://proxy"}
    )
    assert found.verdict is DoctorVerdict.OK
    assert (
        found.found == "HTTP_PROXY, all_proxy: set, and not used between the platform's processes"
    )


@pytest.mark.parametrize(
    ("free", "verdict"),
    [(DISK_BYTES, "ok"), (DISK_BYTES - 1, "warning"), (DISK_FLOOR_BYTES - 1, "missing")],
)
def test_little_disk_is_a_warning_and_none_is_an_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str
) -> None:
    usage = doctor_checks.shutil.disk_usage(Path("/"))._replace(free=free)
    monkeypatch.setattr(doctor_checks.shutil, "disk_usage", lambda _: usage)
    assert doctor_checks.disk(settings).verdict == verdict


def test_a_home_that_cannot_be_made_is_missing(settings: Settings, tmp_path: Path) -> None:
    assert doctor_checks.home(settings).verdict is DoctorVerdict.OK
    assert not settings.home.exists()
    (tmp_path / "file").touch()
    below_a_file = settings.model_copy(update={"home": tmp_path / "file" / "home"})
    assert doctor_checks.home(below_a_file).verdict is DoctorVerdict.MISSING


def test_specs_are_read_and_what_is_wrong_with_them_is_said(
    settings: Settings, tmp_path: Path
) -> None:
    assert doctor_checks.specs(settings).found == "fraud_detection"
    (tmp_path / "wrong.yaml").write_text("name: wrong\n")
    wrong = doctor_checks.specs(settings.model_copy(update={"models_dir": tmp_path}))
    assert wrong.verdict is DoctorVerdict.MISSING
    assert "wrong.yaml" in wrong.found


def test_an_optional_tool_is_never_missing() -> None:
    assert doctor_checks.optional_tool("no-such-tool", "testing").verdict is DoctorVerdict.OPTIONAL


@pytest.mark.parametrize(
    "package", ["evidently", "apache-airflow", "psutil", "feast", "uvloop", "aiohttp"]
)
def test_a_missing_package_of_any_role_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = doctor_checks.metadata.version

    def version(name: str) -> str:
        if name == package:
            raise doctor_checks.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(doctor_checks.metadata, "version", version)
    found = [doctor_checks.packages(role) for role in doctor_checks.ROLES]
    assert any(check.verdict is DoctorVerdict.MISSING and package in check.found for check in found)
