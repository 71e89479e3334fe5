"""GitHub's workflows: what runs there is the code that was looked at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40}  # v\d+(\.\d+)*$")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_with_their_tag_beside_it(workflow: Path) -> None:
    used = [
        line.strip().removeprefix("- ")
        for line in workflow.read_text().splitlines()
        if "uses:" in line
    ]
    assert used, "it uses no action: this test finds none any more"
    assert [line for line in used if not PINNED.match(line)] == []
