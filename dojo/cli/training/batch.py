"""`dojo score` and `dojo compare`: whole days scored at once, and what that costs beside online."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from datetime import timedelta
from http.client import HTTPException
from typing import TYPE_CHECKING, Annotated

import typer

from dojo.cli.context import CommandContext
from dojo.cli.naming import ModelArgument, RequiredModel
from dojo.cli.output import JsonFlag, errors_become_messages, fail, out, print_json, progress_bar
from dojo.cli.training.terminal import parse_date, quiet_libraries

if TYPE_CHECKING:
    from dojo.core.settings import Settings
    from pipelines.batch_scoring.record import Equality
    from pipelines.batch_scoring.side_by_side import Figures

score_app = typer.Typer(no_args_is_help=True)
compare_app = typer.Typer(no_args_is_help=True)

GATEWAY_SECONDS = 5.0  # wall time. A busy gateway answers a scrape within one.

Day = Annotated[
    str | None,
    typer.Option(
        help="World day, such as 2018-06-10. Default: the latest finished one.",
        show_default=False,
        metavar="DATE",
    ),
]


@score_app.command()
def batch(
    model: ModelArgument,
    day: Day = None,
    version: Annotated[
        str | None,
        typer.Option(help="The version that scores. Default: the champion.", show_default=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Score every request of a world day at once, into the lake.

    A killed run goes on where it was. A repeated one changes nothing. Where the spec has a `batch`
    section, each entity's newest score goes to the online store too.

    Example: dojo score batch fraud_detection --day 2018-06-10
    """
    from dojo.core.registry.bundle import CorruptBundleError
    from pipelines.batch_scoring.once import score_day
    from pipelines.training.errors import RefusedError

    quiet_libraries()
    wanted = parse_date(day) if day else None
    with (
        CommandContext() as here,
        errors_become_messages(RefusedError, CorruptBundleError),
        progress_bar("asking the registry") as progress,
    ):
        here.require_model(model)
        run = score_day(here.settings, model, wanted, version, progress)
    if as_json:
        print_json(run)
        return
    online = "not asked for by the spec" if run.online is None else f"{run.online:,} entities"
    out.print(
        f"{model}@{run.version}: {run.rows or 0:,} requests of {run.day} scored; online store:"
        f" {online}",
        highlight=False,
    )
    if run.equality is not None:
        _print_equality(run.equality)


@score_app.command()
def show(
    model: RequiredModel,
    key: Annotated[str, typer.Argument(help="Key of the model's first entity.", metavar="KEY")],
    as_json: JsonFlag = False,
) -> None:
    """Read an entity's newest batch score from the online store.

    Example: dojo score show return_risk c42
    """
    from dojo.core.connections import connect_redis
    from feature_repo.online_layout import MalformedValueError
    from feature_repo.online_scores import OnlineScores

    with CommandContext() as here, errors_become_messages(MalformedValueError):
        section, now = here.spec(model).batch, here.now()
        if section is None:
            raise fail(
                f"{model}: its spec has no batch section, so no score of it goes online",
                f"{here.settings.models_dir}/{model}.yaml",
            )
        online = connect_redis(here.settings.online_store)
        found = OnlineScores(online, model).read(key, now, section.keep_online)
    if found is None:
        raise fail(
            f"{model}: no batch score of {key} that still counts", f"dojo score batch {model}"
        )
    age = now - found.world_time
    if as_json:
        print_json({**found._asdict(), "age_seconds": age.total_seconds()})
        return
    flag = "" if found.flagged is None else f", {'flagged' if found.flagged else 'not flagged'}"
    out.print(
        f"{key}: {found.score:.6g} by {model}@{found.version}, request of"
        f" {found.world_time:%Y-%m-%d %H:%M}, {age / timedelta(days=1):.1f} days old{flag}",
        highlight=False,
    )


@compare_app.command("batch-online")
def batch_online(model: ModelArgument, day: Day = None, as_json: JsonFlag = False) -> None:
    """Latency and cost per 1,000 predictions: a finished batch run beside the online answers.

    Example: dojo compare batch-online fraud_detection
    """
    from rich.table import Table

    from dojo.core.lake import Lake
    from pipelines.batch_scoring.record import latest_run
    from pipelines.batch_scoring.side_by_side import side_by_side

    with CommandContext() as here:
        here.require_model(model)
        settings = here.settings
        run = latest_run(settings.home, model, parse_date(day) if day else None)
        if run is None:
            raise fail(
                f"{model}: no finished batch run{f' of {day}' if day else ''}",
                f"dojo score batch {model}",
            )
        found = side_by_side(
            run, Lake(settings.lake_dir), _gateway_metrics(settings), settings.core_hour_price
        )
    if as_json:
        print_json(found)
        return
    table = Table(
        "",
        "online",
        "batch",
        title=f"{model}@{found.version}, requests of {found.day}",
        title_justify="left",
    )
    rows: dict[str, Callable[[Figures], str]] = {
        "predictions": lambda way: f"{way.predictions:,}",
        "latency p50, ms": lambda way: _number(way.latency_p50, 1000),
        "latency p99, ms": lambda way: _number(way.latency_p99, 1000),
        "processor ms each": lambda way: _number(way.processor_seconds, 1000),
        "cost per 1,000": lambda way: _number(way.cost_per_1000, 1),
    }
    for name, cell in rows.items():
        table.add_row(name, cell(found.online), cell(found.batch))
    out.print(table)
    out.print(
        f"cost: processor time at {found.price:g} per core-hour (DOJO_CORE_HOUR_PRICE)",
        highlight=False,
    )
    for name, way in (("online", found.online), ("batch", found.batch)):
        _print_fault(name, way)
    if found.equality is not None:
        _print_equality(found.equality)


def _number(value: float | None, factor: float) -> str:
    return "-" if value is None else f"{value * factor:.4g}"


def _print_fault(name: str, way: Figures) -> None:
    if way.why_not:
        out.print(f"{name}: not all measured, {way.why_not}", highlight=False, soft_wrap=True)


def _print_equality(found: Equality) -> None:
    out.print(
        f"against online answers: {found.compared:,} compared, {found.same_features:,} with the"
        f" same features, {found.wrong:,} of them with another answer (largest difference"
        f" {found.largest:.1g})",
        highlight=False,
        soft_wrap=True,
    )
    if found.differing:
        features = ", ".join(f"{name} {count:,}" for name, count in found.differing.items())
        out.print(
            f"features differed: {features}; requests such as {', '.join(found.examples)}",
            highlight=False,
            soft_wrap=True,
        )


def _gateway_metrics(settings: Settings) -> str | None:
    try:
        with urllib.request.urlopen(
            f"{settings.gateway_url}/metrics", timeout=GATEWAY_SECONDS
        ) as answer:
            text: str = answer.read().decode()
            return text
    except (OSError, HTTPException):
        return None
