"""New models of every label work as they are written, and impossible ones are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.core.tasks.specs import load_spec
from dojo.scaffold.draft import DraftError, draft, entities_of
from dojo.scaffold.write import files_of, write
from dojo.shop.truths import TRUTHS

ROOT = Path(__file__).parents[4]

# In a process of its own, because the catalogue reads at its import which models there are.
AGREE = """
from pathlib import Path
from dojo.core.tasks.specs import load_specs
from feature_repo.catalog import agreed
print(*agreed(load_specs(Path("models"), ("all",))))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of every label, about all of its event's entities."""
    into = tmp_path_factory.mktemp("made")
    for truth, of in TRUTHS.items():
        about = entities_of(of.stream)
        new = draft(f"new_{truth}", of.facts.task, about, truth, "a-team", into, ())
        write(files_of(new, ROOT))
    return into


def run(made: Path, *arguments: str) -> str:
    names = sorted(file.stem for file in (made / "models").glob("*.yaml"))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=made,
        env={
            **os.environ,
            "PYTHONPATH": f"{made}{os.pathsep}{ROOT}",
            "DOJO_FEATURE_MODULES": ",".join(f"{name}_features" for name in names),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_specs_of_every_label_agree_with_the_catalogue(made: Path) -> None:
    assert run(made, "-c", AGREE).split() == sorted(f"new_{truth}" for truth in TRUTHS)


def test_the_tests_of_new_models_pass(made: Path) -> None:
    assert "passed" in run(made, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")


def test_the_test_of_a_new_model_sees_a_label_that_is_used_too_early(made: Path) -> None:
    days = made / "new_amount_features" / "days.py"
    text = days.read_text()
    days.write_text(
        text.replace('settled("gained", midnight', 'last("gained", midnight').replace(
            'last("gained", midnight, WINDOW_DAYS, LABELS)', 'last("gained", midnight, WINDOW_DAYS)'
        )
    )
    try:
        with pytest.raises(AssertionError, match="failed"):
            run(made, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/new_amount")
    finally:
        days.write_text(text)


@pytest.mark.parametrize("truth", TRUTHS)
def test_a_spec_says_what_is_known_of_its_label(made: Path, truth: str) -> None:
    spec, facts = load_spec(made / "models" / f"new_{truth}.yaml"), TRUTHS[truth].facts
    assert (spec.label.truth, spec.label.event) == (truth, TRUTHS[truth].stream)
    assert (spec.task, spec.owner, spec.optional) == (facts.task, "a-team", True)
    assert spec.serving.fallback_score == facts.usual


def test_a_package_in_the_checkout_joins_without_a_table(tmp_path: Path) -> None:
    new = draft("in_place", "regression", ("customer",), "amount", "a-team", None, ())
    files = files_of(new, tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in files} == {
        "models/in_place.yaml",
        *(f"feature_repo/in_place/{name}.py" for name in ("__init__", "views", "days")),
        *(
            f"tests/unit/feature_repo/in_place/{name}.py"
            for name in ("__init__", "test_in_place_days")
        ),
    }
    write(files)
    ruff = Path(sys.executable).with_name("ruff")
    settings = ("--config", str(ROOT / "pyproject.toml"))
    known = ("--config", 'lint.isort.known-first-party = ["dojo", "feature_repo"]')
    linted = subprocess.run(
        [ruff, "check", "--no-cache", *settings, *known, "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(
    ("name", "task", "entities", "truth", "reason"),
    [
        ("Basket", "binary", "customer", "", "'Basket' is no name of a model"),
        ("class", "binary", "customer", "", "'class' is no name of a model"),
        ("taken", "binary", "customer", "", "there is a model taken already"),
        ("orders", "binary", "customer", "", "feature_repo/orders is there already"),
        ("new", "cluster", "customer", "", "no task 'cluster'; there are binary, regression"),
        ("new", "binary", "planet", "", "no entity planet; there are banner, customer, merchant"),
        ("new", "binary", "customer,customer", "", "entities must be named and differ"),
        ("new", "binary", "", "", "entities must be named and differ, got none"),
        ("new", "binary", "customer", "rain", "no truth 'rain'; there are fraud (binary), amount"),
        ("new", "binary", "customer", "amount", "amount is a label of regression; binary has"),
        ("new", "ranking", "banner", "", "there are spending_grade of customer, merchant"),
    ],
)
def test_an_impossible_model_is_refused_with_what_there_is(
    name: str, task: str, entities: str, truth: str, reason: str
) -> None:
    with pytest.raises(DraftError) as refused:
        draft(name, task, [e for e in entities.split(",") if e], truth, "a-team", None, ["taken"])
    assert reason in str(refused.value)


def test_the_first_label_that_fits_is_taken() -> None:
    found = draft("new", "regression", ("merchant", "product"), "", "a-team", None, ())
    assert found.truth == "delivery_days"


def test_nothing_is_left_when_one_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    files = {tmp_path / "models" / "new.yaml": "", tmp_path / "blocked" / "views.py": ""}
    with pytest.raises(OSError, match="blocked"):
        write(files)
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(DraftError, match="nothing was written"):
        write({tmp_path / "b": "", tmp_path / "a": ""})
    assert (tmp_path / "a").read_text() == "mine"
    assert not (tmp_path / "b").exists()


def test_the_command_says_what_it_wrote_and_refuses_a_second_time(tmp_path: Path) -> None:
    call = ["models", "new", "twice", "--task", "regression", "--entities", "customer"]
    call += ["--into", str(tmp_path), "--json"]
    done = CliRunner().invoke(build(), call)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["model"], said["truth"]) == ("twice", "amount")
    assert all(Path(path).is_file() for path in said["files"])
    again = CliRunner().invoke(build(), call)
    assert again.exit_code == 2
    assert "there already" in json.loads(again.stdout)["error"]


def test_a_check_names_the_line_of_a_fault(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made / "models" / "new_fraud.yaml"
    text = file.read_text()
    monkeypatch.setenv("DOJO_MODELS_DIR", str(made / "models"))
    monkeypatch.setenv("DOJO_FEATURE_MODULES", "new_fraud_features")
    monkeypatch.setenv("PYTHONPATH", str(made))
    line = 1 + text.splitlines().index("feature_service: new_fraud_v1")
    file.write_text(text.replace("new_fraud_v1", "new_fraud_v9"))
    try:
        done = CliRunner().invoke(build(), ["models", "check", "new_fraud", "--json"])
    finally:
        file.write_text(text)
    assert done.exit_code == 1, done.output
    (fault,) = json.loads(done.stdout)["faults"]
    assert fault.startswith(f"{file}:{line}: feature_service: new_fraud_v9 is not one of")


def test_a_check_of_no_model_is_a_wrong_call() -> None:
    assert CliRunner().invoke(build(), ["models", "check", "nothing"]).exit_code == 2
