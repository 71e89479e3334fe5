"""`dojo performance`: how good the running model is, as far as outcomes have arrived.

The figures come from dojo/core/performance.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from dojo.cli.context import CommandContext
from dojo.cli.naming import ModelArgument
from dojo.cli.output import JsonFlag, WatchFlag, out, print_json
from dojo.cli.output import watch as keep_showing


def performance(
    model: ModelArgument,
    since: Annotated[
        str,
        typer.Option(
            help="First world time of predictions, e.g. 2018-06-24T00:00 (UTC).", metavar="TIME"
        ),
    ] = "",
    until: Annotated[
        str, typer.Option(help="World time before which predictions were made.", metavar="TIME")
    ] = "",
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """How good a model's predictions turned out, by version, as far as outcomes have arrived.

    Of a regulated model it also says how far apart the answers for two groups are.

    Example: dojo performance fraud_detection --since 2018-06-24T00:00
    """
    from dojo.cli.training.terminal import parse_time

    start, end = parse_time(since) if since else None, parse_time(until) if until else None
    with CommandContext() as here:
        if watch:
            keep_showing(lambda: _show(here, model, start, end, as_json))
        else:
            _show(here, model, start, end, as_json)


def _show(
    here: CommandContext, model: str, start: datetime | None, end: datetime | None, as_json: bool
) -> bool:
    from rich.table import Table

    from dojo.core.judging.gaps import MEASURES
    from dojo.core.lake import Lake
    from dojo.core.performance import judged_predictions, measure_by_version
    from dojo.core.protected import live_gaps
    from dojo.core.tasks.specs import task_of
    from dojo.shop.events import SHOP_EVENTS

    spec, lake = here.spec(model), Lake(here.settings.lake_dir)
    judged = judged_predictions(lake, model, start, end)
    rows = measure_by_version(judged, task_of(spec))
    fairness = live_gaps(lake, spec, SHOP_EVENTS[spec.label.event].key, judged)
    if as_json:
        answer = {"model": model, "since": start, "until": end, "versions": rows}
        print_json(answer | ({"fairness": fairness} if fairness else {}))
        return False
    # One column per version. More rows than columns fit a narrow terminal.
    table = Table(
        "",
        *(row.version for row in rows),
        title=f"{model}: predictions and their outcomes",
        title_justify="left",
    )
    hidden = ("hidden",) if rows[0].hidden else ()
    for name in ("predictions", "labelled", *hidden):
        table.add_row(name, *(f"{getattr(row, name):,}" for row in rows))
    for name in rows[0].figures:
        figures = [row.figures[name] for row in rows]
        shown = (
            "-" if figure.value is None else f"{figure.value:.4f} of {figure.rows:,}"
            for figure in figures
        )
        table.add_row(name, *shown)
    table.add_row(
        "degraded_share",
        *("-" if row.degraded_share is None else f"{row.degraded_share:.4f}" for row in rows),
    )
    table.add_row("status", *(row.status for row in rows))
    out.print(table)
    for gap in fairness:
        verdict = "too far apart" if gap.verdict == "veto" else gap.verdict
        said = f"{MEASURES[gap.rate]}, at most {gap.limit:.0%} apart: {verdict}, {gap.words}"
        out.print(said, highlight=False, soft_wrap=True)
    for row in rows:
        if row.status == "insufficient_data":
            out.print(
                f"version {row.version}: insufficient_data, {row.reason}",
                highlight=False,
                soft_wrap=True,
            )
    return True
