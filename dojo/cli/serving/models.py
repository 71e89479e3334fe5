"""`dojo models`: the fleet, the registry's versions, their roles, and changing them by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from dojo.cli.context import CommandContext, Who, Why, Yes, confirm
from dojo.cli.naming import ModelArgument, VersionArgument, complete_version, model_version
from dojo.cli.output import JsonFlag, WatchFlag, err, fail, out, print_json
from dojo.cli.output import watch as keep_showing
from dojo.cli.serving import scaffold
from dojo.core.registry.tags import APPROVAL, GATE_VERDICT, ROLLED_BACK

if TYPE_CHECKING:
    from dojo.actions.roles import Roles
    from dojo.core.registry.versions import ModelRegistry, Version

app = typer.Typer(invoke_without_command=True)
app.command()(scaffold.new)
app.command()(scaffold.check)


@app.callback()
def models(ctx: typer.Context, watch: WatchFlag = False, as_json: JsonFlag = False) -> None:
    """Models, their versions and roles. Alone: the fleet, one line per model, the worst first.

    A line says who owns the model, what is wrong, and what is done about it.

    Example: dojo models
    """
    if ctx.invoked_subcommand is None:
        from dojo.cli.serving.fleet import show as show_fleet

        keep_showing(lambda: show_fleet(as_json)) if watch else show_fleet(as_json)


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """Every registered version, newest last, with roles, the gate's verdict and holdout PR-AUC.

    Example: dojo models list
    """
    with CommandContext() as here:
        versions = [
            version for model in here.registry.models() for version in here.registry.versions(model)
        ]
    if as_json:
        print_json([_summary(version) for version in versions])
        return
    if not versions:
        out.print("No versions yet. Train one: dojo train MODEL", highlight=False)
        return
    table = Table()
    for heading in (
        "model",
        "version",
        "roles",
        "gate",
        "approved by",
        "metric",
        "trained as of (world)",
    ):
        table.add_column(heading)
    for version in versions:
        tags, metric = version.tags, version.tags.primary_metric or ""
        table.add_row(
            version.model,
            version.version,
            ", ".join(_roles(version)) or "-",
            tags.gate_verdict or "-",
            escape(tags.approval.who) if tags.approval else "-",
            f"{metric} {tags.metrics[metric]:.4f}" if metric in tags.metrics else "-",
            f"{tags.as_of:%Y-%m-%dT%H:%M}" if tags.as_of else "-",
        )
    out.print(table)


@app.command()
def show(
    version: Annotated[
        str,
        typer.Argument(
            help="MODEL, MODEL@VERSION or MODEL@ALIAS. MODEL alone is its champion.",
            autocompletion=complete_version,
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """One version with everything recorded about it.

    Example: dojo models show fraud_detection@1
    """
    model, _, wanted = version.partition("@")
    with CommandContext() as here:
        found = _find(here.registry, model, wanted or "champion")
        fault = here.registry.seal_fault(found)
    if as_json:
        print_json(
            {
                **_summary(found),
                "run_id": found.run_id,
                "source": found.source,
                "seal_fault": fault or None,
                "tags": found.tags.raw,
            }
        )
        return
    table = Table(
        title=f"{found.model} version {found.version}", title_justify="left", show_header=False
    )
    table.add_row("roles", ", ".join(found.aliases) or "-")
    tags = found.tags
    table.add_row("gate", tags.gate_verdict or "-")
    table.add_row(
        "approval",
        (
            escape(f"{tags.approval.who}, {tags.approval.when}: {tags.approval.why}")
            if tags.approval
            else "-"
        ),
    )
    table.add_row("record", f"[bold red]{escape(fault)}[/]" if fault else "as it was registered")
    if tags.rolled_back is not None:
        table.add_row("rolled back", escape(tags.rolled_back))
    table.add_row("run", found.run_id)
    table.add_row("source", found.source)
    for name, value in sorted(tags.raw.items()):
        if name not in (GATE_VERDICT, APPROVAL, ROLLED_BACK):
            table.add_row(name, escape(value))
    out.print(table)


@app.command()
def promote(
    version: VersionArgument,
    why: Why,
    who: Who = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also a version that did not win at the gate or was rolled back."
        ),
    ] = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a version champion by hand, at once, without shadow and canary.

    The old champion stays warm beside it.

    Example: dojo models promote fraud_detection@2 --why "an outage of the feature store stopped the
    rollout"
    """
    from dojo.actions import roles

    model, number = model_version(version)
    with CommandContext() as here:
        change = here.change(who, why)
        plan = roles.plan_promotion(here, model, number, force)
        confirm(plan, yes)
        _say(roles.promote(here, plan, change), as_json)


@app.command()
def rollback(
    model: ModelArgument,
    why: Why,
    to: Annotated[
        str,
        typer.Option(
            help="The version that gets its role back. Default: the previous champion.",
            metavar="VERSION",
        ),
    ] = "",
    who: Who = "",
    force: Annotated[
        bool,
        typer.Option("--force", help="Also while a rollout is active. Its controller gives way."),
    ] = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Give all traffic, and the role, back to the previous champion, or to MODEL@VERSION.

    With MODEL@VERSION the traffic moves even while MLflow is down.

    Example: dojo models rollback fraud_detection --why "declines doubled since noon"
    """
    from dojo.actions import roles

    model, _, version = model.partition("@")
    with CommandContext() as here:
        change = here.change(who, why)
        plan = roles.plan_rollback(here, model, to or version, force)
        if not plan.known:
            err.print(
                f"MLflow does not answer: whether there is a version {escape(to or version)} shows"
                " when the gateway loads it."
            )
        confirm(plan, yes)
        _say(roles.roll_back(here, plan, change), as_json)


@app.command()
def restore(
    model: ModelArgument, why: Why, who: Who = "", yes: Yes = False, as_json: JsonFlag = False
) -> None:
    """Put back what was changed in MLflow past the platform.

    This is the champion's role, tags, run or experiment. The traffic stays as it is.

    Example: dojo models restore fraud_detection --why "its role was removed in MLflow"
    """
    from dojo.actions import registry

    with CommandContext() as here:
        change, plan = here.change(who, why), registry.plan_restoration(here, model)
        confirm(plan, yes)
        left = registry.restore(here, plan, change)
    if as_json:
        print_json({"model": model, "restored": plan.faults, "left": left})
        return
    for fault in plan.faults:
        out.print(f"{model}: mended: {escape(fault.what)}", highlight=False, soft_wrap=True)
    for fault in left:
        out.print(f"[yellow]note[/]  {escape(str(fault))}", highlight=False, soft_wrap=True)


@app.command()
def retire(
    model: ModelArgument, why: Why, who: Who = "", yes: Yes = False, as_json: JsonFlag = False
) -> None:
    """Record that no version is champion any more. The next training is the model's first.

    It is for a model that is deleted for good in MLflow.

    Example: dojo models retire fraud_detection --why "its registered model was deleted in MLflow"
    """
    from dojo.actions import registry

    with CommandContext() as here:
        change, plan = here.change(who, why), registry.plan_retirement(here, model)
        confirm(plan, yes)
        registry.retire(here, plan, change)
    if as_json:
        print_json({"model": model, "retired": plan.serving})
        return
    out.print(
        f"{model}: version {plan.serving} is retired. Its next first version: dojo train {model}",
        highlight=False,
    )


@app.command(hidden=True)
def approve(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """The old name of `dojo rollout approve`, which starts the rollout that waits for approval."""
    from dojo.cli.serving import rollout

    rollout.approve(model, why, who, as_json)


@app.command()
def seal(
    version: VersionArgument,
    why: Why,
    who: Who = "",
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Vouch for a version's record as MLflow has it now. Its bundle is checked first.

    It is for a lost key or a changed tag.

    Example: dojo models seal fraud_detection@2 --why "older than seals; its run has the same
    hashes"
    """
    from dojo.actions import roles

    model, number = model_version(version)
    with CommandContext() as here:
        change = here.change(who, why)
        confirm(
            f"{model}: version {number} may be served with the hashes that MLflow has now.", yes
        )
        sealed = roles.seal(here, model, number, change)
    if as_json:
        print_json({"model": model, "version": number, "sealed": sealed.tags.sealed})
    else:
        out.print(
            f"{model}: version {number} is sealed; the gateway tries it again within 30 s",
            highlight=False,
        )


def _say(roles: Roles, as_json: bool) -> None:
    from dojo.core.registry.promotion import describe

    if as_json:
        print_json(roles)
        return
    holders = f"champion {roles.champion}, previous champion {roles.previous_champion or '-'}"
    out.print(f"{roles.model}: {holders}", highlight=False)
    out.print(f"route {roles.route.generation}, {describe(roles.route)}", highlight=False)


def _find(registry: ModelRegistry, model: str, wanted: str) -> Version:
    if wanted.isdigit():
        return registry.get(model, wanted)
    found = registry.by_alias(model, wanted)
    if found is None:
        raise fail(f"{model}: no version is its {wanted!r}", "dojo models list")
    return found


def _roles(version: Version) -> list[str]:
    return [*version.aliases, *(["rolled back"] if version.tags.rolled_back is not None else [])]


def _summary(version: Version) -> dict[str, object]:
    tags = version.tags
    return {
        "model": version.model,
        "version": version.version,
        "aliases": list(version.aliases),
        "gate": tags.gate_verdict,
        "approval": tags.approval,
        "rolled_back": tags.rolled_back,
        "as_of": tags.as_of.isoformat() if tags.as_of else None,
        "metrics": tags.metrics,
    }
