"""`dojo bandit`: gives more traffic to the versions that earn more."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.markup import escape
from rich.table import Table

from dojo.actions import bandits as actions
from dojo.cli.context import CommandContext, Who, Why
from dojo.cli.naming import ModelArgument
from dojo.cli.output import JsonFlag, out, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from dojo.actions.desk import Desk
    from dojo.core.registry.promotion import Change
    from dojo.core.spec.bandit import PolicyName
    from dojo.core.state.bandits import ArmState, Bandit

app = typer.Typer(no_args_is_help=True)


class PolicyOption(StrEnum):
    """Policies as the command line spells them."""

    THOMPSON = "thompson"
    EPSILON_GREEDY = "epsilon-greedy"
    LINEAR = "linear"


@app.command()
def start(
    model: ModelArgument,
    why: Why,
    arms: Annotated[
        str, typer.Option(help="Versions, the champion's among them.", metavar="VERSION,VERSION")
    ] = "",
    policy: Annotated[
        PolicyOption, typer.Option(help="How rewards become shares.")
    ] = PolicyOption.THOMPSON,
    who: Who = "",
    as_json: JsonFlag = False,
) -> None:
    """Split a model's traffic by the rewards of its versions.

    The limits are in the spec's section `bandit`. `dojo routes set` ends it too.

    Example: dojo bandit start banner --arms 1,2 --why "which one earns more?"
    """
    with CommandContext() as here:
        versions = [version.strip() for version in arms.split(",") if version.strip()]
        name = cast("PolicyName", policy.value.replace("-", "_"))
        begun = actions.start(here, model, versions, name, here.change(who, why))
    _say(begun, as_json, f"started. Follow it: dojo bandit show {model}")


@app.command()
def show(model: ModelArgument, as_json: JsonFlag = False) -> None:
    """Shares, rewards and pending answers of each arm, and the estimated regret.

    Example: dojo bandit show banner
    """
    with CommandContext() as here:
        bandit = actions.latest_bandit(here, model)
    if as_json:
        print_json(bandit)
        return
    state = "active" if bandit.active else f"ended: {bandit.ended_why}"
    if bandit.active and bandit.paused_by:
        state = f"paused by {bandit.paused_by}"
    unit = "an entity keeps its arm" if bandit.draw.sticky else "each request is drawn anew"
    out.print(
        f"{model}: {bandit.policy} since {bandit.started:%Y-%m-%d %H:%M} (world), {unit};"
        f" {escape(state)}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table()
    for heading in ("arm", "version", "share", "answers", "rewarded", "pending", "no label"):
        table.add_column(heading)
    table.add_column("earned, euro")
    table.add_column("per 1,000 answers, 95 %")
    states = {one.name: one for one in bandit.states}
    for arm in bandit.arms:
        table.add_row(arm.name, arm.version, f"{arm.weight:.1%}", *_figures(states.get(arm.name)))
    out.print(table)
    if bandit.draw.context is not None:
        names = ", ".join(one.name for one in bandit.draw.context.inputs)
        out.print(f"Shares are for a usual request. They depend on {names}.", highlight=False)
    if bandit.regret is not None:
        out.print(
            f"regret so far, estimated: {bandit.regret:.2f} euro below the arm that looks best",
            highlight=False,
        )
    for name, why in bandit.closed.items():
        out.print(f"[yellow]note[/]  {name} lost its traffic: {escape(why)}", soft_wrap=True)


@app.command()
def pause(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Keep the shares as they are. A broken version still loses its traffic.

    Example: dojo bandit pause banner --why "a sale begins"
    """
    _say(_after(actions.pause, model, who, why), as_json, "paused: its shares stay")


@app.command()
def resume(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Let the shares move again.

    Example: dojo bandit resume banner --why "the sale is over"
    """
    _say(_after(actions.resume, model, who, why), as_json, "resumed")


@app.command()
def stop(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """End the bandit and give all traffic to the champion.

    Example: dojo bandit stop banner --why "version 2 earns more"
    """
    ended = _after(actions.stop, model, who, why)
    version = ended.arms[0].version
    _say(
        ended,
        as_json,
        f"stopped: version {version} has all the traffic. Another champion: dojo models promote"
        f" {model}@VERSION --why ...",
    )


def _after(action: Callable[[Desk, str, Change], Bandit], model: str, who: str, why: str) -> Bandit:
    with CommandContext() as here:
        return action(here, model, here.change(who, why))


def _say(bandit: Bandit, as_json: bool, words: str) -> None:
    if as_json:
        print_json(bandit)
    else:
        out.print(f"{bandit.model}: bandit {words}", highlight=False, soft_wrap=True)


def _figures(state: ArmState | None) -> tuple[str, ...]:
    if state is None:
        return ("-",) * 6
    counts = (state.answers, state.rewarded, state.pending, state.unlabelled)
    mean = (
        "-"
        if state.mean is None or state.low is None or state.high is None
        else f"{1000 * state.mean:.2f} ({1000 * state.low:.2f} to {1000 * state.high:.2f})"
    )
    return (*(f"{count:,}" for count in counts), f"{state.earned:,.2f}", mean)
