"""`dojo routes`: which versions answer a model's traffic, and changing that by hand.

The registry's roles stay as they are.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from dojo.actions import routes as actions
from dojo.actions.registry import faults_if_known
from dojo.actions.routes import RoutePlan, Wanted, champion_if_known
from dojo.cli.context import CommandContext, Who, Why, Yes, confirm
from dojo.cli.naming import ModelArgument
from dojo.cli.output import JsonFlag, out, print_json
from dojo.core.registry.promotion import Change, describe
from dojo.core.state.routes import Route, disagreement

if TYPE_CHECKING:
    from dojo.core.settings import Settings

app = typer.Typer(no_args_is_help=True)

GATEWAY_TIMEOUT = 3.0  # seconds, because a person waits at the terminal


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """Every model's route. The registry's champion serves a model without a route.

    Example: dojo routes list
    """
    with CommandContext() as here:
        routes = {model: here.routes.get(model) for model in here.models}
    if as_json:
        print_json(routes)
        return
    table = Table()
    for heading in ("model", "generation", "strategy", "arms", "since (world)", "who"):
        table.add_column(heading)
    for model, route in routes.items():
        if route is None:
            table.add_row(model, "0", "champion", "the registry's champion", "-", "-")
        else:
            since = f"{route.changed_at:%Y-%m-%d %H:%M}"
            table.add_row(
                model, str(route.generation), route.strategy, _arms(route), since, escape(route.who)
            )
    out.print(table)


@app.command()
def show(model: ModelArgument, as_json: JsonFlag = False) -> None:
    """One model's route, what the gateway really serves, and whether the champion agrees.

    Example: dojo routes show fraud_detection
    """
    with CommandContext() as here:
        route, served = here.routes.get(here.require_model(model)), _served(here.settings, model)
        champion, faults = champion_if_known(here, model), faults_if_known(here, model)
    notes = [*_disagreements(route, served, champion), *(str(fault) for fault in faults)]
    if as_json:
        print_json(
            {
                "model": model,
                "route": route,
                "gateway": served,
                "champion": champion,
                "notes": notes,
            }
        )
        return
    if route is None:
        out.print(
            f"{model} has no route: the registry's champion serves (generation 0)", highlight=False
        )
    else:
        table = Table(
            title=f"{model}: route {route.generation}, {route.strategy}", title_justify="left"
        )
        for heading in ("arm", "version", "share", "mode"):
            table.add_column(heading)
        for arm in route.arms:
            table.add_row(arm.name, arm.version, f"{arm.weight:.4g}", arm.mode)
        out.print(table)
        since = f"{route.changed_at:%Y-%m-%d %H:%M}"
        out.print(
            f"since {since} (world), by {escape(route.who)}: {escape(route.why)}",
            highlight=False,
            soft_wrap=True,
        )
    out.print(f"registry's champion: {_named(champion)}", highlight=False)
    out.print(
        f"gateway: {'does not answer' if served is None else escape(json.dumps(served))}",
        highlight=False,
        soft_wrap=True,
    )
    for note in notes:
        out.print(f"[yellow]note[/]  {escape(note)}", highlight=False, soft_wrap=True)


@app.command("set")
def set_(
    model: ModelArgument,
    strategy: Annotated[Wanted, typer.Option(help="How an arm is chosen.")],
    why: Why,
    challenger: Annotated[
        str, typer.Option(help="The other version. `champion` takes none.", metavar="VERSION")
    ] = "",
    weight: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=0.999,
            help="The challenger's share: ab 0.5, canary 0.1.",
            metavar="SHARE",
        ),
    ] = None,
    who: Who = "",
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Change a model's route by hand. Refused while a rollout is active.

    The first arm is the registry's champion.

    Example: dojo routes set fraud_detection --strategy ab --challenger 3 --weight 0.5 --why "does
    the bigger model catch more?"
    """
    with CommandContext() as here:
        change = here.change(who, why)
        _carry_out(
            here,
            actions.plan_route(here, model, strategy, change, challenger, weight),
            change,
            yes,
            as_json,
        )


@app.command()
def switch(
    model: ModelArgument, why: Why, who: Who = "", yes: Yes = False, as_json: JsonFlag = False
) -> None:
    """Blue-green: give all traffic to the warm standby, and keep the other version warm.

    A second call switches back. It needs no registry.

    Example: dojo routes switch fraud_detection --why "the new version answers slowly at noon"
    """
    with CommandContext() as here:
        change = here.change(who, why)
        _carry_out(here, actions.plan_switch(here, model), change, yes, as_json)


def _carry_out(
    here: CommandContext, plan: RoutePlan, change: Change, yes: bool, as_json: bool
) -> None:
    """Confirm, change, and say what the change did not do."""
    confirm(plan, yes)
    route, champion = actions.change_route(here, plan, change), champion_if_known(here, plan.model)
    if as_json:
        print_json({"model": plan.model, "route": route, "champion": champion})
        return
    out.print(f"{plan.model}: route {route.generation}, {describe(route)}", highlight=False)
    primary = route.primary.version
    if champion != primary:
        out.print(
            f"Traffic only: the registry's champion is still {_named(champion)}. "
            f"To make it permanent: dojo models promote {plan.model}@{primary} --why ...",
            highlight=False,
            soft_wrap=True,
        )


def _named(champion: str | None) -> str:
    return "unknown" if champion is None else champion or "none"


def _served(settings: Settings, model: str) -> Mapping[str, Any] | None:
    """The gateway's report on a model. None when it does not answer."""
    try:
        with urllib.request.urlopen(
            f"{settings.gateway_url}/healthz", timeout=GATEWAY_TIMEOUT
        ) as answer:
            health: dict[str, Any] = json.load(answer)
    except (OSError, ValueError):
        return None
    served: Mapping[str, Any] = health.get("models", {}).get(model, {})
    return served


def _disagreements(
    route: Route | None, served: Mapping[str, Any] | None, champion: str | None
) -> list[str]:
    wanted = route.primary.version if route else champion
    notes = [note] if (note := disagreement(route, champion)) else []
    if served is not None and wanted and served.get("version") != wanted:
        notes.append(
            f"the gateway serves version {served.get('version')}, version {wanted} is wanted"
        )
    if served is not None and served.get("route_problem"):
        notes.append(f"the gateway: {served['route_problem']}")
    return notes


def _arms(route: Route) -> str:
    return describe(route).partition(": ")[2]
