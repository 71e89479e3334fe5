"""`dojo models`: what is in the registry, and which roles the versions hold."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from dojo.cli.output import JsonFlag, errors_become_messages, fail, out, print_json
from dojo.registry import ModelRegistry, RegistryUnavailableError, UnknownVersionError, Version
from dojo.settings import load_settings

app = typer.Typer(help="Registered model versions.", no_args_is_help=True)

NEXT_STEP = "Is MLflow running? dojo status"


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """Every registered version, newest last, with its alias and its holdout PR-AUC.

    Example: dojo models list
    """
    with errors_become_messages(RegistryUnavailableError, next_step=NEXT_STEP):
        registry = _registry()
        versions = [version for model in registry.models() for version in registry.versions(model)]
    if as_json:
        print_json([_summary(version) for version in versions])
        return
    if not versions:
        out.print("No versions yet. Train one: dojo train fraud_detection", highlight=False)
        return
    table = Table()
    for heading in ("model", "version", "alias", "PR-AUC", "trained as of (world)"):
        table.add_column(heading)
    for version in versions:
        tags = version.tags
        table.add_row(
            version.model,
            version.version,
            ", ".join(version.aliases) or "-",
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
    with (
        errors_become_messages(UnknownVersionError, next_step="dojo models list"),
        errors_become_messages(RegistryUnavailableError, next_step=NEXT_STEP),
    ):
        found = _find(_registry(), model, wanted or "champion")
    if as_json:
        print_json({**_summary(found), "run_id": found.run_id, "source": found.source, "tags": dict(found.tags)})
        return
    table = Table(title=f"{found.model} version {found.version}", title_justify="left", show_header=False)
    table.add_row("alias", ", ".join(found.aliases) or "-")
    table.add_row("run", found.run_id)
    table.add_row("source", found.source)
    for name, value in sorted(found.tags.items()):
        table.add_row(name, value)
    out.print(table)


def _find(registry: ModelRegistry, model: str, wanted: str) -> Version:
    if wanted.isdigit():
        return registry.get(model, wanted)
    found = registry.by_alias(model, wanted)
    if found is None:
        raise fail(f"{model}: no version is its {wanted!r}", "dojo models list")
    return found


def _summary(version: Version) -> dict[str, object]:
    metrics = {name.removeprefix("metric."): float(value) for name, value in version.tags.items() if name.startswith("metric.")}
    return {
        "model": version.model,
        "version": version.version,
        "aliases": list(version.aliases),
        "as_of": version.tags.get("as_of"),
        "metrics": metrics,
    }


def _registry() -> ModelRegistry:
    # Somebody waits at the terminal: fail within seconds when MLflow is away.
    return ModelRegistry(load_settings().mlflow, timeout_seconds=5, retries=1)
