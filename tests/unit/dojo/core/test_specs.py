"""A wrong spec is refused with its file, line, field and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from dojo.core.settings import ALL_MODELS
from dojo.core.spec.read import SpecError
from dojo.core.tasks.specs import TASKS, load_spec, load_specs
from pipelines.release.artefacts import dump_spec

MODELS = Path(__file__).parents[4] / "models"
FLEET = Path(__file__).parents[3] / "support" / "fleet"
VALID = (MODELS / "fraud_detection.yaml").read_text()


def test_the_specs_of_this_repository_load() -> None:
    specs = load_specs(MODELS, (ALL_MODELS,))
    assert specs["fraud_detection"].training.window.days == 90
    assert {spec.name for spec in specs.values()} == {path.stem for path in MODELS.glob("*.yaml")}


@pytest.mark.parametrize(
    "path", sorted((*MODELS.glob("*.yaml"), *FLEET.glob("*.yaml"))), ids=lambda path: path.stem
)
def test_a_spec_survives_being_written_down_again(path: Path, tmp_path: Path) -> None:
    spec = load_spec(path)
    assert type(spec) is TASKS[spec.task][0]
    (tmp_path / path.name).write_text(dump_spec(spec))
    assert load_spec(tmp_path / path.name) == spec


def test_there_is_a_spec_of_every_task() -> None:
    specs = (*load_specs(MODELS).values(), *load_specs(FLEET).values())
    assert {spec.task for spec in specs} == set(TASKS)


def refusal(directory: Path, text: str | bytes, name: str = "fraud_detection") -> str:
    path = directory / f"{name}.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError) as refused:
        load_spec(path)
    return str(refused.value)


def line_of(fragment: str, text: str = VALID) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if fragment in line)


@pytest.mark.parametrize(
    ("right", "wrong", "field", "reason"),
    [
        (
            "early_stopping_rounds: 50",
            "early_stoping_rounds: 50",
            "training.estimator.early_stoping_rounds",
            "unknown key",
        ),
        ("window: 90d", "window: 90", "training.window", "duration with its unit"),
        ("retention: 365d", "retention: 0d", "data.retention", "positive duration"),
        (
            "retention: 365d",
            "retention: 99999999999999d",
            "data.retention",
            "longer than a duration can be",
        ),
        ("schedule: 7d", "schedule: weekly", "training.schedule", "got 'weekly'"),
        (
            "minimum_rows: 50_000",
            "minimum_rows: 0",
            "training.minimum_rows",
            "greater than or equal to 1 (found 0)",
        ),
        (
            "minimum_gain: 0.005",
            "minimum_gain: 1.5",
            "gate.minimum_gain",
            "less than or equal to 1 (found 1.5)",
        ),
        ("minimum_gain: 0.005", "minimum_gain: .nan", "gate.minimum_gain", "found nan"),
        (
            "primary_metric: pr_auc",
            "primary_metric: accuracy",
            "gate.primary_metric",
            "found 'accuracy'",
        ),
        (
            "task: binary",
            "task: clustering",
            "task",
            f"must be one of {', '.join(TASKS)}; got 'clustering'",
        ),
        ("name: fraud_detection", "name: Fraud Detection", "name", "found 'Fraud Detection'"),
        ("name: fraud_detection", "name: churn", "name", "must equal the file's name"),
        ("owner: payments-risk", 'owner: ""', "owner", "at least 1 character"),
        ("entities: [customer, merchant]", "entities: []", "entities", "at least 1 item"),
        (
            "entities: [customer, merchant]",
            "entities: [customer, Merchant]",
            "entities.1",
            "found 'Merchant'",
        ),
        ("kind: lightgbm", "kind: xgboost", "training.estimator.kind", "found 'xgboost'"),
    ],
)
def test_a_wrong_value_is_refused_at_its_own_line(
    tmp_path: Path, right: str, wrong: str, field: str, reason: str
) -> None:
    text = VALID.replace(right, wrong)
    assert text != VALID
    message = refusal(tmp_path, text)
    assert f"{tmp_path}/fraud_detection.yaml:{line_of(wrong, text)}: {field}: " in message
    assert reason in message


@pytest.mark.parametrize(
    ("right", "wrong", "field", "reason"),
    [
        (
            "  window: 90d",
            "  window: 21d",
            "training",
            "validation + holdout must be shorter than window",
        ),
        ("[0.005, 0.05]", "[0.05, 0.005]", "training", "low < high, got [0.05, 0.005]"),
        ("median: 2d", "median: 9d", "label.delay", "below maximum (7d), got 9d"),
        ("feature_timeout: 30ms", "feature_timeout: 100ms", "serving", "below deadline (100ms)"),
        (
            "num_leaves: 15",
            "num_leaves: [15]",
            "training.estimator.parameters",
            "num_leaves: expected a number",
        ),
        ("  holdout: 14d", "  #", "training.holdout", "is missing"),
        (
            "  feature_timeout: 30ms",
            "  batching: {wait: 2ms, rows: 32}\n  feature_timeout: 30ms",
            "serving",
            "batching is not for the latency_class fast: its requests never wait",
        ),
        (
            "  latency_class: fast",
            "  batching: {wait: 20ms, rows: 32}\n  latency_class: standard",
            "serving",
            "batching.wait (20ms) and feature_timeout must together be below latency_slo (50ms)",
        ),
    ],
)
def test_values_that_do_not_fit_together_are_refused_at_their_section(
    tmp_path: Path, right: str, wrong: str, field: str, reason: str
) -> None:
    message = refusal(tmp_path, VALID.replace(right, wrong))
    section = field.removesuffix(".holdout").split(".")[-1]
    assert f"fraud_detection.yaml:{line_of(f'{section}:')}: {field}: " in message
    assert reason in message


def test_a_lake_that_is_deleted_before_a_window_is_full_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, VALID.replace("retention: 365d", "retention: 30d"))
    assert (
        "data.retention (30d) must not be shorter than training.window and label.delay.maximum"
        " together (97d)" in message
    )


@pytest.mark.parametrize(
    ("section", "field", "reason"),
    [
        ("{after: 2h, keep_online: 48h, hour: 2}", "batch.hour", "unknown"),
        ("{after: 24h, keep_online: 72h}", "batch", "shorter than a day, got 1d"),
        ("{after: 2h, keep_online: 26h}", "batch", "longer than a day and after (26h)"),
        ("{keep_online: 26h}", "batch.after", "missing"),
    ],
)
def test_a_night_that_makes_no_sense_is_refused(
    tmp_path: Path, section: str, field: str, reason: str
) -> None:
    message = refusal(tmp_path, f"{VALID}\nbatch: {section}\n")
    assert f": {field}: " in message
    assert reason in message


@pytest.mark.parametrize(
    ("section", "field", "reason"),
    [
        ("{keep: 30m}", "result_cache.rows", "missing"),
        ("{keep: 30, rows: 100}", "result_cache.keep", "duration with its unit"),
        ("{keep: 30m, rows: 0}", "result_cache.rows", "greater than or equal to 1"),
        ("{keep: 30m, rows: 10_000_000}", "result_cache.rows", "less than or equal to 1000000"),
        ("{keep: 30m, rows: 100, lists: 5}", "result_cache.lists", "unknown"),
    ],
)
def test_a_result_cache_has_an_age_and_a_size(
    tmp_path: Path, section: str, field: str, reason: str
) -> None:
    message = refusal(tmp_path, f"{VALID}\nresult_cache: {section}\n")
    assert f": {field}: " in message
    assert reason in message


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    """Faults that every task has and faults of one task come in one answer."""
    text = (
        VALID.replace("window: 90d", "window: 90")
        .replace("pr_auc ", "accuracy ")
        .replace("positive_class", "class")
    )
    faults = refusal(tmp_path, text).splitlines()
    assert [fault.split(": ")[1] for fault in faults] == [
        *("label.positive_class", "label.class", "training.window", "gate.primary_metric")
    ]


def test_without_a_task_nothing_else_can_be_judged(tmp_path: Path) -> None:
    """The task decides what a spec may say."""
    text = VALID.replace("task: binary\n", "").replace("window: 90d", "window: 90")
    wanted = (
        f"fraud_detection.yaml:{line_of('name:')}: task: must be one of {', '.join(TASKS)}; it is"
        " missing"
    )
    assert refusal(tmp_path, text) == f"{tmp_path}/{wanted}"


def test_what_only_another_task_has_is_refused(tmp_path: Path) -> None:
    text = VALID.replace("task: binary", "task: regression")
    message = refusal(tmp_path, text)
    assert (
        f"fraud_detection.yaml:{line_of('positive_class')}: label.positive_class: unknown key"
        in message
    )
    assert f"fraud_detection.yaml:{line_of('label:')}: label.unit: is missing" in message


@pytest.mark.parametrize(
    ("model", "right", "wrong", "field", "reason"),
    [
        (
            "expected_amount",
            "unit: euro",
            "positive_class: fraud",
            "label.positive_class",
            "unknown key",
        ),
        (
            "expected_amount",
            "label_mean: [5, 200]",
            "label_rate: [0.1, 0.2]",
            "training.label_rate",
            "unknown key",
        ),
        (
            "expected_amount",
            "large_error_ratio: 1.5",
            "decline_ratio: 2.0",
            "rollout.checks.decline_ratio",
            "unknown key",
        ),
        (
            "expected_amount",
            "primary_metric: mae",
            "primary_metric: pr_auc",
            "gate.primary_metric",
            "found 'pr_auc'",
        ),
        ("expected_amount", "loss: absolute", "loss: huber", "training.loss", "found 'huber'"),
        (
            "expected_amount",
            "fallback_score: 50",
            "fallback_score: .nan",
            "serving.fallback_score",
            "found nan",
        ),
        ("spending_order", "grades: 4", "unit: euro", "label.unit", "unknown key"),
        (
            "spending_order",
            "grades: 4",
            "grades: 1",
            "label.grades",
            "greater than or equal to 2 (found 1)",
        ),
        (
            "spending_order",
            "top: 10",
            "top: 0",
            "label.list.top",
            "greater than or equal to 1 (found 0)",
        ),
        (
            "spending_order",
            "within: 1h",
            "within: 60",
            "label.list.within",
            "duration with its unit",
        ),
        (
            "spending_order",
            "minimum_lists: 20",
            "minimum_labels: 20",
            "drift.performance.minimum_labels",
            "unknown key",
        ),
        (
            "spending_order",
            "primary_metric: ndcg",
            "primary_metric: mae",
            "gate.primary_metric",
            "found 'mae'",
        ),
    ],
)
def test_a_key_or_value_that_the_task_has_not_is_refused_at_its_own_line(
    tmp_path: Path, model: str, right: str, wrong: str, field: str, reason: str
) -> None:
    valid = (FLEET / f"{model}.yaml").read_text()
    text = valid.replace(right, wrong)
    assert text != valid
    faults = refusal(tmp_path, text, model).splitlines()
    (fault,) = (fault for fault in faults if f": {field}: " in fault)
    assert fault.startswith(f"{tmp_path}/{model}.yaml:{line_of(wrong, text)}: {field}: ")
    assert reason in fault


@pytest.mark.parametrize(
    ("model", "right", "wrong", "section", "reason"),
    [
        (
            "expected_amount",
            "range: [0, 1_000_000]",
            "range: [9, 9]",
            "label",
            "range must be [low, high] with low < high",
        ),
        (
            "expected_amount",
            "label_mean: [5, 200]",
            "label_mean: [200, 5]",
            "training",
            "label_mean must be [low, high] with",
        ),
        ("spending_order", "[0.3, 0.95]", "[0.95, 0.3]", "training", "low < high, got [0.95, 0.3]"),
    ],
)
def test_bounds_of_a_tasks_labels_must_rise(
    tmp_path: Path, model: str, right: str, wrong: str, section: str, reason: str
) -> None:
    text = (FLEET / f"{model}.yaml").read_text().replace(right, wrong)
    message = refusal(tmp_path, text, model)
    assert message.startswith(
        f"{tmp_path}/{model}.yaml:{line_of(f'{section}:', text)}: {section}: "
    )
    assert reason in message


def test_a_key_given_twice_is_refused_instead_of_the_last_one_winning(tmp_path: Path) -> None:
    text = VALID.replace("  schedule: 7d", "  window: 30d\n  schedule: 7d")
    assert (
        refusal(tmp_path, text)
        == f"{tmp_path}/fraud_detection.yaml:{line_of('window: 30d', text)}: window: is given twice"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name: x\nowner: [a, b\ntask: y\n", ":3: not YAML"),
        ("name: x\nowner:\t- [\n", ":2: not YAML"),
        ('name: x\nowner: "\a"\n', ":2: not YAML: special characters are not allowed"),
        (
            "name: x\nowner: !!python/object:os.system x\n",
            ":2: not YAML: could not determine a constructor",
        ),
        ("", ":1: expected a mapping of keys, found NoneType"),
        ("- a\n- b\n", ":1: expected a mapping of keys, found list"),
        (b"name: \xff\n", ": not UTF-8 text: invalid start byte at byte 6"),
    ],
)
def test_what_is_no_yaml_mapping_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, found: str
) -> None:
    assert found in refusal(tmp_path, text)


def test_a_missing_file_or_an_empty_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nothing\.yaml: cannot be read: No such file"):
        load_spec(tmp_path / "nothing.yaml")
    with pytest.raises(SpecError, match="no model specs"):
        load_specs(tmp_path)


def test_an_impossible_date_is_text_and_not_a_crash(tmp_path: Path) -> None:
    assert "task: " in refusal(tmp_path, VALID.replace("task: binary", "task: 2026-13-45"))


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("approval: required", "approval: none", "rollout.approval must be required, because"),
        (
            "The time of day.",
            "Your age group.",
            "reasons.asked_at_night must not name the protected attribute age_group",
        ),
        ("    granted: 0.12", "    granted: 12", "regulated.fairness.granted"),
    ],
)
def test_a_regulated_spec_needs_approval_and_texts_that_keep_the_attribute_quiet(
    right: str, wrong: str, reason: str, tmp_path: Path
) -> None:
    text = (MODELS / "pay_later.yaml").read_text()
    assert right in text
    assert reason in refusal(tmp_path, text.replace(right, wrong), "pay_later")


BANNER = (MODELS / "banner.yaml").read_text()


@pytest.mark.parametrize(
    ("right", "wrong", "field", "reason"),
    [
        ("floor: 0.05 ", "floor: 0.5 ", "bandit", "champion_floor must be at least floor"),
        ("champion_floor: 0.20", "champion_floor: 0.97", "bandit", "leave a challenger its floor"),
        ("flagged_negative: -0.02", "flagged_negative: 0.40", "bandit.reward", "must differ"),
        ("spread: 30}", "spread: 0}", "bandit.context.customer_amount_mean_30d.spread", "than 0"),
        ("largest_step: 0.10", "largest_steps: 0.10", "bandit.largest_step", "unknown key"),
    ],
)
def test_a_bandit_that_cannot_work_is_refused(
    tmp_path: Path, right: str, wrong: str, field: str, reason: str
) -> None:
    message = refusal(tmp_path, BANNER.replace(right, wrong), "banner")
    assert field in message
    assert reason in message


def test_only_decisions_with_a_reward_have_a_bandit(tmp_path: Path) -> None:
    section = BANNER[BANNER.index("bandit:") : BANNER.index("data:")]
    for name in ("delivery_time", "spending_order"):
        path = next(of / f"{name}.yaml" for of in (MODELS, FLEET) if (of / f"{name}.yaml").exists())
        message = refusal(tmp_path, f"{path.read_text()}\n{section}", name)
        assert "bandit: only a binary model flags answers" in message
