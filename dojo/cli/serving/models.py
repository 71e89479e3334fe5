"""`dojo models`: what is in the registry, which roles the versions hold, and changing them (dojo/cli/serving/roles.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from dojo.cli.context import mlflow_errors_become_messages, registry_of
from dojo.cli.output import JsonFlag, errors_become_messages, fail, out, print_json
from dojo.cli.serving import roles
from dojo.core.registry.errors import UnknownVersionError
from dojo.core.registry.versions import APPROVAL_TAG, GATE_TAG, ROLLED_BACK_TAG, ModelRegistry, Version
from dojo.core.settings import load_settings

app = typer.Typer(help="Registered model versions, their roles, and who gets which.", no_args_is_help=True)
app.command()(roles.promote)
app.command()(roles.rollback)
app.command()(roles.approve)


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """Every registered version, newest last, with its roles, the gate's verdict and its holdout PR-AUC.

    Example: dojo models list
    """
    with mlflow_errors_become_messages():
        registry = registry_of(load_settings())
        versions = [version for model in registry.models() for version in registry.versions(model)]
    if as_json:
        print_json([_summary(version) for version in versions])
        return
    if not versions:
        out.print("No versions yet. Train one: dojo train fraud_detection", highlight=False)
        return
    table = Table()
    for heading in ("model", "version", "roles", "gate", "approved by", "PR-AUC", "trained as of (world)"):
        table.add_column(heading)
    for version in versions:
        tags = version.tags
        table.add_row(
            version.model,
            version.version,
            ", ".join(_roles(version)) or "-",
            tags.get(GATE_TAG, "-"),
            escape(_approval(tags).get("who", "-")),
            tags.get("metric.pr_auc", "-")[:6],
            tags.get("as_of", "-")[:16],
        )
    out.print(table)


@app.command()
def show(
    version: Annotated[str, typer.Argument(help="MODEL, MODEL@VERSION or MODEL@ALIAS; MODEL alone is its champion.")],
    as_json: JsonFlag = False,
) -> None:
    """One version with everything recorded about it.

    Example: dojo models show fraud_detection@1
    """
    model, _, wanted = version.partition("@")
    with errors_become_messages(UnknownVersionError, next_step="dojo models list"), mlflow_errors_become_messages():
        found = _find(registry_of(load_settings()), model, wanted or "champion")
    if as_json:
        print_json({**_summary(found), "run_id": found.run_id, "source": found.source, "tags": dict(found.tags)})
        return
    table = Table(title=f"{found.model} version {found.version}", title_justify="left", show_header=False)
    table.add_row("roles", ", ".join(found.aliases) or "-")
    table.add_row("gate", found.tags.get(GATE_TAG, "-"))
    approval = _approval(found.tags)
    table.add_row("approval", escape(f"{approval['who']}, {approval['when']}: {approval['why']}") if approval else "-")
    if ROLLED_BACK_TAG in found.tags:
        table.add_row("rolled back", escape(found.tags[ROLLED_BACK_TAG]))
    table.add_row("run", found.run_id)
    table.add_row("source", found.source)
    for name, value in sorted(found.tags.items()):
        if name not in (GATE_TAG, APPROVAL_TAG, ROLLED_BACK_TAG):
            table.add_row(name, escape(value))
    out.print(table)


def _find(registry: ModelRegistry, model: str, wanted: str) -> Version:
    if wanted.isdigit():
        return registry.get(model, wanted)
    found = registry.by_alias(model, wanted)
    if found is None:
        raise fail(f"{model}: no version is its {wanted!r}", "dojo models list")
    return found


def _roles(version: Version) -> list[str]:
    return [*version.aliases, *(["rolled back"] if ROLLED_BACK_TAG in version.tags else [])]


def _approval(tags: Mapping[str, str]) -> Mapping[str, str]:
    """who, when and why, as `dojo models approve` wrote them; empty when nobody approved."""
    return msgspec.json.decode(tags[APPROVAL_TAG], type=dict[str, str]) if APPROVAL_TAG in tags else {}


def _summary(version: Version) -> dict[str, object]:
    metrics = {name.removeprefix("metric."): float(value) for name, value in version.tags.items() if name.startswith("metric.")}
    return {
        "model": version.model,
        "version": version.version,
        "aliases": list(version.aliases),
        "gate": version.tags.get(GATE_TAG),
        "approval": _approval(version.tags) or None,
        "rolled_back": version.tags.get(ROLLED_BACK_TAG),
        "as_of": version.tags.get("as_of"),
        "metrics": metrics,
    }
