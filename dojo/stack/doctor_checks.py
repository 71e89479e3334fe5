"""The checks of `dojo doctor`: one function per question.

Each answers with what it found and with the next step.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

import dojo
from dojo.core.private import is_open_to_others
from dojo.core.settings import Settings
from dojo.core.spec.read import SpecError
from dojo.core.state.clock import wall_now
from dojo.stack.observability.installed import (
    ALERTMANAGER,
    PROMETHEUS,
    alerting_is_off,
    binary,
    how_to_install,
)
from dojo.stack.paths import is_home
from dojo.stack.supervisor.overrides import IGNORED
from dojo.stack.supervisor.overrides import overrides as named_overrides
from feature_repo.specs import load

DISTRIBUTION = "mlops-dojo"
PYTHON_FLOOR, PYTHON_CEILING = (3, 11), (3, 14)

# The stack at rest is under 3 GB, and training on 90 days takes about one more.
MEMORY_BYTES = 4_000_000_000
# A hundred world days, MLflow's artifacts and the logs stay under 2 GB. Below the hard floor Redis
# cannot rewrite its file.
DISK_BYTES, DISK_FLOOR_BYTES = 5_000_000_000, 500_000_000

# The roles that the stack on this machine takes. `embedded` names every other role, and its
# metadata lists their packages.
ROLES = ("base", "embedded")

# Libraries read them in upper and in lower case.
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")

INSTALL = "make setup (or: uv sync --locked --extra embedded --group dev)"


class DoctorVerdict(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works, but not well
    MISSING = "missing"  # the stack, or one of its models, does not start without it
    OPTIONAL = "optional"  # not there, and only an optional tool needs it


@dataclass(frozen=True, slots=True)
class Check:
    """One answer. `next_step` is empty when there is nothing to do."""

    name: str
    verdict: DoctorVerdict
    found: str
    next_step: str = ""


def python(version: tuple[int, int] = (sys.version_info.major, sys.version_info.minor)) -> Check:
    found = f"{sys.version.split()[0]} ({sys.executable})"
    if PYTHON_FLOOR <= version < PYTHON_CEILING:
        return Check("python", DoctorVerdict.OK, found)
    return Check("python", DoctorVerdict.MISSING, found, "use Python 3.11, 3.12 or 3.13")


def packages(role: str) -> Check:
    """Check the installed packages of one role by their metadata.

    A role is an extra in pyproject.toml. "base" stands for the packages of every role.
    """
    from packaging.requirements import Requirement

    wrong, right = [], 0
    for text in metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(text)
        of_role = "extra" in text if role != "base" else "extra" not in text
        applies = requirement.marker is None or requirement.marker.evaluate(
            {"extra": "" if role == "base" else role}
        )
        if not of_role or not applies or requirement.name == DISTRIBUTION:
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            right += 1
        else:
            wrong.append(f"{requirement.name} {version}, wanted {requirement.specifier}")
    if wrong:
        return Check(f"packages: {role}", DoctorVerdict.MISSING, "; ".join(wrong), INSTALL)
    return Check(f"packages: {role}", DoctorVerdict.OK, f"{right} packages")


def redis_server_starts(seconds: float = 10) -> Check:
    """Start the embedded redis-server on a free port and PING it."""
    from dojo.stack.ports import free_port
    from dojo.stack.servers import redis_command

    port = free_port()
    with tempfile.TemporaryDirectory(prefix="dojo-doctor-") as directory:
        try:
            command = redis_command(port, Path(directory))
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except (ImportError, OSError) as error:
            return Check("redis-server", DoctorVerdict.MISSING, str(error), INSTALL)
        try:
            client, deadline = Redis(port=port, socket_timeout=1), time.monotonic() + seconds
            while time.monotonic() < deadline and server.poll() is None:
                try:
                    # The type ignore: a synchronous client returns no awaitable.
                    version = client.info("server")["redis_version"]  # type: ignore[index]
                    return Check("redis-server", DoctorVerdict.OK, f"{version}, answers PING")
                except RedisError:
                    time.sleep(0.05)
        finally:
            server.kill()
            server.wait()
    return Check(
        "redis-server",
        DoctorVerdict.MISSING,
        f"{command[0]} does not answer within {seconds:g} s",
        "run it by hand and read its output",
    )


def ports(settings: Settings) -> Iterator[Check]:
    from dojo.stack.control import running
    from dojo.stack.ports import doubled_ports, is_of_this_machine, taken_ports
    from dojo.stack.table import processes

    if running(settings.home) is not None:
        yield Check(
            "ports", DoctorVerdict.OK, f"held by the running stack of {settings.home.resolve()}"
        )
        return
    if not is_of_this_machine(settings.host):
        found = f"DOJO_HOST: {settings.host} is no address of this machine"
        yield Check("ports", DoctorVerdict.MISSING, found, "set one that it has, such as 127.0.0.1")
        return
    specs = processes(settings)
    for message in doubled_ports(specs):
        yield Check("ports", DoctorVerdict.MISSING, message)
    taken = taken_ports(specs, settings.host)
    for port in taken:
        yield Check(
            "ports",
            DoctorVerdict.MISSING,
            str(port),
            f"end that process, or start with {port.variable}=<free port>",
        )
    if not taken:
        yield Check(
            "ports",
            DoctorVerdict.OK,
            "free: " + ", ".join(str(port) for spec in specs for port in spec.ports.values()),
        )


def proxy(environment: Mapping[str, str] = os.environ) -> Check:
    """Variables that send a library's requests through a proxy. Their values may hold passwords."""
    names = [
        name for name, value in environment.items() if name.lower() in PROXY_VARIABLES and value
    ]
    if not names:
        return Check("proxy", DoctorVerdict.OK, "no proxy is set")
    found = f"{', '.join(sorted(names))}: set, and not used between the platform's processes"
    return Check("proxy", DoctorVerdict.OK, found)


def home(settings: Settings) -> Check:
    """Whether the home, or the nearest directory above it that exists, can be written to."""
    existing = _existing(settings.home)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Check(
            "home",
            DoctorVerdict.MISSING,
            f"{existing}: {error.strerror}",
            "set DOJO_HOME to a directory of yours",
        )
    if settings.home.exists() and is_open_to_others(settings.home):
        found = f"{settings.home.resolve()} is open to other users of this machine"
        step = (
            "dojo up closes it"
            if is_home(settings.home)
            else "set DOJO_HOME to a directory of its own"
        )
        return Check("home", DoctorVerdict.WARNING, found, step)
    return Check("home", DoctorVerdict.OK, f"{settings.home.resolve()} is writable")


def disk(settings: Settings) -> Check:
    free = shutil.disk_usage(_existing(settings.home)).free
    found = f"{free / 1e9:.1f} GB free for {settings.home.resolve()}"
    if free >= DISK_BYTES:
        return Check("disk", DoctorVerdict.OK, found)
    verdict = DoctorVerdict.WARNING if free >= DISK_FLOOR_BYTES else DoctorVerdict.MISSING
    return Check(
        "disk", verdict, found, f"free {DISK_BYTES / 1e9:g} GB, or set DOJO_HOME to another disk"
    )


def memory() -> Check:
    import psutil

    available = psutil.virtual_memory().available
    found = f"{available / 1e9:.1f} GB available"
    if available >= MEMORY_BYTES:
        return Check("memory", DoctorVerdict.OK, found)
    return Check(
        "memory",
        DoctorVerdict.WARNING,
        found,
        f"the stack and a training want {MEMORY_BYTES / 1e9:g} GB: close something",
    )


def clock() -> Check:
    """Warn about a machine clock that is behind the installed files.

    Such a clock dates events into the past and breaks TLS.
    """
    now = wall_now()
    installed = datetime.fromtimestamp(Path(dojo.__file__).stat().st_mtime, UTC)
    if now < installed:
        return Check(
            "clock",
            DoctorVerdict.WARNING,
            f"{now:%Y-%m-%d %H:%M} UTC is before this installation",
            "set the machine's clock",
        )
    return Check("clock", DoctorVerdict.OK, f"{now:%Y-%m-%d %H:%M} UTC")


def specs(settings: Settings) -> Check:
    try:
        loaded = load(settings)
    except SpecError as error:
        step = "correct the file, start in the checkout, or set DOJO_MODELS_DIR"
        return Check("model specs", DoctorVerdict.MISSING, str(error), step)
    if loaded.faults:
        faults = "\n".join(f"{model} is left out: {why}" for model, why in loaded.faults.items())
        step = "correct the file, then dojo config apply --why ..."
        return Check("model specs", DoctorVerdict.MISSING, faults, step)
    return Check("model specs", DoctorVerdict.OK, ", ".join(sorted(loaded.specs)))


def overrides(settings: Settings) -> Check:
    """Processes that start otherwise than the table says (supervisor/overrides.py)."""
    found = named_overrides(settings.home)
    told = "\n".join(f"{name}: {what}" for name, what in found.items()) or "none"
    if any(what.startswith(IGNORED) for what in found.values()):
        step = "correct or remove the file, then dojo restart NAME"
        return Check("overrides", DoctorVerdict.WARNING, told, step)
    return Check("overrides", DoctorVerdict.OK, told)


def alerting(settings: Settings) -> Check:
    """Prometheus and Alertmanager, which `dojo up` starts where they are installed."""
    off = alerting_is_off(settings)
    if not off:
        found = f"{binary(PROMETHEUS)}, {binary(ALERTMANAGER)}"
        return Check("alerts", DoctorVerdict.OK, found)
    step = how_to_install() if "not installed" in off else "DOJO_WITHOUT= dojo up brings it back"
    return Check(
        "alerts", DoctorVerdict.OPTIONAL, f"off: {off}", f"only for metrics and alerts: {step}"
    )


def optional_tool(name: str, purpose: str) -> Check:
    where = shutil.which(name)
    return (
        Check(name, DoctorVerdict.OK, where)
        if where
        else Check(name, DoctorVerdict.OPTIONAL, "not installed", f"only for {purpose}")
    )


def _existing(path: Path) -> Path:
    path = path.resolve()
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())
