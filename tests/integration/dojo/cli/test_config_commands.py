"""`dojo config` on a real Redis without a stack: what edited specs would change, and refusals.

A refused spec is refused before anything is recorded.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from redis import Redis
from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.core.state.applied_specs import AppliedSpecs
from dojo.core.state.audit import AuditTrail
from dojo.core.tasks.specs import load_specs
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

SPEC = Path("models/fraud_detection.yaml").read_text()


class Team:
    """Two models' applied specs, and the command on them."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.models, self.redis = directory / "models", Redis.from_url(redis_url)
        self.models.mkdir()
        self._environment = {
            "DOJO_HOME": str(directory),
            "DOJO_MODELS_DIR": str(self.models),
            "DOJO_REDIS_URL": redis_url,
        }
        for name in ("first", "second"):
            self.write(name)
        for spec in load_specs(self.models).values():
            AppliedSpecs(self.redis).apply(spec, "trainer", "start", None)

    def write(self, name: str, **edits: str) -> None:
        text = SPEC.replace("name: fraud_detection", f"name: {name}")
        for right, wrong in edits.items():
            assert f"{right}: " in text
            text = "\n".join(
                line if f"{right}: " not in line else f"{line.split(right)[0]}{right}: {wrong}"
                for line in text.split("\n")
            )
        (self.models / f"{name}.yaml").write_text(text)

    def config(self, *arguments: str) -> Result:
        return CliRunner().invoke(build(), ["config", *arguments], env=self._environment)

    @property
    def entries(self) -> int:
        return AuditTrail(self.redis).length()


@pytest.fixture
def team(tmp_path: Path, redis_server: RedisServer) -> Team:
    return Team(tmp_path, redis_server.url)


def test_a_diff_names_each_field_with_both_values_and_changes_nothing(team: Team) -> None:
    assert "no spec was edited" in team.config("diff").output
    team.write("second", canary_time="3h")
    assert "second rollout.canary_time 4h 3h" in " ".join(team.config("diff").output.split())
    assert json.loads(team.config("diff", "--json").stdout) == {
        "changes": {"second": {"rollout.canary_time": {"before": "4h", "after": "3h"}}},
        "restart": [],
    }
    assert team.entries == 0


def test_one_wrong_spec_keeps_every_other_from_being_applied(team: Team) -> None:
    team.write("first", canary_time="3h")
    team.write("second", canary_time="soon")
    refused = team.config("apply", "--why", "shorter", "--yes")
    assert refused.exit_code == 1
    assert "second.yaml" in refused.stderr
    assert "rollout.canary_time" in refused.stderr
    assert team.entries == 0
    team.write("second", maximum="30d")
    refused = team.config("apply", "--why", "shorter", "--yes")
    assert refused.exit_code == 2
    assert "second: label.delay.maximum: the recorded labels of this world follow" in " ".join(
        refused.stderr.split()
    )
    team.write("second", truth="amount")
    refused = team.config("apply", "--why", "another question", "--yes")
    assert refused.exit_code == 2
    assert "second: label.truth: the recorded labels of this world follow" in " ".join(
        refused.stderr.split()
    )
    assert team.entries == 0


def test_a_new_model_is_refused_because_processes_lack_its_features(team: Team) -> None:
    team.write("first", canary_time="3h")
    team.write("third")
    refused = team.config("apply", "--why", "a third model", "--yes")
    assert refused.exit_code == 2
    assert "third is new" in " ".join(refused.stderr.split())
    assert "dojo down, then dojo up" in " ".join(refused.stderr.split())
    assert team.entries == 0


def test_another_models_edit_is_refused_where_one_model_is_meant(team: Team) -> None:
    team.write("first", canary_time="3h")
    team.write("second", canary_time="2h")
    refused = team.config("apply", "--model", "first", "--why", "shorter", "--yes")
    assert refused.exit_code == 2
    assert "second was edited too" in refused.stderr
    assert team.entries == 0
    team.write("second")
    applied = team.config("apply", "--model", "first", "--why", "shorter", "--yes", "--json")
    assert json.loads(applied.stdout)["changes"] == {
        "first": {"rollout.canary_time": {"before": "4h", "after": "3h"}}
    }
    assert team.entries == 1
    assert team.config("apply", "--why", " ", "--yes").exit_code == 2, "a reason is asked for"
