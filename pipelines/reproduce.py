"""Rebuilds a registered version from its record and reports, line by line, what agrees (D1.5).

The rebuild uses a fresh workspace, the pinned lake files and the recorded spec. It registers
nothing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from dojo.core.lake import Lake
from dojo.core.registry.versions import ModelRegistry, Version
from dojo.core.tasks.specs import load_spec
from pipelines.release.mlflow_run import RECORD_PATH, reproducibility_record
from pipelines.release.provenance import current_code
from pipelines.training import steps
from pipelines.training.dataset import collect
from pipelines.training.dataset.collect import MANIFEST_FILE, Manifest
from pipelines.training.smaller import TEACHER_FILE
from pipelines.training.steps import Progress, Run, silent

# These lines must agree for "reproduced". The others explain a difference. Another commit may still
# build the same model.
DECISIVE = ("metrics", "model_sha256")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the answer: a figure as recorded and as rebuilt."""

    what: str
    recorded: str
    rebuilt: str

    @property
    def agrees(self) -> bool:
        return self.recorded == self.rebuilt


def reproduced(comparisons: list[Comparison]) -> bool:
    """Return whether the model file and its metrics are the same."""
    return all(line.agrees for line in comparisons if line.what in DECISIVE)


def reproduce(
    registry: ModelRegistry,
    lake: Lake,
    version: Version,
    workspace: Path,
    progress: Progress = silent,
) -> list[Comparison]:
    """Rebuild `version` in `workspace` (empty) and compare.

    Raises:
        LakeChangedError: It names each pinned lake file that is missing or changed.
        TrainingRefusedError, CorruptBundleError: The rebuilt data or model was refused.
        RegistryUnavailableError: MLflow does not answer.
    """
    record = registry.download_run_artifact(version, RECORD_PATH, workspace)
    manifest = Manifest.read(record / MANIFEST_FILE)
    collect.verify(lake, manifest)
    run = Run(
        lake=lake,
        spec=load_spec(record / f"{version.model}.yaml"),
        workspace=workspace,
        progress=progress,
    )
    manifest.write(workspace)
    if (record / TEACHER_FILE).exists():
        shutil.copy(record / TEACHER_FILE, workspace)
    steps.validate_step(run)
    steps.build_dataset_step(run, champion=None)
    steps.train_step(run)
    steps.evaluate_step(run)
    return compare(version, run)


def compare(version: Version, run: Run) -> list[Comparison]:
    """Compare the version's tags with the rebuilt run and the present code."""
    fit, metrics = steps.read_fit(run.workspace), steps.read_evaluation(run.workspace).metrics
    rebuilt = reproducibility_record(run, fit, current_code()).written()
    recorded = version.tags
    figures = {
        name: f"{recorded.metrics[name]:.6f}" if name in recorded.metrics else "not recorded"
        for name in metrics
    }
    return [
        *(
            Comparison(name, recorded.raw.get(name, "not recorded"), value)
            for name, value in rebuilt.items()
        ),
        Comparison(
            "metrics",
            " ".join(f"{name}={value}" for name, value in figures.items()),
            " ".join(f"{name}={value:.6f}" for name, value in metrics.items()),
        ),
    ]
