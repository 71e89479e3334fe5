"""The demo without a terminal prints a line per step and change, within a log's width."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from dojo.core.state.inbox import Message
from dojo.demo.showing.news import INTENDED, line
from dojo.demo.steps import LINE_WIDTH, StepFailedError, Steps, print_line
from services.responder import announcements

NOW = datetime(2025, 1, 12, 6, tzinfo=UTC)


def off_a_terminal() -> Console:
    return Console(file=io.StringIO(), width=40)


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def message(title: str, text: str) -> Message:
    return Message(
        "m",
        "info",
        f"shop: {title}",
        text,
        to="us",
        model="shop",
        source="responder",
        world_time=NOW,
        wall_time=NOW,
    )


def test_a_long_line_is_cut_and_stays_one_line() -> None:
    console = off_a_terminal()
    print_line(console, "x" * 300)
    print_line(console, "[not markup]")
    assert [len(text) for text in printed(console)] == [LINE_WIDTH, 12]
    assert printed(console)[0].endswith("x…")


def test_a_step_is_one_line_when_it_ends() -> None:
    console = off_a_terminal()
    steps = Steps(console)
    steps.run("List the runbooks", ["runbook"], lambda answer: f"{len(answer)} of them")
    steps.wait("Wait for nothing", lambda: "it is there", within=1)
    first, second = printed(console)
    assert "s  List the runbooks: " in first
    assert second.endswith("s  Wait for nothing: it is there")


def test_a_step_that_fails_shows_its_own_words(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StepFailedError, match="`dojo routes show nobody@x` failed"):
        Steps(off_a_terminal()).run("Ask", ["routes", "show", "nobody@x"], str)
    assert "error" in capfd.readouterr().err


def test_news_say_when_what_and_what_comes_of_it() -> None:
    told = message(
        "input_drift of version 1 is warning",
        "PSI 0.3\nSince 2025-01-12 05:00 (world time). Nothing is done about it"
        " automatically.\nLook at: x",
    )
    assert (
        line(told) == "01-12 06:00  input_drift of version 1 is warning. Nothing is done about it"
        " automatically."
    )
    held = message(
        "no action on severe performance: paused",
        "PR-AUC fell\nWould be next: retrain. Held back: paused by ada.",
    )
    assert (
        line(held) == "01-12 06:00  no action on severe performance: paused. Would be next: retrain"
    )


def test_every_remedy_of_the_responder_is_known_to_the_news() -> None:
    assert all(text.startswith(INTENDED) for text in announcements._INTENDED.values())
