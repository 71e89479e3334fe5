"""The results of studies. They stand beside this file, with their date."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

STORED = Path(__file__).with_name("selective_labels.json")
STORED_BANDITS = Path(__file__).with_name("bandits.json")

Kind = TypeVar("Kind")


class Week(msgspec.Struct, frozen=True, kw_only=True):
    """One week of one shop. Rates are fractions.

    Attributes:
        week: Number of the week, from 0.
        flagged: Number of flagged payments.
        frauds: Number of frauds among all payments.
        believed_catch: Catch rate by the labels that the shop gets to know, with their weights.
        true_catch: Catch rate by the truth.
        believed_pr_auc: PR-AUC by the known labels. None without both kinds.
        true_pr_auc: PR-AUC by the truth.
        false_positives: False-positive rate by the truth.
        euro_per_day: Value of the declines against letting everything pass.
    """

    week: int
    flagged: int
    frauds: int
    believed_catch: float
    true_catch: float
    believed_pr_auc: float | None
    true_pr_auc: float
    false_positives: float
    euro_per_day: float


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run.

    Attributes:
        made: When it ended, UTC.
        seconds: Processor time of all weeks together.
        customers: Size of the town.
        spec: Hash of the model's spec.
        shops: Shop -> its weeks.
    """

    made: datetime
    seconds: float
    customers: int
    spec: str
    shops: dict[str, list[Week]]


class RegretCurve(msgspec.Struct, frozen=True, kw_only=True):
    """One policy in one scenario, over all towns. Curves have a point per `point_days`.

    Attributes:
        regret: Mean of the clicks lost so far.
        low: The same of the town with the least.
        high: The same of the town with the most.
        shares: Mean share of each version in the last week.
        answers: Mean number of visits that got the champion.
    """

    regret: list[float]
    low: list[float]
    high: list[float]
    shares: list[float]
    answers: float


class BanditStudy(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run of the bandits.

    Attributes:
        made: When it ended, UTC.
        seconds: Processor time of all towns together.
        customers: Size of each town.
        days: Days of each town.
        towns: Number of towns.
        spec: Hash of the model's spec.
        euro_per_click: What a click is worth.
        point_days: Days between two points of a curve.
        scenarios: Scenario -> policy -> its curve.
    """

    made: datetime
    seconds: float
    customers: int
    days: int
    towns: int
    spec: str
    euro_per_click: float
    point_days: int
    scenarios: dict[str, dict[str, RegretCurve]]


def read_study(path: Path, kind: type[Kind]) -> Kind:
    """Read a finished run.

    Raises:
        OSError: It cannot be read.
        msgspec.MsgspecError: It is no finished run.
    """
    return msgspec.json.decode(path.read_bytes(), type=kind)


def write_study(study: Study | BanditStudy, path: Path) -> None:
    """Write a finished run, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(study), indent=1) + b"\n")
    temporary.replace(path)
