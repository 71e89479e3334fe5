"""`dojo routes`: which versions answer a model's traffic, and changing that by hand. The registry's roles stay as they are."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from dojo.cli.context import (
    Desk,
    ModelArgument,
    Who,
    Why,
    Yes,
    confirm,
    desk,
    mlflow_errors_become_messages,
    registry_of,
)
from dojo.cli.output import JsonFlag, errors_become_messages, fail, out, print_json
from dojo.cli.serving.strategies import DEFAULT_WEIGHTS, Wanted, arms_of, salt_of
from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from dojo.core.registry.promotion import Change, describe, full_traffic
from dojo.core.registry.versions import CHAMPION, ModelRegistry
from dojo.core.settings import Settings
from dojo.core.spec.load import SpecError, load_spec, load_specs
from dojo.core.state.routes import STANDBY_ARM, Arm, Route, Strategy

app = typer.Typer(help="Which versions answer a model's traffic.", no_args_is_help=True)

GATEWAY_TIMEOUT = 3.0  # seconds; somebody waits at the terminal


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """Every model's route; a model without one is served by the registry's champion.

    Example: dojo routes list
    """
    with desk() as here, errors_become_messages(SpecError):
        routes = {model: here.routes.get(model) for model in load_specs(here.settings.models_dir)}
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
            table.add_row(model, str(route.generation), route.strategy, _arms(route), since, escape(route.who))
    out.print(table)


@app.command()
def show(model: ModelArgument, as_json: JsonFlag = False) -> None:
    """One model's route, what the gateway really serves, and whether the registry's champion agrees.

    Example: dojo routes show fraud_detection
    """
    with desk() as here:
        _require_spec(here.settings, model)
        route, served = here.routes.get(model), _served(here.settings, model)
        champion = _champion_if_known(registry_of(here.settings), model)
    notes = _disagreements(route, served, champion)
    if as_json:
        print_json({"model": model, "route": route, "gateway": served, "champion": champion, "notes": notes})
        return
    if route is None:
        out.print(f"{model} has no route: the registry's champion serves (generation 0)", highlight=False)
    else:
        table = Table(title=f"{model}: route {route.generation}, {route.strategy}", title_justify="left")
        for heading in ("arm", "version", "share", "mode"):
            table.add_column(heading)
        for arm in route.arms:
            table.add_row(arm.name, arm.version, f"{arm.weight:.4g}", arm.mode)
        out.print(table)
        since = f"{route.changed_at:%Y-%m-%d %H:%M}"
        out.print(f"since {since} (world), by {escape(route.who)}: {escape(route.why)}", highlight=False, soft_wrap=True)
    out.print(f"registry's champion: {champion or 'unknown'}", highlight=False)
    out.print(
        f"gateway: {'does not answer' if served is None else escape(json.dumps(served))}", highlight=False, soft_wrap=True
    )
    for note in notes:
        out.print(f"[yellow]note[/]  {escape(note)}", highlight=False, soft_wrap=True)


@app.command("set")
def set_(
    model: ModelArgument,
    strategy: Annotated[Wanted, typer.Option(help="How an arm is chosen.")],
    why: Why,
    challenger: Annotated[str, typer.Option(help="The other version; `champion` takes none.", metavar="VERSION")] = "",
    weight: Annotated[
        float | None, typer.Option(min=0.001, max=0.999, help="The challenger's share: ab 0.5, canary 0.1.", metavar="SHARE")
    ] = None,
    who: Who = "",
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Change a model's route by hand; the first arm is the registry's champion. Refused while a rollout is active.

    Example: dojo routes set fraud_detection --strategy ab --challenger 3 --weight 0.5 --why "does the bigger model catch more?"
    """
    if (strategy is Wanted.CHAMPION) == bool(challenger):
        raise fail(f"--strategy {strategy} {'takes no' if challenger else 'needs a'} --challenger", code=2)
    if weight is not None and strategy not in DEFAULT_WEIGHTS:
        raise fail(f"--strategy {strategy} takes no --weight: only ab and canary split the traffic", code=2)
    unknown = errors_become_messages(UnknownVersionError, next_step="dojo models list")
    with desk() as here, mlflow_errors_become_messages(), unknown:
        change = here.change(who, why)
        _require_spec(here.settings, model)
        here.refuse_during_a_rollout(model)
        current, registry = here.routes.get(model), registry_of(here.settings)
        champion = registry.by_alias(model, CHAMPION)
        if champion is None:
            raise fail(f"{model}: no version is champion", "dojo models promote MODEL@VERSION")
        if challenger:
            registry.get(model, challenger)
        arms = arms_of(strategy, champion.version, challenger, DEFAULT_WEIGHTS.get(strategy, 0.0) if weight is None else weight)
        salt = salt_of(current, strategy, arms, change)
        _change_route(here, registry, model, strategy.strategy, arms, change, salt, current, yes, as_json)


@app.command()
def switch(model: ModelArgument, why: Why, who: Who = "", yes: Yes = False, as_json: JsonFlag = False) -> None:
    """Blue-green: give all traffic to the warm standby, and keep the other one warm; again, and it is back. Needs no registry.

    Example: dojo routes switch fraud_detection --why "the new version answers slowly at noon"
    """
    with desk() as here:
        change = here.change(who, why)
        here.refuse_during_a_rollout(model)
        current = here.routes.get(model)
        standby = current.arm(STANDBY_ARM) if current else None
        if current is None or standby is None:
            raise fail(
                f"{model}: nothing is warm to switch to (the route is {describe(current) if current else 'the champion'})",
                f"dojo routes set {model} --strategy blue-green --challenger VERSION --why ...",
            )
        arms = full_traffic(standby.version, current.primary.version)
        registry = registry_of(here.settings)
        _change_route(here, registry, model, "blue_green", arms, change, current.salt, current, yes, as_json)


def _change_route(
    here: Desk,
    registry: ModelRegistry,
    model: str,
    strategy: Strategy,
    arms: tuple[Arm, ...],
    change: Change,
    salt: str,
    current: Route | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Confirm, change, and say what the change did not do. Raises ConflictError when somebody was faster."""
    now = describe(current) if current else "the registry's champion"
    confirm(f"{model}: {strategy}, {', '.join(f'{a.name} {a.version} {a.weight:.4g} {a.mode}' for a in arms)}; now {now}.", yes)
    route = here.champions(registry).route(
        model, strategy, arms, change, salt=salt, expected=current.generation if current else 0
    )
    champion = _champion_if_known(registry, model)
    if as_json:
        print_json({"model": model, "route": route, "champion": champion})
        return
    out.print(f"{model}: route {route.generation}, {describe(route)}", highlight=False)
    primary = route.primary.version
    if champion != primary:
        out.print(
            f"Traffic only: the registry's champion is still {champion or 'unknown'}. "
            f"To make it permanent: dojo models promote {model}@{primary} --why ...",
            highlight=False,
            soft_wrap=True,
        )


def _require_spec(settings: Settings, model: str) -> None:
    with errors_become_messages(SpecError):
        load_spec(settings.models_dir / f"{model}.yaml")


def _champion_if_known(registry: ModelRegistry, model: str) -> str | None:
    try:
        found = registry.by_alias(model, CHAMPION)
    except RegistryUnavailableError:
        return None
    return found.version if found else None


def _served(settings: Settings, model: str) -> Mapping[str, Any] | None:
    """What the gateway says of a model; None when it does not answer."""
    try:
        with urllib.request.urlopen(f"{settings.gateway_url}/healthz", timeout=GATEWAY_TIMEOUT) as answer:
            health: dict[str, Any] = json.load(answer)
    except (OSError, ValueError):
        return None
    served: Mapping[str, Any] = health.get("models", {}).get(model, {})
    return served


def _disagreements(route: Route | None, served: Mapping[str, Any] | None, champion: str | None) -> list[str]:
    notes = []
    wanted = route.primary.version if route else champion
    if route and champion and wanted != champion:
        notes.append(f"most traffic goes to version {wanted}, the registry's champion is {champion}")
    if served is not None and wanted and served.get("version") != wanted:
        notes.append(f"the gateway serves version {served.get('version')}, version {wanted} is wanted")
    if served is not None and served.get("route_problem"):
        notes.append(f"the gateway: {served['route_problem']}")
    return notes


def _arms(route: Route) -> str:
    return describe(route).partition(": ")[2]
