"""Whether a model can be trained and served, without servers: `dojo models check NAME`.

Run as `python -m dojo.scaffold.check NAME`, in a process of its own. The catalogue reads at its
import which models there are, and the new one must be among them. Progress goes to stderr, a
`CheckReport` as JSON to stdout.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from dojo.core.settings import Settings, load_settings
from dojo.core.spec.names import model_names
from dojo.core.spec.read import SpecError, with_lines
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import load_right_specs, task_of
from dojo.scaffold.cost import ScoringCost, measure


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """How a version trained on the past judges the newest labelled days.

    Attributes:
        history: The past, in words.
        metric: The spec's primary metric.
        value: Its value on the holdout.
        baseline: Name of the answer without skill.
        baseline_value: The metric of that answer.
        better: Whether the version beats it.
        rows: Part -> number of rows.
        seconds: Time of data set, training and evaluation.
    """

    history: str
    metric: str
    value: float
    baseline: str
    baseline_value: float
    better: bool
    rows: dict[str, int]
    seconds: float


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the check found.

    Attributes:
        model: The model.
        faults: What is wrong. Then nothing else was measured.
        backtest: How good it is.
        cost: What it costs a scoring process.
        latency_slo_seconds: The spec's limit of a whole answer.
    """

    model: str
    faults: list[str] = []
    backtest: Trial | None = None
    cost: ScoringCost | None = None
    latency_slo_seconds: float | None = None


def run(model: str) -> CheckReport:
    """Check the model in a process of its own, with the model among those that run.

    Raises:
        SettingsError: A setting is wrong.
    """
    settings = load_settings()
    running = {*model_names(settings.models_dir, settings.models), model}
    done = subprocess.run(
        [sys.executable, "-m", __name__, model],
        env={**os.environ, "DOJO_MODELS": ",".join(sorted(running))},
        stdout=subprocess.PIPE,
        check=True,
    )
    # LightGBM warns on the same stream.
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=CheckReport)


def check(model: str, settings: Settings) -> CheckReport:
    """Validate, train and measure in this process."""
    file = settings.models_dir / f"{model}.yaml"
    try:
        # A wrong spec of another model is no fault of this one.
        loaded = load_right_specs(settings.models_dir, settings.models)
        if model in loaded.faults:
            return CheckReport(model=model, faults=loaded.faults[model].splitlines())
        specs = loaded.specs
        _require_catalogue(specs[model], file)
    except SpecError as error:
        return CheckReport(model=model, faults=str(error).splitlines())
    except (ImportError, SyntaxError, ValueError, AttributeError) as error:
        return CheckReport(model=model, faults=[f"the features: {type(error).__name__}: {error}"])
    from pipelines.training.errors import RefusedError

    settings.home.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="check-", dir=settings.home) as directory:
        try:
            backtest = _backtest(specs, model, settings, Path(directory))
        except (RefusedError, SpecError) as error:
            return CheckReport(model=model, faults=[with_lines(str(error), file)])
        _progress("measure the scoring", 0.0)
        return CheckReport(
            model=model,
            backtest=backtest,
            cost=measure(Path(directory)),
            latency_slo_seconds=specs[model].serving.latency_slo.total_seconds(),
        )


def _require_catalogue(spec: ModelSpec, file: Path) -> None:
    """Raises SpecError, with the spec's line."""
    from feature_repo.catalog import agreed

    try:
        agreed({spec.name: spec})
    except SpecError as error:
        fault = str(error).removeprefix(f"{spec.name}: ")
        raise SpecError(with_lines(f"spec: {fault}", file)) from error


def _backtest(
    specs: dict[str, ModelSpec], model: str, settings: Settings, directory: Path
) -> Trial:
    from dojo.scaffold.history import lake_with_labels, small_world
    from pipelines.training import steps

    history = "the lake of this home"
    found = lake_with_labels(settings, model)
    if found is None:
        history = "a small world made for the check"
        found = small_world(specs, model, settings, directory, _progress)
    lake, end = found
    run_of = steps.Run(lake, specs[model], directory, _progress)
    begun = perf_counter()
    steps.collect_step(run_of, end)
    steps.validate_step(run_of)
    steps.build_dataset_step(run_of, champion=None)
    steps.train_step(run_of)
    steps.evaluate_step(run_of)
    seconds = perf_counter() - begun
    fit, metrics = steps.read_fit(directory), steps.read_evaluation(directory).metrics
    task, primary = task_of(specs[model]), specs[model].gate.primary_metric
    support = {f"support_{part}": float(count) for part, count in fit.support.items()}
    rows = {f"rows_{part}": float(count) for part, count in fit.rows.items()}
    baseline, without = task.no_skill({**metrics, **support, **rows})
    lower = task.metrics[primary].lower_is_better
    return Trial(
        history=f"{history}, until {end:%Y-%m-%d}",
        metric=primary,
        value=metrics[primary],
        baseline=baseline,
        baseline_value=without,
        better=metrics[primary] < without if lower else metrics[primary] > without,
        rows=fit.rows,
        seconds=seconds,
    )


def _progress(step: str, share: float) -> None:
    """Show a step once on stderr. A day of history is a step of its own, so only the first."""
    if share == 0:
        sys.stderr.write(f"{step.replace('_', ' ')} ...\n")
        sys.stderr.flush()


def main(model: str) -> None:
    report = check(model, load_settings())
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
