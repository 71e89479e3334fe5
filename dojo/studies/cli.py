"""`dojo study`: long experiments in a smaller town, and their stored results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, fail, note, out, print_json

if TYPE_CHECKING:
    from dojo.studies.results import Study, Week

Kind = TypeVar("Kind")

app = typer.Typer(
    no_args_is_help=True, help="Long experiments in a smaller town, and their stored results."
)


@app.callback()
def study() -> None:
    """Long experiments in a smaller town, and their stored results."""


@app.command("selective-labels")
def selective_labels(
    run: Annotated[
        bool, typer.Option("--run", help="Make the experiment again. Goes on where it ended.")
    ] = False,
    weeks: Annotated[int, typer.Option(help="Number of weeks of a run.", min=1, max=104)] = 26,
    customers: Annotated[
        int, typer.Option(help="Size of the town of a run.", min=200, max=5000)
    ] = 800,
    as_json: JsonFlag = False,
) -> None:
    """What a model learns, believes and costs once the shop acts on its answers.

    Four shops live through the same half year. Without --run, the newest result on this machine is
    shown. Without any, it is the project's own. A run takes five to ten minutes on two cores.

    Example: dojo study selective-labels --run
    """
    from dojo.studies.results import STORED, Study

    with CommandContext() as here:
        if run:
            found, path = _run(here, weeks, customers)
        else:
            found, path = _stored(here, STORED, Study, "dojo study selective-labels --run")
    if as_json:
        print_json(found)
        return
    _show(found, path)


@app.command("bandits")
def bandits(
    run: Annotated[
        bool, typer.Option("--run", help="Make the experiment again. Goes on where it ended.")
    ] = False,
    towns: Annotated[int, typer.Option(help="Number of towns of a run.", min=1, max=100)] = 4,
    days: Annotated[int, typer.Option(help="Days of a run.", min=28, max=365)] = 112,
    customers: Annotated[
        int, typer.Option(help="Size of the towns of a run.", min=200, max=20_000)
    ] = 5000,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the curves into this SVG file.", metavar="FILE")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """What bandits lose beside an A/B test while labels are late, by the world's own truth.

    Without --run, the newest result on this machine is shown. Without any, it is the project's own.
    A run takes three minutes on two cores.

    Example: dojo study bandits --run
    """
    from dojo.studies.bandit_view import draw, tables
    from dojo.studies.results import STORED_BANDITS, BanditStudy

    with CommandContext() as here:
        if run:
            from dojo.studies.bandit_run import run_bandits

            told = -1

            def progress(finished: int, of: int) -> None:
                nonlocal told
                if finished != told:
                    note(f"{finished} of {of} towns")
                    told = finished

            spec = here.settings.models_dir / "banner.yaml"
            found, path = run_bandits(spec, here.settings.home, towns, days, customers, progress)
        else:
            found, path = _stored(here, STORED_BANDITS, BanditStudy, "dojo study bandits --run")
    if picture is not None:
        draw(found, picture)
    if as_json:
        print_json(found)
        return
    for table in tables(found):
        out.print(table)
    out.print(
        "Clicks lost to the best version of each visit: mean of the towns, least and most."
        " --json has the curves.",
        soft_wrap=True,
    )
    out.print(f"[dim]{path}[/]", highlight=False, soft_wrap=True)


def _stored(here: CommandContext, project: Path, kind: type[Kind], again: str) -> tuple[Kind, Path]:
    """Return the newest result on this machine, else the project's own, and its file.

    Args:
        project: File of the project's own result.
        kind: What the file holds.
        again: Command that makes a new result.
    """
    import msgspec

    from dojo.studies.results import read_study

    own = here.settings.home / "studies" / project.name
    path = own if own.exists() else project
    try:
        return read_study(path, kind), path
    except (OSError, msgspec.MsgspecError) as error:
        raise fail(f"{path}: {error}", again) from error


def _run(here: CommandContext, weeks: int, customers: int) -> tuple[Study, Path]:
    from dojo.cli.training.terminal import quiet_libraries
    from dojo.studies.run import run_study

    quiet_libraries()
    told: dict[str, int] = {}

    def progress(lived: dict[str, int]) -> None:
        for shop, count in lived.items():
            if count and told.get(shop) != count:
                note(f"{_title(shop)}: week {count} of {weeks}")
                told[shop] = count

    spec = here.settings.models_dir / "fraud_detection.yaml"
    return run_study(spec, here.settings.home, weeks, customers, progress)


def _show(found: Study, path: Path) -> None:
    from rich.table import Table

    table = Table(
        title=f"selective labels: {found.customers:,} customers, made {found.made:%Y-%m-%d} in"
        f" {found.seconds / 60:.0f} min of processor time",
        title_justify="left",
    )
    table.add_column("shop")
    for name in ("weeks", "believed caught", "caught", "PR-AUC", "false positives", "euro a day"):
        table.add_column(name, justify="right")
    for shop, weeks in found.shops.items():
        table.add_row(
            _title(shop),
            str(len(weeks)),
            f"{_mean(weeks, 'believed_catch'):.0%}",
            f"{_mean(weeks, 'true_catch'):.0%}",
            f"{_mean(weeks, 'true_pr_auc'):.3f}",
            f"{_mean(weeks, 'false_positives'):.2%}",
            f"{_mean(weeks, 'euro_per_day'):,.0f}",
        )
    out.print(table)
    out.print(
        "Means over the weeks. Believed is by the labels that the shop gets, and the rest by the"
        " truth. --json has every week.",
        soft_wrap=True,
    )
    out.print(f"[dim]{path}[/]", highlight=False, soft_wrap=True)


def _mean(weeks: list[Week], figure: str) -> float:
    return float(sum(getattr(week, figure) for week in weeks) / len(weeks))


def _title(shop: str) -> str:
    return shop.replace("_", " ").replace(" percent", " %")
