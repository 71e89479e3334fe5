"""From a window to a page in MLflow: read both sides, draw, attach to the version's run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from dojo.core.lake import Lake
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import ModelRegistry
from dojo.core.settings import Settings
from dojo.core.tasks.specs import load_spec
from pipelines.drift_report.rows import (
    EmptyWindowError,
    NoReferenceError,
    reference_side,
    window_side,
)
from pipelines.release.tracking import tracking_client, tracking_errors

__all__ = ["DriftReport", "EmptyWindowError", "NoReferenceError", "build"]

REPORTS_PATH = "drift_reports"


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The location and the content of a report.

    Attributes:
        url: Address of the page in MLflow's UI. `str()` of a report gives it.
        run_id: The run in MLflow.
        artifact: Path of the page in the run.
        drifted: Features (and `score`) beyond threshold and chance, the worst first.
        share: Share of drifted columns among all columns.
        reference_rows: Sampled reference rows.
        current_rows: Sampled rows of the window.
        window_rows: Comparable predictions in the window.
    """

    url: str
    run_id: str
    artifact: str
    drifted: tuple[str, ...]
    share: float
    reference_rows: int
    current_rows: int
    window_rows: int

    def __str__(self) -> str:
        return self.url


def build(
    settings: Settings, model: str, version: str, start: datetime, end: datetime
) -> DriftReport:
    """Draw one version's predictions in start <= world time < end beside its reference rows.

    Attaches the page to the version's run. Takes about 15 seconds. Repeating it replaces the page
    by an equal one.

    Raises:
        NoReferenceError: The version has no reference rows.
        EmptyWindowError: The version answered nothing in the window.
        UnknownVersionError: MLflow has no such version.
        RegistryUnavailableError: MLflow does not answer.
        SpecError: There is no such model.
        ValueError: The window ends before it begins, or has no time zone.
    """
    if start.tzinfo is None or end.tzinfo is None or not start < end:
        raise ValueError(
            f"expected start < end with time zones, got {start.isoformat()} and {end.isoformat()}"
        )
    spec = load_spec(settings.models_dir / f"{model}.yaml")
    registry = ModelRegistry.of(settings)
    found = registry.get(model, version)
    reference = reference_side(registry, found)
    current, window_rows = window_side(
        Lake(settings.lake_dir), model, version, start, end, reference.columns
    )

    # Evidently brings SciPy and pandas, so it is imported only when there is something to draw.
    from pipelines.drift_report.page import draw

    first, last = (moment.astimezone(UTC) for moment in (start, end))
    page = draw(
        reference,
        current,
        spec.drift,
        f"{model} version {version}: {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} (world time,"
        " UTC)",
        {
            "current": f"{current.height:,} of the window's {window_rows:,} predictions",
            "reference": f"{reference.height:,} rows of the version's holdout",
            "counts as drifted": (
                f"PSI from {spec.drift.thresholds.warning:g} on, and beyond what chance reaches for"
                " these rows"
            ),
        },
    )
    artifact = f"{REPORTS_PATH}/version-{version}_{first:%Y%m%dT%H%M}_{last:%Y%m%dT%H%M}.html"
    with (
        TemporaryDirectory() as directory,
        tracking_errors(model, f"drift report of version {version}"),
    ):
        file = Path(directory) / Path(artifact).name
        file.write_text(page.html, encoding="utf-8")
        experiment = tracking_client(registry).get_run(found.run_id).info.experiment_id
        tracking_client(registry).log_artifact(found.run_id, str(file), REPORTS_PATH)
    url = f"{settings.mlflow}/#/experiments/{experiment}/runs/{found.run_id}/artifacts/{artifact}"
    registry.tag(model, version, VersionTags(drift_report=url))
    return DriftReport(
        url=url,
        run_id=found.run_id,
        artifact=artifact,
        drifted=page.drifted,
        share=len(page.drifted) / len(page.psi),
        reference_rows=reference.height,
        current_rows=current.height,
        window_rows=window_rows,
    )
