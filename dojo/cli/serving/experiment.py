"""`dojo experiment report`: the result of a split of the traffic."""

from __future__ import annotations

import typer
from rich.markup import escape
from rich.table import Table

from dojo.cli.context import CommandContext
from dojo.cli.naming import ModelArgument
from dojo.cli.output import JsonFlag, fail, out, print_json

app = typer.Typer(no_args_is_help=True)


@app.callback()
def experiment() -> None: ...


@app.command("report")
def report_(model: ModelArgument, as_json: JsonFlag = False) -> None:
    """The running or the latest A/B test or canary.

    It shows each arm, the difference with its interval, and whether the split holds.

    Example: dojo experiment report fraud_detection
    """
    from dojo.core.lake import Lake
    from pipelines.experiments.assignment import last_experiment, requests
    from pipelines.experiments.report import report

    with CommandContext() as here:
        spec = here.spec(model)
        found = last_experiment(here.audit.entries(), model)
        if found is None:
            raise fail(
                f"{model}: its traffic was never split",
                f"dojo routes set {model} --strategy ab --challenger VERSION --weight 0.5"
                " --why ...",
            )
    result = report(found, requests(Lake(here.settings.lake_dir), found, spec), spec)
    if as_json:
        print_json(result)
        return
    until = f"{found.until:%Y-%m-%d %H:%M}" if found.until else "now"
    title = f"{model}: {found.strategy}, {found.since:%Y-%m-%d %H:%M} to {until} (world)"
    arms = Table(
        "", *(f"{arm.name} {arm.version}" for arm in result.arms), title=title, title_justify="left"
    )
    for name in ("share", "entities", "requests", "stood_in", "labelled"):
        arms.add_row(name, *(f"{getattr(arm, name):,}" for arm in result.arms))
    for name in result.arms[0].sums:
        arms.add_row(
            name,
            *(
                f"{above:,.0f} of {below:,.0f}"
                for above, below in (arm.sums[name] for arm in result.arms)
            ),
        )
    out.print(arms)
    effects = Table(
        "challenger - champion", "champion", "challenger", "difference", "95 % interval", "verdict"
    )
    for effect in result.effects:
        if effect.difference is None:
            effects.add_row(effect.quantity, "-", "-", "-", "-", effect.status)
        else:
            effects.add_row(
                effect.quantity,
                f"{effect.champion:.4f}",
                f"{effect.challenger:.4f}",
                f"{effect.difference:+.4f}",
                f"{effect.low:+.4f} to {effect.high:+.4f}",
                effect.verdict,
            )
    out.print(effects)
    for reason in dict.fromkeys(effect.reason for effect in result.effects if effect.reason):
        out.print(f"[yellow]note[/]  {escape(reason)}", highlight=False, soft_wrap=True)
    split = result.split
    out.print(
        f"split by entity: {'as planned' if not split.fault else 'not as planned'} (p ="
        f" {split.p_value:.3g}); {split.unassigned:.2%} of the requests beside it",
        highlight=False,
    )
