"""`dojo train`, `dojo reproduce`, `dojo backtest`.

Heavy imports happen inside the commands, so `dojo --help` stays quick.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from dojo.cli.context import CommandContext, Who
from dojo.cli.naming import ModelArgument, VersionArgument, model_version
from dojo.cli.output import JsonFlag, errors_become_messages, note, out, print_json
from dojo.cli.training.terminal import (
    parse_date,
    parse_mapping,
    parse_time,
    quiet_libraries,
    say,
    workspace,
)
from dojo.cli.world.past import wait_for_past
from dojo.core.severity import marked


def train(
    model: ModelArgument,
    as_of: Annotated[
        str,
        typer.Option(
            help="World time to train at, e.g. 2018-06-24T00:00 (UTC). The default is now.",
            metavar="TIME",
        ),
    ] = "",
    why: Annotated[
        str, typer.Option(help="The reason. It goes into the audit trail.", metavar="TEXT")
    ] = "trained by hand",
    who: Who = "",
    as_json: JsonFlag = False,
) -> None:
    """Train and register a version from the lake, without a comparison.

    The first version becomes champion, or waits for approval where the spec requires it. A later
    one waits as challenger. The command is meant for a model's first version and for trials. The
    guarded way to the next version is dojo retrain, with gate and rollout.

    Example: dojo train fraud_detection
    """
    from dojo.core.registry.versions import CHAMPION
    from dojo.core.tasks.specs import task_of
    from pipelines.retraining import run_retraining
    from pipelines.tasks import REFUSALS
    from pipelines.training.dataset.build import feature_hash
    from pipelines.training.errors import RetrainingRunningError
    from pipelines.training.job import Job, key_by_hand
    from pipelines.training.steps import read_evaluation, read_fit

    quiet_libraries()
    with (
        CommandContext() as here,
        errors_become_messages(RetrainingRunningError),
        errors_become_messages(
            *REFUSALS, next_step=f"Mend what it says, then train again: dojo train {model}"
        ),
    ):
        support_name = task_of(here.spec(model)).support_name
        wait_for_past(here.settings)
        # This asks Redis, which records the version's role. Without Redis no version is made.
        world_time = here.now_if_set()
        moment = parse_time(as_of) if as_of else world_time or here.now()
        spec = (here.settings.models_dir / f"{model}.yaml").read_bytes()
        job = Job(
            model=model,
            key=key_by_hand(moment, spec, None, "ungated", f"features.{feature_hash()[:8]}"),
            as_of=moment,
            reason=why,
            who=who,
            gate=False,
        )
        answer = run_retraining(job, here.settings, say)
        left = job.workspace(here.settings.home)
        fit, evaluation = read_fit(left), read_evaluation(left)

    note = (
        "the model's first version: it is the champion, which serving uses"
        if answer["alias"] == CHAMPION
        else "waits until another person approves it, and the fallback answers: dojo models promote"
        f" {model}@{answer['version']} --why ... --who ..."
        if answer.get("waits")
        else (
            "waits as challenger, compared with nothing; the champion keeps serving. The guarded"
            f" way: dojo retrain {model}"
        )
    )
    answer |= {
        "note": note,
        "rows": fit.rows,
        "support": fit.support,
        "trees": fit.trees,
        "decision": evaluation.decision,
        "metrics": evaluation.metrics,
        "onnx_parity_difference": fit.parity_difference,
    }
    if as_json:
        print_json(answer)
        return
    table = Table(
        title=f"{model} version {answer['version']}: {answer['alias']}",
        title_justify="left",
        show_header=False,
    )
    for part, rows in fit.rows.items():
        table.add_row(part, f"{rows:,} rows, {fit.support[part]:,} {support_name}")
    for name, value in evaluation.metrics.items():
        table.add_row(name, f"{value:.4f}")
    for name, value in evaluation.decision.items():
        table.add_row(name, f"{value:.4f}")
    table.add_row("trees", str(fit.trees))
    table.add_row(
        "seconds", ", ".join(f"{step} {seconds:g}" for step, seconds in answer["seconds"].items())
    )
    out.print(table)
    out.print(f"Version {answer['version']}: {note}.", highlight=False, soft_wrap=True)


def reproduce(
    version: VersionArgument,
    as_json: JsonFlag = False,
) -> None:
    """Rebuild a version from its record and compare.

    Exit code 0 means that model file and metrics are the same.

    Example: dojo reproduce fraud_detection@1
    """
    from dojo.core.lake import Lake
    from dojo.core.registry.bundle import CorruptBundleError
    from dojo.core.registry.versions import ModelRegistry
    from pipelines.reproduce import reproduce as rebuild
    from pipelines.reproduce import reproduced
    from pipelines.training.errors import TrainingRefusedError

    model, number = model_version(version)
    quiet_libraries()
    with (
        CommandContext() as here,
        errors_become_messages(TrainingRefusedError, CorruptBundleError),
        workspace(here.settings.home) as directory,
    ):
        registry = ModelRegistry.of(here.settings)
        comparisons = rebuild(
            registry, Lake(here.settings.lake_dir), registry.get(model, number), directory, say
        )

    same = reproduced(comparisons)
    if as_json:
        lines = [
            {"what": c.what, "agrees": c.agrees, "recorded": c.recorded, "rebuilt": c.rebuilt}
            for c in comparisons
        ]
        print_json({"version": version, "reproduced": same, "comparisons": lines})
    else:
        for line in comparisons:
            verdict = marked("agrees" if line.agrees else "differs")
            found = (
                ""
                if line.agrees
                else f"\n        recorded {line.recorded}\n        rebuilt  {line.rebuilt}"
            )
            out.print(f"{verdict} {line.what}{escape(found)}", highlight=False, soft_wrap=True)
        out.print(f"{version} is {'reproduced' if same else 'NOT reproduced'}", highlight=False)
    if not same:
        raise typer.Exit(1)


def backtest(
    transactions: Annotated[
        Path,
        typer.Option(help="CSV or Parquet of transactions; known column names are recognised."),
    ],
    train_start: Annotated[
        str, typer.Option(help="First training day, e.g. 2018-06-10.", metavar="DATE")
    ],
    train_days: Annotated[int, typer.Option(min=1, max=3650, help="Days of training.")] = 7,
    delay_days: Annotated[
        int,
        typer.Option(
            min=0,
            max=3650,
            help="Days until a label is known; unused days between training and test.",
        ),
    ] = 7,
    test_days: Annotated[int, typer.Option(min=1, max=3650, help="Days of test.")] = 7,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="Their column = our column, for names that are not recognised.",
            metavar="A=B",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="The spec whose features and parameters are used.")
    ] = "fraud_detection",
    as_json: JsonFlag = False,
) -> None:
    """Train and test on a file under the public book's protocol.

    The protocol trains, waits for labels, and tests on the days after. Features are defined with
    labels that are at least 7 days old. With a longer --delay-days labels arrive later, and
    features know less. A shorter one only shrinks the gap between training and test.

    Example: dojo backtest --transactions transactions.parquet --train-start 2018-06-10
    --train-days 7 --delay-days 7 --test-days 7
    """
    import msgspec

    from dojo.shop.datasets import DatasetError, read_transactions
    from pipelines.backtest.protocol import Period, ProtocolError
    from pipelines.backtest.run import backtest as run_backtest

    quiet_libraries()
    with (
        CommandContext() as here,
        errors_become_messages(DatasetError, ProtocolError),
        TemporaryDirectory(prefix="dojo-backtest-") as directory,
    ):
        period = Period(parse_date(train_start), train_days, delay_days, test_days)
        spec = here.spec(model)
        rows = read_transactions(
            transactions, parse_mapping(mapping or []), say, future_allowed=True, note=note
        )
        result = run_backtest(rows, spec, period, Path(directory), say)
    if as_json:
        print_json(result)
        return
    table = Table(title=f"{model} on {transactions.name}", title_justify="left", show_header=False)
    for name, value in msgspec.to_builtins(result).items():
        table.add_row(
            name,
            (
                f"{value:,}"
                if isinstance(value, int)
                else f"{value:.4f}"
                if name in METRICS
                else str(value)
            ),
        )
    out.print(table)


METRICS = ("pr_auc", "roc_auc", "card_precision_at_100")
