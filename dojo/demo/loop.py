"""The demo's main act, in which the platform acts by itself.

The monitor finds that the champion fails. The responder has it evaluated and retrained.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from redis.exceptions import RedisError
from rich.console import Group

from dojo.core.state.work_orders import Work, WorkOrders
from dojo.demo.acts import DemoStage, beside_the_champion, said
from dojo.demo.showing import board, view
from dojo.demo.showing.board import Board
from dojo.demo.showing.news import News, line
from dojo.demo.showing.view import Frame
from dojo.demo.steps import StepFailedError, print_line
from dojo.demo.traffic import at_speed, watch

# Wall time. An evaluation takes half a minute, a retraining in Airflow two to four minutes. A busy
# machine takes several times that.
LONGEST_WORK_SECONDS = 1_800.0
POLL_SECONDS = 0.5


def until_the_loop_acts(stage: DemoStage, longest: timedelta) -> dict[str, Any] | None:
    """Show live traffic until the responder has had the champion retrained.

    Returns the retraining's answer. None when the viewer left, or when nothing was wrong for
    `longest`, world time.
    """
    orders, seen, news = (
        WorkOrders(stage.redis),
        Board(stage.redis, stage.model),
        News(stage.redis, stage.model),
    )
    known = {work.order.id for work in orders.ended(limit=100)}
    end = stage.clock.now() + longest
    while stage.clock.now() < end:
        if not _watch_until_ordered(stage, orders, known, seen, news, end):
            return None
        work = _next(stage.model, orders, known)
        if work is None:  # the time is over
            return None
        known.add(work.order.id)
        answer = _follow(stage, orders, work)
        if work.order.kind == "retrain":
            if answer.state == "done" and answer.answer.get("outcome") == "promote":
                beside_the_champion(stage, answer.answer["version"])
            return answer.answer
    return None


def _watch_until_ordered(
    stage: DemoStage, orders: WorkOrders, known: set[str], seen: Board, news: News, end: datetime
) -> bool:
    """Show live traffic until there is an order to follow, or `end`. False when the viewer left."""
    watcher = stage.seen
    watcher.watch_until(end)
    if stage.console.is_terminal:
        stage.console.print(
            "[bold cyan]▸[/] Live traffic, and a monitor that compares it with what the champion"
            f" promised  [dim]dojo drift show {stage.model}; ctrl-c ends the watching, not the"
            " stack[/]"
        )

    def done(look: Frame) -> bool:
        seen.look()
        for message in news.look():
            if not stage.console.is_terminal:
                print_line(stage.console, line(message))
        with suppress(RedisError):  # away for a moment: the next frame asks again
            return _next(stage.model, orders, known) is not None or look.world >= end
        return False

    with at_speed(stage.clock, stage.speed, stage.settings.speed) as pace:
        return watch(
            stage.console,
            watcher,
            stage.clock,
            pace,
            done,
            lambda look: Group(
                view.render(look), board.render(seen.newest, line(news.last) if news.last else "")
            ),
            view.line,
            stage.line_every,
        )


def _next(model: str, orders: WorkOrders, known: set[str]) -> Work | None:
    """The order to follow: an open order, or else a quick order that already ended."""
    found = [
        *orders.open(model),
        *(work for work in orders.ended(limit=20) if work.order.model == model),
    ]
    return next(
        (
            work
            for work in found
            if work.order.id not in known and work.order.kind != "drift_report"
        ),
        None,
    )


def _follow(stage: DemoStage, orders: WorkOrders, work: Work) -> Work:
    """Wait for an order's end, at the everyday speed.

    At the demo's speed a retraining would take a week of world time.
    """
    titles: dict[str, Callable[[Work], str]] = {"evaluate": _evaluated, "retrain": _retrained}
    console, order = stage.console, work.order
    what = {
        "evaluate": "The responder has the champion evaluated on the freshest labelled payments",
        "retrain": (
            "The responder has it retrained: collect, validate, build, train, evaluate, compare"
            " with the champion"
        ),
    }[order.kind]
    if console.is_terminal:
        console.print(f"[bold cyan]▸[/] {what}", highlight=False, soft_wrap=True)
        console.print(f"  [dim]{order.why}[/]", highlight=False, soft_wrap=True)
    else:
        print_line(console, f"{what}: {order.why}")
    started = time.monotonic()
    while not work.ended:
        if time.monotonic() - started > LONGEST_WORK_SECONDS:
            raise StepFailedError(
                f"{order.kind} {order.id}: not within {LONGEST_WORK_SECONDS:g} s; `dojo logs"
                " trainer` shows why"
            )
        time.sleep(POLL_SECONDS)
        with suppress(RedisError):
            work = orders.get(order.id) or work
    stage.steps.finished(
        f"responder: {order.kind}", time.monotonic() - started, titles[order.kind](work)
    )
    return work


def _evaluated(work: Work) -> str:
    if work.state != "done":
        return f"{work.state}: {work.answer.get('error', 'no reason given')}"
    return f"{work.answer.get('verdict')}: {work.answer.get('reason', '')}"


def _retrained(work: Work) -> str:
    return (
        said(work.answer)
        if work.state == "done"
        else f"{work.state}: {work.answer.get('error', 'no reason given')}"
    )
