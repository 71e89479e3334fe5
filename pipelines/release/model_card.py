"""The model card: what a version is, what it learned from, how well it does and where its limits are, in Markdown (D1.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dojo.core.spec.durations import format_duration
from dojo.core.spec.load import ModelSpec
from feature_repo import catalog
from pipelines.training.dataset.collect import Manifest
from pipelines.training.steps import Evaluation, Fit

METRIC_NAMES = {
    "pr_auc": "PR-AUC (average precision)",
    "roc_auc": "ROC-AUC",
    "precision_at_1pct_fpr": "Precision at 1 % false positives",
    "recall_at_50pct_precision": "Recall at 50 % precision",
    "brier_score": "Brier score (lower is better)",
    "expected_calibration_error": "Expected calibration error (lower is better)",
    "recall_at_threshold": "Recall at the decision threshold",
    "false_positive_rate_at_threshold": "False-positive rate at the decision threshold",
}


def model_card(spec: ModelSpec, manifest: Manifest, fit: Fit, evaluation: Evaluation, record: Mapping[str, str]) -> str:
    """The card's text. `record`: the reproducibility record, name -> value."""
    service = catalog.SERVICES[spec.feature_service]
    features, computed = service.features, {feature.name for feature in service.request.features}
    base_rate = fit.positives["holdout"] / fit.rows["holdout"]
    return f"""# {spec.name}

{spec.description}
Owner: {spec.owner}. Kind: gradient-boosted trees (LightGBM, {fit.trees} trees), served as ONNX.
Positive class (label 1): {spec.label.positive_class}.

## Intended use

Scores a card payment before it is authorised; payments at or above {evaluation.threshold:.4f} are flagged for review.
The score is a probability; it is not an accusation, and a person decides about a flagged customer.

## Data

Payments from {manifest.start:%Y-%m-%d} to {manifest.end:%Y-%m-%d} (world time, end excluded), with the labels that had arrived by
{manifest.as_of:%Y-%m-%d %H:%M} UTC. A payment without a report after {format_duration(spec.label.delay.maximum)} counts as legitimate.

| part | payments | positives |
|---|---:|---:|
{_rows((name, f"{fit.rows[name]:,}", f"{fit.positives[name]:,}") for name in ("train", "validation", "holdout"))}

The parts follow each other in time. Trees and threshold were chosen on the validation part; the figures below are of the holdout.

## Performance on the holdout

| metric | value |
|---|---:|
{_rows((METRIC_NAMES[name], f"{value:.4f}") for name, value in evaluation.metrics.items())}
| PR-AUC of a random score | {base_rate:.4f} |

## Inputs

{len(features)} features of the service `{spec.feature_service}`: {len([f for f in features if f not in computed])} stored, \
{len([f for f in features if f in computed])} computed in the request. The five that matter most:

| feature | share of gain |
|---|---:|
{_rows(_top_features(fit))}

Personal data: {", ".join(catalog.personal_keys(spec.feature_service))} (pseudonymous); it selects feature values and is not an input itself.

## Limits

- Labels are reported positives. What nobody reports teaches the model that it was legitimate.
- A newly compromised merchant looks normal until its first labels count: {format_duration(spec.label.delay.maximum)} after the payments.
- Customers and merchants without history get zeros; the gateway says `cold_start` for them.
- Past results on one shop's {format_duration(spec.training.holdout)} say little about other shops or about fraud that has not happened yet.

## Reproduce

`dojo reproduce {spec.name}@VERSION` rebuilds this version and compares it.

| what | value |
|---|---|
{_rows((name, f"`{value}`") for name, value in record.items())}
"""


def _top_features(fit: Fit) -> list[tuple[str, str]]:
    total = sum(fit.importance.values()) or 1.0
    top = sorted(fit.importance.items(), key=lambda item: -item[1])[:5]
    return [(f"`{name}`", f"{gain / total:.1%}") for name, gain in top]


def _rows(cells: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
