"""Which models run: by name, without names, and all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dojo.core.settings import ALL_MODELS
from dojo.core.spec.names import model_names, owner_of
from dojo.core.spec.read import SpecError
from dojo.core.tasks.specs import load_right_specs, load_specs

ROOT = Path(__file__).parents[4]
FRAUD = (ROOT / "models" / "fraud_detection.yaml").read_text()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Three models, of which one is optional."""
    for name, line in (("always", ""), ("also", "optional: false"), ("seldom", "optional: true")):
        spec = FRAUD.replace("name: fraud_detection", f"name: {name}\n{line}")
        (tmp_path / f"{name}.yaml").write_text(spec)
    return tmp_path


@pytest.mark.parametrize(
    ("chosen", "running"),
    [
        ((), ["also", "always"]),
        (("seldom",), ["seldom"]),
        (("seldom", "always"), ["always", "seldom"]),
        ((ALL_MODELS,), ["also", "always", "seldom"]),
    ],
)
def test_the_names_and_the_specs_agree(
    models: Path, chosen: tuple[str, ...], running: list[str]
) -> None:
    assert model_names(models, chosen) == running
    assert list(load_specs(models, chosen)) == running


@pytest.mark.parametrize("chosen", [(), (ALL_MODELS,), ("fraud_detection",)])
def test_the_names_and_the_specs_of_the_shop_agree(chosen: tuple[str, ...]) -> None:
    assert model_names(ROOT / "models", chosen) == list(load_specs(ROOT / "models", chosen))


@pytest.mark.parametrize(
    ("line", "optional"),
    [
        ("optional: true", True),
        ("optional:  True   # seldom asked", True),
        ("optional: on", True),
        ("optional: false", False),
        ("optional: off  # true", False),
        ("# optional: true", False),
    ],
)
def test_the_line_means_what_yaml_says(tmp_path: Path, line: str, optional: bool) -> None:
    for name, first in (("one", ""), ("other", line)):
        spec = FRAUD.replace("name: fraud_detection", f"name: {name}\n{first}")
        (tmp_path / f"{name}.yaml").write_text(spec)
    running = ["one"] if optional else ["one", "other"]
    assert model_names(tmp_path) == list(load_specs(tmp_path)) == running


def test_an_unknown_name_is_refused_with_those_that_there_are(models: Path) -> None:
    with pytest.raises(SpecError, match=r"DOJO_MODELS: no sledom in .*; there are also, always"):
        load_specs(models, ("sledom",))


def test_a_way_to_write_optional_that_commands_cannot_see_is_refused(models: Path) -> None:
    file = models / "seldom.yaml"
    file.write_text(file.read_text().replace("optional: true", '"optional": true'))
    with pytest.raises(SpecError, match="write `optional: true` on a line of its own"):
        load_specs(models)


def test_a_wrong_spec_of_a_model_that_does_not_run_stops_nobody(models: Path) -> None:
    file = models / "seldom.yaml"
    file.write_text(file.read_text().replace("task: binary", "task: prophecy"))
    assert list(load_specs(models)) == ["also", "always"]
    with pytest.raises(SpecError, match="prophecy"):
        load_specs(models, ("seldom",))


def test_a_wrong_spec_is_left_out_alone_with_its_fault(models: Path) -> None:
    file = models / "also.yaml"
    file.write_text(file.read_text().replace("task: binary", "task: prophecy"))
    loaded = load_right_specs(models)
    assert list(loaded.specs) == ["always"]
    line = 1 + file.read_text().splitlines().index("task: prophecy")
    assert loaded.faults["also"].startswith(f"{file}:{line}: task: must be one of binary")
    with pytest.raises(SpecError, match="prophecy"):
        load_specs(models)


def test_without_any_right_spec_every_fault_is_told(models: Path) -> None:
    for name in ("always", "also"):
        file = models / f"{name}.yaml"
        file.write_text(file.read_text().replace("task: binary", "task: prophecy"))
    with pytest.raises(SpecError) as refused:
        load_right_specs(models)
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        str(models / "also.yaml"),
        str(models / "always.yaml"),
    ]


@pytest.mark.parametrize(
    ("line", "owner"),
    [
        ("owner: payments-risk", "payments-risk"),
        ('owner: "the team of risk"  # since May', "the team of risk"),
        ("owner:", "ml-platform"),
    ],
)
def test_the_owner_of_a_wrong_spec_is_known(tmp_path: Path, line: str, owner: str) -> None:
    (tmp_path / "wrong.yaml").write_text(f"name: [\n{line}\n")
    assert owner_of(tmp_path, "wrong") == owner
    assert owner_of(tmp_path, "absent") == "ml-platform"


def test_only_optional_models_are_too_few(models: Path) -> None:
    for name in ("always", "also"):
        (models / f"{name}.yaml").unlink()
    with pytest.raises(SpecError, match="every model is optional, so DOJO_MODELS must name one"):
        load_specs(models)
