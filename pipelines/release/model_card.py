"""The model card of a version in Markdown (D1.5): purpose, data, performance and limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import task_of
from feature_repo import catalog
from pipelines.training.dataset.collect import Manifest
from pipelines.training.steps import Evaluation, Fit


def model_card(
    spec: ModelSpec, manifest: Manifest, fit: Fit, evaluation: Evaluation, record: Mapping[str, str]
) -> str:
    """Return the card's text. `record` is the reproducibility record, name -> value."""
    service = catalog.SERVICES[spec.feature_service]
    features, computed = service.features, {feature.name for feature in service.request.features}
    task = task_of(spec)
    unskilled, value = task.no_skill(
        {
            **evaluation.metrics,
            "support_holdout": fit.support["holdout"],
            "rows_holdout": fit.rows["holdout"],
        }
    )
    return f"""# {spec.name}

{spec.description}
Owner: {spec.owner}. Kind: gradient-boosted trees (LightGBM, {fit.trees} trees), served as ONNX.
Label: `{spec.label.truth}` of each of the {spec.label.event}.

## Intended use

{task.intended_use(evaluation.decision)}

## Data

Examples are the {spec.label.event} from {manifest.start:%Y-%m-%d} to {manifest.end:%Y-%m-%d} \
(world time, end excluded), with the labels that had arrived by
{manifest.as_of:%Y-%m-%d %H:%M} UTC. Every label is final {
        format_duration(spec.label.delay.maximum)
    } after its event.

| part | examples | {task.support_name} |
|---|---:|---:|
{
        _rows(
            (name, f"{fit.rows[name]:,}", f"{fit.support[name]:,}")
            for name in ("train", "validation", "holdout")
        )
    }

The parts follow each other in time. Trees and decisions were chosen on the validation part; \
the figures below are of the holdout.

## Performance on the holdout

| metric | value |
|---|---:|
{_rows((task.metrics[name].title, f"{figure:.4f}") for name, figure in evaluation.metrics.items())}
| {unskilled} | {value:.4f} |

## Inputs

{len(features)} features of the service `{spec.feature_service}`: \
{len([f for f in features if f not in computed])} stored, \
{len([f for f in features if f in computed])} computed in the request. The five that matter most:

| feature | share of gain |
|---|---:|
{_rows(_top_features(fit))}

Personal data: {", ".join(catalog.personal_keys(spec.feature_service))} (pseudonymous); \
it selects feature values and is not an input itself.
{_regulated(spec)}
## Limits

- Labels are what was reported. A wrong report teaches the model the wrong thing.
- A change of the world is learned from its first labels on, \
up to {format_duration(spec.label.delay.maximum)} after it began.
- Entities without history ({", ".join(spec.entities)}) get zeros; \
the gateway says `cold_start` for them.
- Results on {format_duration(spec.training.holdout)} of one shop say little about other shops \
or about what has not happened yet.

## Reproduce

`dojo reproduce {spec.name}@VERSION` rebuilds this version and compares it.

| what | value |
|---|---|
{_rows((name, f"`{value}`") for name, value in record.items())}
"""


def _regulated(spec: ModelSpec) -> str:
    """Return the paragraph of a regulated model. Empty for others."""
    if spec.regulated is None:
        return ""
    return (
        f"\nIt decides about people. `{spec.regulated.protected}` is recorded for audits and is no"
        " input. The gate's\nreport compares its groups. `dojo explain ID --letter` writes to a"
        " refused person.\n"
    )


def _top_features(fit: Fit) -> list[tuple[str, str]]:
    total = sum(fit.importance.values()) or 1.0
    top = sorted(fit.importance.items(), key=lambda item: -item[1])[:5]
    return [(f"`{name}`", f"{gain / total:.1%}") for name, gain in top]


def _rows(cells: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
