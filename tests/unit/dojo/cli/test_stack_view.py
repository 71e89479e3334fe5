"""What `dojo status` says of who is champion and who answers."""

from __future__ import annotations

import pytest

from dojo.cli.stack.view import champion_line


@pytest.mark.parametrize(
    ("champion", "serving", "said"),
    [
        ("2", "2", "version 2"),
        ("2", "", "version 2"),
        ("3", "2", "version 3; version 2 answers: dojo routes show shop"),
        ("?", "2", "MLflow does not answer; version 2 answers"),
        ("?", "", "MLflow does not answer"),
        (None, "", "no version yet: dojo train shop"),
    ],
)
def test_a_training_is_offered_only_where_no_version_serves(
    champion: str | None, serving: str, said: str
) -> None:
    assert champion_line("shop", champion, serving) == said


def test_a_role_that_is_gone_is_no_reason_to_train() -> None:
    said = champion_line("shop", None, "2")
    assert "none in the registry, and version 2 answers: dojo routes show shop" in said
    assert "train" not in said
