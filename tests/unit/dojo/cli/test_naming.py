"""How a model and a version are named in a call, and what Tab offers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.cli.naming import complete_model, complete_version, model_version
from tests.support.servers import free_port

ROOT = Path(__file__).parents[4]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with one spec; no Redis runs."""
    shutil.copy(ROOT / "models" / "fraud_detection.yaml", tmp_path)
    monkeypatch.setenv("DOJO_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("DOJO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOJO_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    return tmp_path


@pytest.mark.parametrize("call", [("shop@2",), ("shop", "2"), ("shop@2", "2")], ids=" ".join)
def test_a_version_is_named_behind_an_at_or_as_it_was_earlier(call: tuple[str, ...]) -> None:
    assert model_version(*call) == ("shop", "2")


@pytest.mark.parametrize(
    "call", [("shop",), ("@2",), ("shop@",), ("shop@x",), ("shop@2", "3")], ids=" ".join
)
def test_a_version_that_is_not_named_is_a_wrong_call(call: tuple[str, ...]) -> None:
    with pytest.raises(typer.Exit) as refused:
        model_version(*call)
    assert refused.value.exit_code == 2


def error(*words: str) -> tuple[int, str]:
    ran = CliRunner().invoke(build(), [*words, "--json"])
    return ran.exit_code, json.loads(ran.stdout)["error"]


def test_the_only_model_need_not_be_named(models: Path) -> None:
    code, said = error("routes", "show")
    assert code == 1
    assert "Redis does not answer" in said, "the model was understood, and its route is asked for"


def test_with_several_models_the_call_names_one(models: Path) -> None:
    shutil.copy(models / "fraud_detection.yaml", models / "second.yaml")
    assert error("routes", "show") == (2, "say which model; there are fraud_detection, second")
    (models / "second.yaml").unlink()
    (models / "fraud_detection.yaml").unlink()
    assert error("routes", "show") == (2, "say which model; there are none")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ro", "rollout\nroutes"),
        ("routes show fra", "fraud_detection"),
        ("drift show --check perf", "performance"),
        ("world drift start unit", "unit_bug"),
        ("rollout abort fra", "fraud_detection"),
        ("models promote fra", "fraud_detection@"),
    ],
)
def test_tab_completes_commands_and_values(models: Path, typed: str, offered: str) -> None:
    """The shell's own call. A missing reason or model is no error yet."""
    words = f"dojo {typed}"
    env = {
        "_DOJO_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    asked = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['dojo']; from dojo.cli.app import main; main()",
        ],
        env=os.environ | env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (asked.stdout.strip(), asked.stderr) == (offered, "")


def test_tab_offers_models_and_needs_no_server(models: Path) -> None:
    assert list(complete_model("fr")) == ["fraud_detection"]
    assert list(complete_model("x")) == []
    assert list(complete_version("")) == ["fraud_detection@"]
