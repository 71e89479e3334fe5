"""The gate's report lists other differences: training parameters and training sets.

Segments follow the spec.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from dojo.core.judging.gate.compare import judge
from dojo.core.judging.gate.decision import GateDecision, ParameterChange
from dojo.core.lake import Lake
from dojo.core.registry.bundle import Bundle
from dojo.core.registry.reference_profile import ReferenceProfile, TrainingSet
from dojo.core.spec.schema import ModelSpec
from pipelines.gate.decide import holdout_of
from pipelines.gate.differences import changed_parameters, changed_training_set
from pipelines.gate.report import markdown
from pipelines.release.artefacts import training_parameters
from pipelines.training.dataset.collect import Manifest
from pipelines.training.steps import Run
from tests.support.gate_worlds import candidate, holdout, labels, noisy_scores, spec
from tests.support.profiles import reference_profile

LABELS = labels()
OLD = TrainingSet(
    rows=100, label_mean=0.01, missing={"daily": 0.0}, counts={"amount": (50, 50), "age": (90, 10)}
)
NEW = TrainingSet(
    rows=200,
    label_mean=0.02,
    missing={"daily": 0.25},
    counts={"amount": (20, 180), "age": (180, 20)},
)


def regression() -> GateDecision:
    old, new = noisy_scores(LABELS, 2.8, seed=3), noisy_scores(LABELS, 1.0, seed=2)
    return judge(spec(), "job", holdout(LABELS), candidate(old, "1"), candidate(new)).decision


def test_parameters_that_differ_are_named_with_both_values() -> None:
    before = training_parameters(spec())
    assert changed_parameters(before, dict(before)) == ()
    after = {**before, "estimator.num_leaves": "31", "estimator.reg_alpha": "1.0"}
    changes = changed_parameters(before, after)
    assert changes == (
        ParameterChange(name="estimator.num_leaves", champion="15", challenger="31"),
        ParameterChange(name="estimator.reg_alpha", champion=None, challenger="1.0"),
    )
    text = markdown(msgspec.structs.replace(regression(), parameters=changes), {})
    assert (
        "training parameters differ from the champion's: estimator.num_leaves 15 -> 31;"
        " estimator.reg_alpha – -> 1.0" in text
    )


def test_a_bundle_from_before_parameters_were_kept_loads_and_says_nothing() -> None:
    old = Bundle(
        model="m",
        feature_service="s",
        features=(),
        stored_defaults={},
        decision={"threshold": 0.5},
        trained_as_of=datetime(2030, 1, 1, tzinfo=UTC),
        sha256={},
        parameters={"seed": "1"},
    )
    content = msgspec.json.decode(msgspec.json.encode(old))
    del content["parameters"]
    assert changed_parameters(msgspec.convert(content, Bundle).parameters, {"seed": "2"}) == ()


def test_a_profile_from_before_training_sets_and_calibration_loads() -> None:
    profile = reference_profile(
        ("amount",), np.arange(20, dtype=np.float32)[:, None], np.linspace(0, 1, 20)
    )
    content = msgspec.json.decode(msgspec.json.encode(profile))
    for name in ("training", "calibration"):
        del content[name]
    assert msgspec.convert(content, ReferenceProfile) == profile


def test_a_decision_from_before_differences_were_kept_loads() -> None:
    content = msgspec.json.decode(msgspec.json.encode(regression()))
    for name in ("parameters", "training_sets"):
        del content[name]
    decision = msgspec.convert(content, GateDecision)
    assert (decision.parameters, decision.training_sets) == ((), None)


def test_a_worse_challengers_report_compares_what_both_learned_from() -> None:
    change = changed_training_set(OLD, NEW)
    assert (change.rows, change.label_mean, change.missing) == (
        (100, 200),
        (0.01, 0.02),
        {"daily": (0.0, 0.25)},
    )
    # Half of 100 against nine tenths of 200: (0.1 - 0.5) ln(0.1 / 0.5) + (0.9 - 0.5) ln(0.9 / 0.5).
    assert change.psi == {
        "amount": pytest.approx(0.4 * np.log(5) + 0.4 * np.log(1.8)),
        "age": pytest.approx(0),
    }
    decision = msgspec.structs.replace(regression(), training_sets=change)
    text = markdown(decision, {})
    assert decision.outcome == "regression"
    for row in (
        "| examples | 100 | 200 | – |",
        "| mean label | 0.01 | 0.02 | – |",
        "| no values: daily | 0.00% | 25.00% | – |",
        "| feature amount | – | – | 0.879 |",
    ):
        assert row in text
    assert text.index("feature amount") < text.index("feature age"), "the largest change first"
    assert msgspec.json.decode(msgspec.json.encode(decision), type=GateDecision) == decision


def test_the_gate_judges_the_metric_that_the_spec_names() -> None:
    """The champion finds four positives in ten for sure, and nothing of the rest.

    The challenger knows a little of all.
    """
    random = np.random.default_rng(5)
    sure = (LABELS == 1) & (random.random(len(LABELS)) < 0.4)
    old = np.where(sure, 0.9 + 0.1 * random.random(len(LABELS)), 0.8 * random.random(len(LABELS)))
    new = noisy_scores(LABELS, 1.1, seed=6)
    found = {}
    for metric in ("pr_auc", "roc_auc"):
        named = spec()
        named = named.model_copy(
            update={"gate": named.gate.model_copy(update={"primary_metric": metric})}
        )
        decision = judge(
            named, "job", holdout(LABELS), candidate(old, "1"), candidate(new)
        ).decision
        assert decision.champion is not None
        assert decision.primary_metric == metric
        before, after = decision.champion.metrics[metric], decision.challenger.metrics[metric]
        assert decision.gain == pytest.approx(after / before - 1)
        for segment in decision.segments:
            assert segment.gain == pytest.approx(segment.challenger / segment.champion - 1)
        found[metric] = decision
    assert [found[metric].verdict for metric in ("pr_auc", "roc_auc")] == ["worse", "improved"]
    assert found["pr_auc"].reason.startswith("PR-AUC -")
    assert found["roc_auc"].reason.startswith("ROC-AUC +")
    assert "ROC-AUC of the worst segment" in {
        guard.measures.split(";")[0] for guard in found["roc_auc"].guards
    }


def segmented(directory: Path, segment: str) -> tuple[list[str], str]:
    """Return names of the gate's segments and their cuts, by a spec's `drift.segment`."""
    model: ModelSpec = spec()
    model = model.model_copy(update={"drift": model.drift.model_copy(update={"segment": segment})})
    end = datetime(2030, 3, 1, tzinfo=UTC)
    start = end - model.training.window
    Manifest(model=model.name, warm_up=start, start=start, end=end, as_of=end, streams={}).write(
        directory
    )
    rows = pl.DataFrame(
        {
            "label": [0, 1] * 15,
            "event_timestamp": [end - timedelta(hours=hour) for hour in range(1, 31)],
            "customer_id": [f"c{at}" for at in range(30)],
            "merchant_id": [f"m{at}" for at in range(30)],
            "customer_tx_count_30d": [float(at) for at in range(30)],
            "merchant_tx_count_7d": [0.0, 0.0, *(float(at) for at in range(28))],
        }
    )
    found = holdout_of(Run(Lake(directory), model, directory), rows)
    assert sum(map(len, found.segments.values())) in (0, len(rows))
    return list(found.segments), found.segmentation


def test_the_specs_segment_cuts_the_gates_groups(tmp_path: Path) -> None:
    assert segmented(tmp_path, "customer_tx_count_30d")[0] == ["new", "rare", "regular", "frequent"]
    names, words = segmented(tmp_path, "merchant_tx_count_7d")
    assert names == ["none", "low", "middle", "high"]
    assert (
        words
        == "by `merchant_tx_count_7d`: none have none, low up to 9.66667, middle up to 18.3333,"
        " high more"
    )
    assert segmented(tmp_path, "") == ([], "no segments: the spec names none (drift.segment)")
    assert segmented(tmp_path, "colour") == (
        [],
        "no segments: the data has no colour (drift.segment)",
    )
