"""How well the running model does, as far as outcomes have arrived (D16).

A prediction is judged once its payment's outcome is in the lake; both meet by request_id = transaction_id. With too few
labels a figure is missing and its reason is named: "insufficient_data" is never "ok".
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
import polars as pl
import typer

from dojo.cli.output import JsonFlag, errors_become_messages, out, print_json
from dojo.events import Stream
from dojo.lake import Lake
from dojo.statistics.classification import MINIMUM_FRAUDS, pr_auc

# Fewer legitimate payments are insufficient data too: 1,000 leave a false-positive rate of 1 % +-0.6 percentage points (95 %).
MINIMUM_LEGITIMATE = 1000

Status = Literal["measured", "insufficient_data"]


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Of one version, or of all (`version` "all"). Rates are fractions; None where `status` is insufficient_data.

    Attributes:
        labelled: predictions whose outcome has arrived; fraud_caught to false_positives count only these.
        degraded_share: of all predictions, those whose answer named a degradation.
    """

    version: str
    predictions: int
    labelled: int
    frauds: int
    fraud_caught: int
    fraud_missed: int
    false_positives: int
    degraded_share: float | None
    status: Status
    reason: str
    catch_rate: float | None
    false_positive_rate: float | None
    pr_auc: float | None


def judged_predictions(lake: Lake, model: str, since: datetime | None = None, until: datetime | None = None) -> pl.DataFrame:
    """A model's predictions with since <= world_time < until, one per request (the latest answer), `label` null until known.

    Columns: request_id, version, score, flagged, is_degraded, label.
    """
    predictions = (
        lake.scan(Stream.PREDICTIONS, since, until)
        .filter(pl.col("model") == model)
        .select(
            "request_id",
            "version",
            "score",
            "flagged",
            "wall_time",
            (pl.col("degraded").list.len() > 0).alias("is_degraded"),
        )
        .sort("wall_time")
        .unique("request_id", keep="last", maintain_order=True)
    )
    # Of every time: a prediction has the gateway's clock, an outcome its payment's, which may be behind `since`.
    outcomes = lake.scan(Stream.OUTCOMES).select("transaction_id", "label").unique("transaction_id")
    joined = predictions.join(outcomes, left_on="request_id", right_on="transaction_id", how="left")
    return joined.drop("wall_time").collect()


def measure(judged: pl.DataFrame, version: str = "all") -> Performance:
    """Performance of the rows of `judged_predictions`."""
    labelled = judged.filter(pl.col("label").is_not_null())
    labels, scores = labelled["label"].to_numpy(), labelled["score"].to_numpy()
    flagged = labelled["flagged"].to_numpy()
    frauds, legitimate = int((labels == 1).sum()), int((labels == 0).sum())
    caught, false_positives = int((flagged & (labels == 1)).sum()), int((flagged & (labels == 0)).sum())
    enough = frauds >= MINIMUM_FRAUDS and legitimate >= MINIMUM_LEGITIMATE
    return Performance(
        version=version,
        predictions=len(judged),
        labelled=len(labelled),
        frauds=frauds,
        fraud_caught=caught,
        fraud_missed=frauds - caught,
        false_positives=false_positives,
        degraded_share=int(judged["is_degraded"].sum()) / len(judged) if len(judged) else None,
        status="measured" if enough else "insufficient_data",
        reason=""
        if enough
        else f"needs {MINIMUM_FRAUDS} labelled frauds and {MINIMUM_LEGITIMATE:,} legitimate payments, has {frauds:,} and {legitimate:,}",
        catch_rate=caught / frauds if enough else None,
        false_positive_rate=false_positives / legitimate if enough else None,
        pr_auc=pr_auc(labels, scores) if enough else None,
    )


def measure_by_version(judged: pl.DataFrame) -> list[Performance]:
    """All versions together first, then each that answered, in order of their numbers; "0" is the spec's fallback."""
    versions = sorted(judged["version"].unique().to_list(), key=lambda v: (not v.isdigit(), int(v) if v.isdigit() else 0, v))
    return [measure(judged), *(measure(judged.filter(pl.col("version") == v), v) for v in versions)]


def performance(
    model: Annotated[str, typer.Argument(help="The model's name.", metavar="MODEL")],
    since: Annotated[
        str, typer.Option(help="First world time of predictions, e.g. 2018-06-24T00:00 (UTC).", metavar="TIME")
    ] = "",
    until: Annotated[str, typer.Option(help="World time that predictions are before.", metavar="TIME")] = "",
    as_json: JsonFlag = False,
) -> None:
    """What a model's predictions turned out to be worth, by version, as far as outcomes have arrived.

    Example: dojo performance fraud_detection --since 2018-06-24T00:00
    """
    from rich.table import Table

    from dojo.settings import load_settings
    from dojo.specs import SpecError, load_spec
    from pipelines.retraining.terminal import parse_time

    settings = load_settings()
    with errors_become_messages(SpecError):
        load_spec(settings.models_dir / f"{model}.yaml")
    start, end = parse_time(since) if since else None, parse_time(until) if until else None
    rows = measure_by_version(judged_predictions(Lake(settings.lake_dir), model, start, end))
    if as_json:
        print_json({"model": model, "since": start, "until": end, "versions": rows})
        return
    # One column per version: more rows than columns fit a narrow terminal.
    table = Table("", *(row.version for row in rows), title=f"{model}: predictions and their outcomes", title_justify="left")
    for name in ("predictions", "labelled", "fraud_caught", "fraud_missed", "false_positives"):
        table.add_row(name, *(f"{getattr(row, name):,}" for row in rows))
    for name in ("catch_rate", "false_positive_rate", "pr_auc", "degraded_share"):
        values = [getattr(row, name) for row in rows]
        table.add_row(name, *("-" if value is None else f"{value:.4f}" for value in values))
    table.add_row("status", *(row.status for row in rows))
    out.print(table)
    for row in rows:
        if row.status == "insufficient_data":
            out.print(f"version {row.version}: insufficient_data, {row.reason}", highlight=False, soft_wrap=True)
