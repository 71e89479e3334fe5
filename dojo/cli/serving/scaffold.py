"""`dojo models new` and `dojo models check`: a model from a name to its first figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, fail, out, print_json

if TYPE_CHECKING:
    from dojo.scaffold.check import CheckReport
    from dojo.scaffold.draft import Draft


def new(
    name: Annotated[str, typer.Argument(help="Name of the model.", show_default=False)],
    task: Annotated[
        str, typer.Option(help="Kind of prediction: binary, regression, ranking.", metavar="TASK")
    ],
    entities: Annotated[
        str,
        typer.Option(
            help="What its features describe, separated by commas. The first one cuts segments.",
            metavar="NAME,NAME",
        ),
    ],
    truth: Annotated[
        str,
        typer.Option(
            help=(
                "What its label says (dojo/shop/truths.py). Default: the first that fits task and"
                " entities."
            ),
            metavar="TRUTH",
        ),
    ] = "",
    owner: Annotated[str, typer.Option(help="The team that owns it.", metavar="TEAM")] = "my-team",
    into: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Write into this directory instead of the checkout. The features join by"
                " DOJO_FEATURE_MODULES."
            ),
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a new model: its spec, its features and their test.

    It writes all files or none. They work as they are, and are yours to change.

    Example: [bold]dojo models new basket_value --task regression --entities customer[/]

    Example: [bold]dojo models new regret --task binary --entities product --truth returned
    --into ~/my-models[/]
    """
    import feature_repo
    from dojo.core.spec.names import model_names
    from dojo.scaffold.draft import DraftError, draft
    from dojo.scaffold.write import files_of, write

    with CommandContext() as here:
        running = model_names(here.settings.models_dir, here.settings.models)
        taken = set(model_names(here.settings.models_dir, ("all",)))
    checkout = Path(feature_repo.__file__).parents[1]
    if into is None and not (checkout / "models").is_dir():
        raise fail(f"{checkout}: no checkout to write into", "give --into DIR", code=2)
    root = into.expanduser().absolute() if into else None
    taken |= set(model_names(checkout / "models", ("all",)))
    try:
        made = draft(
            name, task, [one for one in entities.split(",") if one], truth, owner, root, taken
        )
        files = files_of(made, checkout)
        write(files)
    except DraftError as error:
        raise fail(str(error), "dojo models new --help", code=2) from error
    except OSError as error:
        raise fail(f"nothing was written: {error}") from error
    paths = [str(path if root else path.relative_to(checkout)) for path in files]
    steps = _next_steps(made, [] if root else running)
    if as_json:
        print_json({"model": name, "truth": made.truth, "files": paths, "next": steps})
        return
    out.print(f"{name}: {made.task} of {made.truth}, {made.facts.says}", highlight=False)
    for path in paths:
        out.print(f"  {escape(path)}", highlight=False, soft_wrap=True)
    out.print("[bold]next[/]", highlight=False)
    for step in steps:
        out.print(f"  {escape(step)}", highlight=False, soft_wrap=True)


def _next_steps(made: Draft, running: list[str]) -> list[str]:
    tests = f"tests/unit/feature_repo/{made.name}"
    settings = []
    if made.into:
        tests = str(made.into / "tests" / made.name)
        settings = [
            f"export PYTHONPATH={made.into} DOJO_MODELS_DIR={made.into / 'models'}",
            f"export DOJO_FEATURE_MODULES={made.package}",
        ]
    return [
        *settings,
        f"python -m pytest {tests}",
        f"dojo models check {made.name}",
        f"dojo up --models {','.join((*running, made.name))}",
        f"dojo train {made.name}",
    ]


def check(
    name: Annotated[str, typer.Argument(help="Name of the model.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Validate a model, train it without servers, and measure quality, memory and latency.

    It learns from the lake of this home, where that has labels of the model. Otherwise it makes a
    small world. Exit code 1 says that the model cannot run as it is.

    Example: [bold]dojo models check basket_value[/]
    """
    with CommandContext() as here:
        file = here.settings.models_dir / f"{name}.yaml"
    if not file.is_file():
        raise fail(f"no model {name}: {file} is missing", "dojo models new --help", code=2)
    from dojo.scaffold.check import run

    report = run(name)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report.faults:
        raise typer.Exit(1)


def _print(report: CheckReport) -> None:
    for fault in report.faults:
        out.print(f"[bold red]fault[/]  {escape(fault)}", highlight=False, soft_wrap=True)
    if report.backtest is None or report.cost is None or report.latency_slo_seconds is None:
        return
    test, cost = report.backtest, report.cost
    table = Table(title=report.model, title_justify="left", show_header=False)
    table.add_row("history", escape(test.history))
    for part, rows in test.rows.items():
        table.add_row(part, f"{rows:,} rows")
    table.add_row(test.metric, f"{test.value:.4f}")
    table.add_row(test.baseline, f"{test.baseline_value:.4f}")
    table.add_row("better than that", "yes" if test.better else "[yellow]no[/]")
    table.add_row("training", f"{test.seconds:.1f} s")
    table.add_row("bundle", f"{cost.bytes / 1e3:,.0f} kB")
    table.add_row("memory of a scoring process", f"+{cost.memory_bytes / 1e6:.1f} MB")
    table.add_row(
        "scoring a row, p50 and p99",
        f"{cost.p50_seconds * 1e6:.0f} and {cost.p99_seconds * 1e6:.0f} µs",
    )
    share = cost.p99_seconds / report.latency_slo_seconds
    table.add_row(
        "of the answer's limit", f"{share:.2%} of {report.latency_slo_seconds * 1e3:.0f} ms"
    )
    out.print(table)
