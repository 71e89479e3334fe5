"""Retraining as tasks, on real MLflow and Redis.

A killed job ends the same way, and every outcome has its own end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from redis import Redis
from typer.testing import CliRunner, Result

from dojo.cli.app import build
from dojo.cli.training import train as cli
from dojo.core.judging.gate.decision import ParameterChange
from dojo.core.judging.rollout.stages import Stage
from dojo.core.lake import Lake
from dojo.core.registry.promotion import Change, RoleChanges
from dojo.core.registry.versions import CHALLENGER, CHAMPION, ModelRegistry
from dojo.core.settings import Settings
from dojo.core.spec.schema import Smaller
from dojo.core.state.audit import AuditTrail, Entry
from dojo.core.state.inbox import Inbox, Message
from dojo.core.state.rollouts import Rollout, Rollouts
from dojo.core.state.routes import RouteTable
from dojo.shop.events import TRANSACTIONS
from feature_repo import catalog
from pipelines import retraining as pipeline
from pipelines import tasks
from pipelines.gate.report import markdown
from pipelines.release.artefacts import dump_spec
from pipelines.release.job_runs import DRY_RUN_TAG, JOB_TAG, logged_decision
from pipelines.release.tracking import tracking_client
from pipelines.reproduce import reproduce, reproduced
from pipelines.retraining import BEFORE_THE_GATE, run_retraining
from pipelines.training import steps
from pipelines.training.dataset.build import DATASET_FILE
from pipelines.training.errors import (
    InvalidDataError,
    RegistryChangedError,
    RetrainingRunningError,
    RolloutRefusedError,
    StaleDataError,
    TrainingRefusedError,
)
from pipelines.training.job import Job, key_by_hand
from pipelines.training.schedule import ScheduleStore
from pipelines.training.steps import Run
from pipelines.training.workspaces import exclusive
from tests.integration.pipelines.killed_tasks import run_task
from tests.integration.services.monitor.shifted_shop import (
    FIRST_AS_OF,
    LATER_AS_OF,
    fill,
    first_job,
    later_job,
    settings_for,
    write_spec,
)
from tests.support.bundles import make_bundle, register_champion
from tests.support.servers import MlflowServer, RedisServer

pytestmark = pytest.mark.integration

# A task is killed after these numbers of answers (of MLflow and Redis), one attempt each, until an
# attempt succeeds. Kills are dense while objects are created and changed, up to the dozens of
# answers that logging takes. Tasks that mostly read and compute are killed a few times.
MOMENTS = (*range(1, 11), 13, 16, 20, 25, 31, 38, 46, 56, 70, 90, 0)
FEW_MOMENTS = (1, 2, 4, 8, 16, 32, 0)

KILLED = "retraining_killed"
APPROVED = "retraining_approved"


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, mlflow_server: MlflowServer
) -> Settings:
    home = tmp_path_factory.mktemp("home")
    fill(home / "lake")
    return settings_for(home, redis_url, mlflow_server.url)


@pytest.fixture(scope="module")
def registry(settings: Settings) -> ModelRegistry:
    return ModelRegistry.of(settings)


@pytest.fixture(scope="module")
def redis(settings: Settings) -> Redis:
    return Redis.from_url(settings.redis)


@contextmanager
def edited_spec(settings: Settings, model: str, right: str, other: str) -> Iterator[None]:
    """Change the model's spec while the block lasts."""
    path = settings.models_dir / f"{model}.yaml"
    before = path.read_text()
    assert right in before
    path.write_text(before.replace(right, other))
    yield
    path.write_text(before)


def killed_again_and_again(
    task: str, job: Job, settings: Settings, moments: Sequence[int] = MOMENTS
) -> int:
    """Run a task to its end through kills. Return the number of kills."""
    for kills, answers in enumerate(moments):
        if run_task(task, job, settings, killed_after_answers=answers):
            return kills
    raise AssertionError("the last attempt is never killed")


@pytest.fixture(scope="module")
def first(settings: Settings) -> dict[str, int]:
    """Train the model's first version.

    Its last two tasks are killed repeatedly. Return kills by task.
    """
    write_spec(settings.models_dir, KILLED)
    job = first_job(KILLED)
    for task in ("collect", "validate", "build_dataset", "train", "evaluate"):
        assert run_task(task, job, settings)
    return {task: killed_again_and_again(task, job, settings) for task in ("compare", "register")}


@pytest.fixture(scope="module")
def second(first: dict[str, int], settings: Settings) -> dict[str, int]:
    """Train a challenger that wins. Every task is killed repeatedly. Return kills by task."""
    job = later_job(KILLED)
    kills = {
        task: killed_again_and_again(task, job, settings, FEW_MOMENTS)
        for task in ("collect", "validate")
    }
    for task in (
        "build_dataset",
        "train",
    ):  # they ask servers rarely, so kill them in the middle of their work
        kills[task] = sum(
            not run_task(task, job, settings, killed_after_seconds=seconds)
            for seconds in (0.05, 0.2)
        )
        assert run_task(task, job, settings)
    kills["evaluate"] = killed_again_and_again("evaluate", job, settings, FEW_MOMENTS)
    return kills | {
        task: killed_again_and_again(task, job, settings)
        for task in ("compare", "register", "start_rollout")
    }


def jobs_runs(registry: ModelRegistry, job: Job) -> list[str]:
    experiment = tracking_client(registry).get_experiment_by_name(job.model)
    assert experiment is not None
    found = tracking_client(registry).search_runs(
        [experiment.experiment_id], f"tags.`{JOB_TAG}` = '{job.key}'"
    )
    return [run.info.run_id for run in found]


def entries(redis: Redis, model: str) -> list[Entry]:
    return [entry for entry in AuditTrail(redis).entries() if entry.model == model]


def messages(redis: Redis, model: str) -> list[Message]:
    return [message for message in Inbox(redis).newest(100) if message.model == model]


def test_a_first_version_killed_at_every_step_is_one_version_and_the_champion(
    first: dict[str, int], second: dict[str, int], registry: ModelRegistry, redis: Redis
) -> None:
    assert all(kills >= 4 for kills in first.values()), f"hardly anything was killed: {first}"
    (run_id,) = jobs_runs(registry, first_job(KILLED))
    version = registry.get(KILLED, "1")
    assert (version.run_id, version.tags.gate_verdict) == (run_id, "first")
    champion = registry.by_alias(KILLED, CHAMPION)
    assert champion is not None
    assert champion.version == "1"
    became = [entry for entry in entries(redis, KILLED) if "became champion" in entry.what]
    assert len(became) == 1
    route = RouteTable(redis).get(KILLED)
    assert route is not None
    assert (route.strategy, [arm.version for arm in route.arms]) == ("champion", ["1"])


def test_a_winner_killed_at_every_step_is_one_run_one_version_one_rollout(
    second: dict[str, int], registry: ModelRegistry, redis: Redis, settings: Settings
) -> None:
    assert second.keys() == {*BEFORE_THE_GATE, "register", "start_rollout"}
    # validate asks no server, so it has no answers for kills. It reads files, and refuses or ends.
    assert {task for task, kills in second.items() if kills == 0} == {"validate"}, second
    assert sum(second.values()) >= 20, second
    (run_id,) = jobs_runs(registry, later_job(KILLED))
    assert tracking_client(registry).get_run(run_id).info.status == "FINISHED"
    versions = [version for version in registry.versions(KILLED) if version.run_id == run_id]
    assert [version.version for version in versions] == ["2"]
    assert versions[0].tags.gate_verdict == "improved"
    assert (versions[0].tags.gate_gain or 0) > 0.005
    assert set(versions[0].aliases) == {CHALLENGER}
    champion = registry.by_alias(KILLED, CHAMPION)
    assert champion is not None
    assert champion.version == "1"

    rollout = Rollouts(redis).get(KILLED)
    assert rollout is not None
    assert (rollout.version, rollout.champion, rollout.stage, rollout.revision) == (
        "2",
        "1",
        Stage.SHADOW,
        1,
    )
    assert rollout.baseline.keys() == {"recall_at_threshold", "false_positive_rate_at_threshold"}
    told = entries(redis, KILLED)
    assert ScheduleStore(redis).finished(KILLED) == later_job(KILLED).as_of, (
        "the gate has decided: it came to its end"
    )
    kinds = [entry.kind for entry in told if entry.entry_id.startswith(f"{KILLED}:later:")]
    assert kinds == ["retraining", "gate", "alias"]
    assert AuditTrail(redis).verify().faults == ()
    workspace = later_job(KILLED).workspace(settings.home)
    assert not (workspace / DATASET_FILE).exists()
    assert not (workspace / "offline").exists()
    assert (workspace / "gate" / "gate.html").exists()


def test_the_report_is_in_the_run_and_the_decision_in_the_audit_trail(
    second: dict[str, int], registry: ModelRegistry, redis: Redis
) -> None:
    (run_id,) = jobs_runs(registry, later_job(KILLED))
    logged = {file.path for file in tracking_client(registry).list_artifacts(run_id, "gate")}
    assert logged == {
        f"gate/{name}"
        for name in ("decision.json", "gate.md", "gate.html", "gains.png", "precision_recall.png")
    }
    (gated,) = [
        entry for entry in entries(redis, KILLED) if entry.entry_id == f"{KILLED}:later:gate"
    ]
    assert gated.why == "the world shifted"
    assert gated.after["verdict"] == "improved"
    assert gated.after["champion"]["version"] == "1"
    assert gated.after["gain"] > gated.after["low"] > 0
    assert gated.after["parameters"] == []
    old, new = gated.after["training_sets"]["rows"]
    assert old == pytest.approx(new, rel=0.1), "24 days of the same shop each"
    assert gated.after["training_sets"]["psi"].keys() == set(
        catalog.SERVICES["fraud_detection_v1"].features
    )
    assert {guard["name"] for guard in gated.after["guards"]} == {
        *(
            "precision_at_1pct_fpr",
            "recall_at_50pct_precision",
            "calibration",
            "worst_segment",
            "latency",
            "size",
        )
    }


def test_a_finished_job_run_again_ends_as_it_did(
    second: dict[str, int], registry: ModelRegistry, settings: Settings
) -> None:
    before = registry.versions(KILLED)
    answer = run_retraining(later_job(KILLED), settings)
    assert (answer["outcome"], answer["version"]) == ("promote", "2")
    assert registry.versions(KILLED) == before
    assert len(jobs_runs(registry, later_job(KILLED))) == 1


def test_a_second_winner_waits_for_the_rollout_that_is_active(
    second: dict[str, int], registry: ModelRegistry, settings: Settings, redis: Redis
) -> None:
    with pytest.raises(
        RolloutRefusedError, match=r"version 2 is already being rolled out .* dojo rollout start"
    ):
        run_retraining(later_job(KILLED, "another", days=1), settings)
    challenger = registry.by_alias(KILLED, CHALLENGER)
    assert challenger is not None
    assert challenger.version == "2"
    page = messages(redis, KILLED)[0]
    assert (page.urgency, page.to) == ("page", "payments-risk")
    assert "start_rollout" in page.text


def test_a_dry_run_registers_nothing_and_its_run_says_so(
    second: dict[str, int], registry: ModelRegistry, settings: Settings, redis: Redis
) -> None:
    before, finished = len(registry.versions(KILLED)), ScheduleStore(redis).finished(KILLED)
    job = later_job(KILLED, "dry", dry_run=True)
    with edited_spec(settings, KILLED, "num_leaves: 15", "num_leaves: 7"):
        answer = run_retraining(job, settings)
    assert (answer["outcome"], answer["dry_run"]) == ("promote", True)
    assert "version" not in answer
    assert len(registry.versions(KILLED)) == before
    assert ScheduleStore(redis).finished(KILLED) == finished
    (run_id,) = jobs_runs(registry, job)
    assert tracking_client(registry).get_run(run_id).data.tags[DRY_RUN_TAG] == "true"
    assert not (job.workspace(settings.home) / DATASET_FILE).exists()
    report = logged_decision(registry, KILLED, run_id)
    assert report.parameters == (
        ParameterChange(name="estimator.num_leaves", champion="15", challenger="7"),
    )


def test_features_that_broke_with_the_champions_leave_no_training_set(
    second: dict[str, int], settings: Settings
) -> None:
    job = later_job(KILLED, "broken", dry_run=True)
    with edited_spec(settings, KILLED, "feature_psi: 2.0", "feature_psi: 0.000001"):
        tasks.collect(job, settings)
        with pytest.raises(
            InvalidDataError,
            match=r"amount: expected a distribution near the champion's, PSI at most 1e-06",
        ):
            tasks.build_dataset(job, settings)
    assert not (job.workspace(settings.home) / DATASET_FILE).exists()


def test_a_holdout_that_the_champion_has_seen_is_no_comparison(
    second: dict[str, int], settings: Settings
) -> None:
    job = Job(
        model=KILLED,
        key="past",
        as_of=FIRST_AS_OF - timedelta(days=3),
        reason="tests",
        who="tests",
        dry_run=True,
    )
    answer = run_retraining(job, settings)
    assert (answer["verdict"], answer["outcome"]) == ("insufficient_data", "keep")
    assert "the champion (version 1) has seen requests up to 2030-01-24 00:00" in answer["reason"]


def test_a_champion_without_a_record_is_no_comparison(
    registry: ModelRegistry, settings: Settings, tmp_path: Path
) -> None:
    model = "retraining_no_record"
    write_spec(settings.models_dir, model)
    sha256 = make_bundle(tmp_path / "bundle", model)
    register_champion(registry, tmp_path / "bundle", sha256, model)
    job = later_job(model, dry_run=True)
    tasks.collect(job, settings)
    # Otherwise the task would compare features with the made-up bundle's profile.
    steps.build_dataset_step(tasks.run_of(job, settings), champion=None)
    for task in ("train", "evaluate"):
        getattr(tasks, task)(job, settings)
    answer = tasks.compare(job, settings)
    assert (answer["verdict"], answer["outcome"]) == ("insufficient_data", "keep")
    assert "has no record of what it was trained on" in answer["reason"]


@pytest.fixture(scope="module")
def approved(settings: Settings) -> Rollout:
    """A model that needs approval, with a winner. Its rollout has just begun."""
    write_spec(settings.models_dir, APPROVED, approval="required")
    redis, registry = Redis.from_url(settings.redis), ModelRegistry.of(settings)
    answer = run_retraining(first_job(APPROVED), settings)
    assert (answer["outcome"], answer["alias"], answer["waits"]) == (
        "first",
        "challenger",
        "approval",
    )
    assert registry.by_alias(APPROVED, CHAMPION) is None
    assert registry.get(APPROVED, "1").tags.proposed_by == "tests"
    waits = messages(redis, APPROVED)[0]
    assert waits.title == f"{APPROVED}: version 1 waits for approval"
    assert f"dojo models promote {APPROVED}@1" in waits.text
    change = Change("tests:first", "another", "reviewed", LATER_AS_OF)
    RoleChanges(registry, RouteTable(redis), AuditTrail(redis)).promote(APPROVED, "1", change)
    assert run_retraining(later_job(APPROVED), settings)["outcome"] == "promote"
    rollout = Rollouts(redis).get(APPROVED)
    assert rollout is not None
    return rollout


def test_a_winner_that_needs_approval_waits_for_it(
    approved: Rollout, registry: ModelRegistry
) -> None:
    assert (approved.version, approved.stage) == ("2", Stage.AWAITING_APPROVAL)
    champion = registry.by_alias(APPROVED, CHAMPION)
    assert champion is not None
    assert champion.version == "1"


@pytest.fixture(scope="module")
def winner(approved: Rollout, registry: ModelRegistry, redis: Redis) -> str:
    """The winner of APPROVED as its champion."""
    change = Change("tests:winner", "tests", "tests", LATER_AS_OF)
    RoleChanges(registry, RouteTable(redis), AuditTrail(redis)).promote(
        APPROVED, approved.version, change
    )
    return approved.version


def test_a_challenger_that_is_no_better_leaves_the_champion_and_tells_its_owner(
    winner: str, registry: ModelRegistry, settings: Settings, redis: Redis
) -> None:
    job = later_job(APPROVED, "no-better", days=1)
    answer = run_retraining(job, settings)
    assert (answer["verdict"], answer["outcome"], answer["champion"]) == (
        "inconclusive",
        "keep",
        winner,
    )
    assert len(registry.versions(APPROVED)) == 2
    message = messages(redis, APPROVED)[0]
    assert (message.urgency, message.to, message.title) == (
        "info",
        "payments-risk",
        f"{APPROVED}: the champion stays",
    )
    assert answer["reason"] in message.text
    assert "dojo gate show" in message.text
    ended = [
        entry
        for entry in entries(redis, APPROVED)
        if entry.entry_id == f"{APPROVED}:no-better:ended"
    ]
    assert [entry.after["verdict"] for entry in ended] == ["inconclusive"]


def test_a_worse_challenger_pages_its_owner(
    winner: str, registry: ModelRegistry, settings: Settings, redis: Redis
) -> None:
    answer = run_retraining(
        later_job(APPROVED, "worse", days=2), settings, after_train=learn_nonsense
    )
    assert (answer["verdict"], answer["outcome"]) == ("worse", "regression")
    assert len(registry.versions(APPROVED)) == 2
    champion = registry.by_alias(APPROVED, CHAMPION)
    assert champion is not None
    assert champion.version == winner
    message = messages(redis, APPROVED)[0]
    assert message.urgency == "page"
    assert "worse" in message.title


def learn_nonsense(run: Run) -> None:
    """Train again on labels of other payments."""
    file = run.workspace / DATASET_FILE
    dataset = pl.read_parquet(file)
    shuffled = np.random.default_rng(1).permutation(dataset["label"].to_numpy())
    dataset.with_columns(pl.Series("label", shuffled)).write_parquet(file)
    steps.train_step(run)
    dataset.write_parquet(file)


def test_smaller_versions_of_a_champion_pass_the_gate_by_what_they_may_lose(
    settings: Settings, registry: ModelRegistry, redis: Redis, tmp_path: Path
) -> None:
    model = "retraining_smaller"
    spec = write_spec(settings.models_dir, model)
    section = Smaller(pruning_loss=0.2, allowed_loss=0.6, trees=5, leaves=7, learning_rate=0.5)
    training = spec.training.model_copy(update={"smaller": section})
    guards = spec.gate.guards.model_copy(
        update=dict.fromkeys(type(spec.gate.guards).model_fields, 1.0)
    )
    gate = spec.gate.model_copy(update={"guards": guards})
    spec = spec.model_copy(update={"training": training, "gate": gate})
    (settings.models_dir / f"{model}.yaml").write_text(dump_spec(spec))
    job = msgspec.structs.replace(first_job(model), smaller="pruned", key="too-early")
    with pytest.raises(TrainingRefusedError, match="expected a champion to make smaller"):
        run_retraining(job, settings)
    run_retraining(first_job(model), settings)
    (champion,) = registry.versions(model)

    pruned = msgspec.structs.replace(job, key="pruned", dry_run=True)
    answer = run_retraining(pruned, settings)
    decision = logged_decision(registry, model, answer["run_id"])
    assert (answer["outcome"], decision.allowed_loss) == ("promote", 0.6)
    assert "loses at most 60.0%" in decision.reason
    assert decision.champion is not None
    assert decision.challenger.size_bytes < decision.champion.size_bytes
    assert min(decision.challenger.batch_seconds, decision.champion.batch_seconds) > 0
    assert "| 32 rows at once, µs |" in markdown(decision, {})
    made = next(change for change in decision.parameters if change.name == "made")
    assert (made.champion, made.challenger) == (None, "pruned from version 1")

    distilled = msgspec.structs.replace(job, key="distilled", smaller="distilled")
    answer = run_retraining(distilled, settings)
    assert (answer["outcome"], answer["version"], answer["stage"]) == ("promote", "2", "shadow")
    version = registry.get(model, "2")
    assert version.tags.made == "distilled from version 1"
    assert champion.tags.made is None
    made_again = reproduce(registry, Lake(settings.lake_dir), version, tmp_path / "again")
    assert reproduced(made_again), made_again


def test_stale_data_is_refused_at_once_and_the_owner_is_paged(
    settings: Settings, redis: Redis
) -> None:
    model = "retraining_stale"
    write_spec(settings.models_dir, model)
    tried: list[str] = []
    left = later_job(model, "refused-before").workspace(settings.home) / DATASET_FILE
    left.parent.mkdir(parents=True)
    left.touch()
    with pytest.raises(StaleDataError, match="stale data"):
        run_retraining(later_job(model, days=10), settings, lambda step, share: tried.append(step))
    assert tried == ["collect"]
    (page,) = messages(redis, model)
    assert page.urgency == "page"
    assert "collect: StaleDataError: stale data" in page.text
    assert not left.exists()


def test_a_lake_that_cannot_be_read_is_tried_again(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "FIRST_WAIT_SECONDS", 0.01)
    model = "retraining_unreadable"
    write_spec(settings.models_dir, model)
    file = Lake(settings.lake_dir).files(TRANSACTIONS)[-5]
    content = file.read_bytes()
    tried: list[str] = []
    file.write_bytes(b"half a file")

    def mended_after(tries: int) -> steps.Progress:
        def progress(step: str, share: float) -> None:
            tried.append(step)
            if len(tried) == tries:
                file.write_bytes(content)
            if step == "validate":
                raise StaleDataError("far enough")  # data is collected, and this test needs no more

        return progress

    try:
        with pytest.raises(pl.exceptions.ComputeError):
            run_retraining(later_job(model, "for-good"), settings, mended_after(99))
        assert tried == ["collect"] * 4
        assert [page.urgency for page in messages(redis, model)] == ["page"]
        tried.clear()
        with pytest.raises(StaleDataError, match="far enough"):
            run_retraining(later_job(model, "for-a-while"), settings, mended_after(3))
        assert tried == ["collect", "collect", "collect", "validate"]
    finally:
        file.write_bytes(content)


def test_one_retraining_of_a_model_at_a_time(settings: Settings, redis: Redis) -> None:
    model = "retraining_twice"
    write_spec(settings.models_dir, model)
    with (
        exclusive(model, settings.home),
        pytest.raises(RetrainingRunningError, match="another retraining is running"),
    ):
        run_retraining(later_job(model), settings)
    assert entries(redis, model) == []


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the `dojo` command in this stack, without Airflow."""
    for name, value in {
        "DOJO_HOME": settings.home,
        "DOJO_MODELS_DIR": settings.models_dir,
        "DOJO_REDIS_URL": settings.redis,
        "DOJO_MLFLOW_URL": settings.mlflow,
        "DOJO_WITHOUT": "airflow",
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(name, str(value))
    return lambda *arguments: CliRunner().invoke(build(), arguments)


def test_dojo_retrain_here_and_dojo_gate_show(
    approved: Rollout, settings: Settings, registry: ModelRegistry, command: Callable[..., Result]
) -> None:
    ran = command(
        "retrain", APPROVED, "--as-of", "2030-03-10T12:00", "--dry-run", "--why", "a look", "--json"
    )
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    spec = (settings.models_dir / f"{APPROVED}.yaml").read_bytes()
    champion = registry.by_alias(APPROVED, CHAMPION)
    assert champion is not None
    key = key_by_hand(datetime(2030, 3, 10, 12, tzinfo=UTC), spec, champion.version, "dry-run")
    assert (answer["dry_run"], answer["job"]) == (True, key)
    newest = json.loads(command("gate", "show", APPROVED, "--json").stdout)
    assert (newest["job"], newest["verdict"], newest["gain"]) == (
        answer["job"],
        answer["verdict"],
        answer["gain"],
    )
    shown = command("gate", "show", f"{APPROVED}@2").stdout
    assert "The challenger wins" in shown
    assert "version 1, trained as of 2030-02-06 00:00" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("retrain", APPROVED, "--as-of", "2031-01-01", "--why", "x"), 1, "stale data"),
        (("retrain", "nobody", "--why", "x"), 2, "no model nobody; there are"),
        (
            ("retrain", APPROVED, "--sabotage", "slow_by_night", "--why", "x"),
            2,
            "together with --in-process",
        ),
        (("retrain", APPROVED, "--smaller", "pruned", "--why", "x"), 2, "with --in-process"),
        (("retrain", APPROVED, "--smaller", "tiny", "--in-process", "--why", "x"), 2, "'tiny'"),
        (("gate", "show", "nobody"), 1, "the gate has decided about nothing yet"),
        (("gate", "show", f"{APPROVED}@77"), 1, "not in the registry"),
        (("gate", "show", "@2"), 2, "expected MODEL or MODEL@VERSION"),
    ],
)
def test_what_is_wrong_is_said(
    approved: Rollout,
    command: Callable[..., Result],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    ran = command(*arguments)
    assert (ran.exit_code, said in ran.output) == (code, True), ran.output


def test_dojo_train_records_the_roles_it_gives(
    settings: Settings, command: Callable[..., Result], redis: Redis
) -> None:
    model = "retraining_by_hand"
    write_spec(settings.models_dir, model)
    trained = command("train", model, "--as-of", "2030-02-06", "--json")
    assert trained.exit_code == 0, trained.output
    assert (json.loads(trained.stdout)["version"], json.loads(trained.stdout)["alias"]) == (
        "1",
        CHAMPION,
    )
    assert command("train", model, "--as-of", "2030-03-06", "--json").exit_code == 0
    assert [entry.what for entry in entries(redis, model) if entry.kind == "alias"] == [
        "version 1 became champion",
        "version 2 became challenger",
    ]
    assert ScheduleStore(redis).finished(model) == datetime(2030, 3, 6, tzinfo=UTC)
    route = RouteTable(redis).get(model)
    assert route is not None
    assert [arm.version for arm in route.arms] == ["1"]


def test_a_role_that_cannot_be_recorded_is_an_error_and_the_same_command_completes_it(
    settings: Settings,
    registry: ModelRegistry,
    command: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = "retraining_unrecorded"
    write_spec(settings.models_dir, model)
    server = RedisServer(tmp_path)
    server.start()
    monkeypatch.setenv("DOJO_REDIS_URL", server.url)
    again = ("train", model, "--as-of", "2030-02-06", "--json")

    def redis_dies_at_the_end(step: str, share: float) -> None:
        if step == "register":
            server.stop()

    monkeypatch.setattr("pipelines.retraining.FIRST_WAIT_SECONDS", 0.01)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(cli, "say", redis_dies_at_the_end)
            failed = command(*again)
        assert failed.exit_code == 1
        assert "Redis does not answer" in failed.stderr
        server.start()
        trained = command(*again)
        assert trained.exit_code == 0, trained.output
        answer = json.loads(trained.stdout)
        assert (answer["version"], answer["alias"]) == ("1", CHAMPION)
        became = [
            entry.what
            for entry in entries(Redis.from_url(server.url), model)
            if entry.kind == "alias"
        ]
        assert became == ["version 1 became champion"]
        assert RouteTable(Redis.from_url(server.url)).get(model) is not None
    finally:
        server.stop()
    assert [version.version for version in registry.versions(model)] == ["1"]


@pytest.fixture(scope="module")
def settled(settings: Settings) -> str:
    """A model whose first version the platform made champion."""
    model = "retraining_changed"
    write_spec(settings.models_dir, model)
    assert run_retraining(first_job(model), settings)["outcome"] == "first"
    return model


@contextmanager
def without_the_role(registry: ModelRegistry, model: str) -> Iterator[None]:
    """As in MLflow's own page: neither route nor audit trail hears of it."""
    registry.remove_alias(model, CHAMPION)
    yield
    registry.set_alias(model, CHAMPION, "1")


@contextmanager
def without_the_experiment(registry: ModelRegistry, model: str) -> Iterator[None]:
    experiment = registry.api.get_experiment(model).experiment_id
    tracking_client(registry).delete_experiment(experiment)
    yield
    registry.api.restore_experiment(experiment)


@pytest.mark.parametrize("changed", [without_the_role, without_the_experiment])
def test_a_registry_that_was_changed_ends_a_retraining_before_its_work(
    settled: str,
    registry: ModelRegistry,
    settings: Settings,
    redis: Redis,
    changed: Callable[[ModelRegistry, str], AbstractContextManager[None]],
) -> None:
    tried: list[str] = []
    route, job = RouteTable(redis).get(settled), later_job(settled, changed.__name__)
    with (
        changed(registry, settled),
        pytest.raises(RegistryChangedError, match="changed past the platform") as refused,
    ):
        run_retraining(job, settings, lambda step, share: tried.append(step))
    assert set(tried) == {"collect"}
    assert not (job.workspace(settings.home) / DATASET_FILE).exists()
    assert f"dojo models restore {settled} --why" in str(refused.value)
    page = messages(redis, settled)[0]
    assert (page.urgency, str(refused.value) in page.text) == ("page", True)
    assert [version.version for version in registry.versions(settled)] == ["1"]
    assert RouteTable(redis).get(settled) == route


def test_a_role_that_is_removed_while_a_challenger_is_trained_makes_it_no_champion(
    settled: str, registry: ModelRegistry, settings: Settings
) -> None:
    job = later_job(settled, "meanwhile")
    for task in ("collect", "validate", "build_dataset", "train"):
        getattr(tasks, task)(job, settings)
    for task in ("evaluate", "compare"):
        with (
            without_the_role(registry, settled),
            pytest.raises(RegistryChangedError, match="lost the champion's role"),
        ):
            getattr(tasks, task)(job, settings)
        answer = getattr(tasks, task)(job, settings)
    assert (answer["outcome"], answer["champion"]) == (
        "promote",
        "1",
    ), "mended, the same job goes on"


def test_what_was_decided_to_be_the_first_is_no_champion_beside_one_that_serves(
    registry: ModelRegistry, settings: Settings, redis: Redis
) -> None:
    model = "retraining_first_twice"
    write_spec(settings.models_dir, model)
    job = first_job(model)
    for task in BEFORE_THE_GATE:
        getattr(tasks, task)(job, settings)
    assert run_retraining(later_job(model), settings)["outcome"] == "first"
    with (
        without_the_role(registry, model),
        pytest.raises(RegistryChangedError, match="lost the champion's role"),
    ):
        tasks.register(job, settings)
    assert [version.version for version in registry.versions(model)] == ["1"]


def test_dojo_train_makes_a_challenger_while_a_version_serves_without_its_role(
    settled: str, registry: ModelRegistry, redis: Redis, command: Callable[..., Result]
) -> None:
    with without_the_role(registry, settled):
        trained = command("train", settled, "--as-of", "2030-03-06", "--json")
        assert trained.exit_code == 0, trained.output
        assert json.loads(trained.stdout)["alias"] == CHALLENGER
        assert registry.by_alias(settled, CHAMPION) is None
    route = RouteTable(redis).get(settled)
    assert route is not None
    assert [arm.version for arm in route.arms] == ["1"]


@pytest.mark.parametrize("arguments", [("train",), ("retrain", "--in-process", "--why", "a try")])
def test_commands_name_a_deleted_experiment_before_they_train(
    settled: str,
    registry: ModelRegistry,
    command: Callable[..., Result],
    arguments: tuple[str, ...],
) -> None:
    with without_the_experiment(registry, settled):
        refused = command(arguments[0], settled, *arguments[1:], "--as-of", "2030-03-07")
        assert refused.exit_code == 1, refused.output
        assert f"MLflow's experiment {settled} is deleted" in refused.output
        assert "Is MLflow running" not in refused.output
