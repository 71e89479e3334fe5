"""The responder on a real Redis: from a verdict to its action, messages and records."""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis
from typer.testing import CliRunner, Result

from dojo.cli.app import build
from dojo.core.connections import connect_redis
from dojo.core.events.dead_letters import DEAD_LETTERS, KEY, DeadLetters
from dojo.core.events.log import PAYLOAD_FIELD, stream_key
from dojo.core.events.types import Stream
from dojo.core.judging.rollout.stages import Stage
from dojo.core.registry.versions import CHAMPION, PREVIOUS_CHAMPION, ModelRegistry
from dojo.core.state.clock import RedisWorldClock, wall_now
from dojo.core.state.drift_reports import drift_report
from dojo.core.state.loss import loss_document
from dojo.core.state.responder_control import switch_dry_run, switch_pause
from dojo.core.state.rollouts import RolloutRequest
from dojo.core.state.work_orders import WorkOrder
from pipelines.release.artefacts import dump_spec
from pipelines.release.tracking import tracking_client
from services.responder.state import Action
from tests.support.doomed import DoomedMlflow, Fate, KilledError, doomed_redis
from tests.support.registries import sealed_registry
from tests.support.responding import DAY, DEGRADED, HOUR, START, Surroundings
from tests.support.rollouts import register_versions
from tests.support.servers import (
    MlflowServer,
    RedisServer,
    Server,
    free_port,
    http_ok,
    wait_until,
)

pytestmark = pytest.mark.integration

NOBODY = "http://127.0.0.1:9"  # the discard port: no server answers there


@pytest.fixture(scope="session")
def absent() -> ModelRegistry:
    return sealed_registry(NOBODY, timeout_seconds=1, retries=0)


@pytest.fixture
def shop(redis_server: RedisServer, absent: ModelRegistry) -> Surroundings:
    return Surroundings(redis_server.url, absent)


def test_a_warning_is_told_once_and_its_end(shop: Surroundings) -> None:
    for _ in range(3):
        shop.say("warning")
        shop.rounds()
        shop.pass_time(1)
    shop.say("ok")
    shop.rounds()
    assert shop.titles() == [
        "performance of version 2 is warning",
        "performance of version 2 is over",
    ]
    assert (shop.orders.open(), shop.done(), shop.state.troubles) == ([], [], {})


def test_after_a_loss_of_redis_nothing_begins_until_a_person_has_answered(
    shop: Surroundings,
) -> None:
    shop.rounds(1)
    shop.redis.flushall()
    shop.say("severe")
    shop.rounds()
    assert shop.orders.open() == []
    (page,) = [message for message in shop.inbox.newest(10) if message.urgency == "page"]
    assert (page.title, page.model) == ("Redis has lost state", "platform")
    (held,) = [
        message for message in shop.messages() if "no action on severe performance" in message.title
    ]
    assert "Redis has lost" in held.text
    assert "dojo restore" in held.text
    assert shop.serving() == "2", "the route was put back"
    assert shop.metrics.state_lost._value.get() == 1

    document = loss_document(shop.redis)
    document.put(msgspec.structs.replace(document.get(), answered_by="Zoë"))
    shop.rounds()
    assert shop.open_order("evaluate").order.who == "responder"
    assert shop.metrics.state_lost._value.get() == 0


def test_severe_is_evaluated_degraded_is_retrained_and_a_better_version_ends_it(
    shop: Surroundings,
) -> None:
    verdict = shop.say("severe")
    shop.rounds()
    evaluation = shop.open_order("evaluate").order
    first_payment = START - 3 * HOUR - shop.spec.drift.performance.window  # their labels showed it
    assert (evaluation.who, evaluation.parameters) == (
        "responder",
        {"since": first_payment.isoformat()},
    )
    shop.say("severe", "flagged_rate")
    shop.pass_time(1)
    shop.rounds()
    assert len(shop.orders.open()) == 1  # one action at a time, in spite of other troubles
    shop.answer("evaluate", **DEGRADED)
    shop.rounds()
    retraining = shop.open_order("retrain").order
    assert "PR-AUC 0.400 against 0.600" in retraining.why
    assert "severe performance of version 2" in retraining.why
    shop.answer("retrain", outcome="promote", version="3", reason="gain 12 %", rollout="shop-3")
    shop.rounds()
    assert shop.done() == [
        "ordered an evaluation of the champion, version 2",
        "the champion is degraded",
        "ordered a retraining",
        "the retraining found a better version",
    ]
    began = shop.entries()[2]
    assert (began.who, began.before["verdict"]) == ("responder", verdict.event_id)
    assert began.before["evaluation"]["relative_loss"] == 0.33
    assert began.before["findings"] == ["catch_rate: severe, 0.31 (threshold 0.45)"]
    assert shop.messages("page") == []
    assert shop.state.action is None
    assert (shop.count("evaluate", "done"), shop.count("retrain", "done")) == (1, 1)

    for _ in range(23):  # the cooldown
        shop.pass_time(1)
        shop.say("severe")
        shop.rounds(1)
    assert shop.orders.open() == []
    assert "cooldown after a retraining" in shop.messages()[-1].text
    shop.pass_time(2)
    shop.say("severe")
    shop.rounds()
    assert shop.open_order("evaluate").order.id != evaluation.id


def test_a_champion_that_did_not_lose_is_not_retrained_and_asked_about_again_a_day_later(
    shop: Surroundings,
) -> None:
    shop.say("severe", "input_drift")
    shop.rounds()
    shop.answer(
        "evaluate", verdict="ok", reason="PR-AUC 0.590 against 0.600 on its holdout", version="2"
    )
    shop.rounds()
    assert [work.order.kind for work in shop.orders.open()] == ["drift_report"]
    told = shop.messages()[-1]
    assert (told.urgency, "Nothing is retrained" in told.text) == ("info", True)
    shop.pass_time(25)
    shop.say("severe", "input_drift")
    shop.rounds()
    assert shop.open_order("evaluate")


def test_too_few_labels_are_no_answer_and_asked_for_again(shop: Surroundings) -> None:
    shop.say("severe")
    shop.rounds()
    first = shop.answer(
        "evaluate",
        verdict="insufficient_data",
        reason="9 labelled positives, 50 are needed",
        version="2",
    )
    shop.rounds()
    assert shop.count("evaluate", "no_effect") == 1
    for _ in range(11):
        shop.pass_time(1)
        shop.say("severe")
        shop.rounds(1)
    assert shop.orders.open() == []
    shop.pass_time(1.5)
    shop.say("severe")
    shop.rounds()
    assert shop.open_order("evaluate").order.id != first.order.id


@pytest.mark.parametrize(
    ("state", "answer", "said"),
    [
        (
            "done",
            {"outcome": "keep", "reason": "gain 0.1 %"},
            "the retraining did not improve the model",
        ),
        (
            "done",
            {"outcome": "regression", "reason": "loss 9 %"},
            "the retraining did not improve the model",
        ),
        ("failed", {"error": "validate: amounts are not as they were"}, "the retraining failed"),
        ("refused", {"error": "StaleDataError"}, "the retraining failed"),
    ],
)
def test_a_retraining_that_does_not_help_pages(
    shop: Surroundings, state: Any, answer: dict[str, Any], said: str
) -> None:
    shop.say("critical")
    shop.rounds()
    shop.answer("retrain", state, **answer)
    shop.rounds()
    (page,) = shop.messages("page")
    assert page.title.endswith(said)
    assert page.to == "payments-risk"
    assert str(answer.get("reason", answer.get("error"))) in page.text
    # Its data end a label delay before now. Until that moment is past the beginning, the next
    # training would learn the same.
    again = shop.state.troubles["2/performance"].retrain_after
    assert again == START - 3 * HOUR + timedelta(days=7)
    shop.pass_time(48)
    shop.say("critical", since=START - 3 * HOUR)
    shop.rounds()
    assert shop.orders.open() == []


def test_a_changed_world_is_retrained_for_not_rolled_back(shop: Surroundings) -> None:
    shop.say("critical", "input_drift")
    shop.rounds()
    assert "the world has changed, not the version" in shop.open_order("retrain").order.why
    route = shop.routes.get(shop.model)
    assert route is not None
    assert route.primary.version == "2"


def test_a_broken_feed_is_a_persons_and_nothing_is_trained_on_it(shop: Surroundings) -> None:
    """Amounts come in cents instead of euros.

    They drift, and the skew check gives the reason. A person must act.
    """
    shop.say("critical", "input_drift")
    shop.say("critical", "skew", window="now")
    shop.rounds()
    assert [work.order.kind for work in shop.orders.open()] == ["drift_report"]
    titles = shop.titles("page")
    assert titles[0] == "skew of version 2 is critical"
    assert titles[1].startswith(
        "no action on critical input_drift: skew says that the data are broken"
    )
    assert "Would be next: retrain" in shop.messages("page")[1].text
    shop.rounds()
    assert len(shop.messages("page")) == 2
    shop.pass_time(1)
    shop.say("ok", "skew", window="now")
    shop.say("critical", "input_drift")
    shop.rounds()
    assert shop.open_order("retrain")


def test_a_streamer_that_hangs_is_no_changed_world_also_when_it_is_back(shop: Surroundings) -> None:
    shop.say("warning", "feature_freshness", window="now")
    shop.say("critical", "input_drift")
    shop.rounds()
    shop.pass_time(2)
    shop.say("ok", "feature_freshness", window="now")
    shop.say("critical", "input_drift")
    shop.rounds()
    assert "retrain" not in {work.order.kind for work in shop.orders.open()}
    assert shop.state.troubles["2/input_drift"].held == "stale_features"
    shop.pass_time(6)
    shop.say("critical", "input_drift")
    shop.rounds()
    assert shop.open_order("retrain"), "the stale hours are past, and it goes on"


def test_drift_is_evaluated_on_the_payments_that_drifted(shop: Surroundings) -> None:
    shop.say("severe", "input_drift")
    shop.rounds()
    assert shop.open_order("evaluate").order.parameters == {"since": (START - 3 * HOUR).isoformat()}


def test_an_old_champion_is_told_and_left_to_the_schedule(shop: Surroundings) -> None:
    shop.say("critical", "model_freshness", window="now")
    shop.rounds()
    assert [message for message in shop.messages() if "model_freshness" in message.title]
    assert not shop.orders.open()


def test_a_severe_drift_gets_one_report_and_its_link_is_told(shop: Surroundings) -> None:
    shop.say("severe", "input_drift")
    shop.rounds()
    report = shop.open_order("drift_report").order
    assert report.parameters == {
        "version": "2",
        "start": (START - 3 * HOUR).isoformat(),
        "end": START.isoformat(),
    }
    shop.answer("drift_report", url="http://mlflow/report.html")
    shop.rounds()
    found = drift_report(shop.redis, shop.model, "2").get()
    assert found is not None
    assert (found.url, found.start, found.end) == (
        "http://mlflow/report.html",
        START - 3 * HOUR,
        START,
    )
    assert [message.text for message in shop.messages() if "drift report" in message.title] == [
        "input_drift is severe. http://mlflow/report.html"
    ]
    shop.pass_time(1)
    shop.say("critical", "input_drift")
    shop.rounds()
    assert "drift_report" not in {work.order.kind for work in shop.orders.open()}


def test_paused_verdicts_are_told_and_nothing_is_done_until_it_is_resumed(
    shop: Surroundings,
) -> None:
    switch_pause(shop.redis, shop.model, True, "mia", "the feed changes today", shop.clock.now())
    shop.say("critical")
    shop.rounds()
    assert shop.orders.open() == []
    assert shop.titles()[0] == "performance of version 2 is critical"
    (page,) = shop.messages("page")
    assert "paused by mia: the feed changes today" in page.text
    assert shop.metrics.paused._value.get() == 1
    switch_pause(shop.redis, shop.model, False, "mia", "done", shop.clock.now())
    shop.rounds()
    assert shop.open_order("retrain")
    assert [(entry.who, entry.what) for entry in shop.entries()][:2] == [
        ("mia", "responder paused for shop"),
        ("mia", "responder resumed for shop"),
    ]


def test_what_has_begun_is_followed_while_paused_and_leads_to_nothing_new(
    shop: Surroundings,
) -> None:
    shop.say("severe")
    shop.rounds()
    switch_pause(shop.redis, "*", True, "mia", "wait", None)
    shop.answer("evaluate", **DEGRADED)
    shop.rounds()
    assert shop.state.action is None
    assert shop.orders.open() == []
    switch_pause(shop.redis, "*", False, "mia", "go on", None)
    shop.rounds()
    assert shop.open_order("retrain")


def retraining_waits(shop: Surroundings, waits: str) -> str:
    """A retraining that was ordered. Returns the order's id."""
    shop.say("severe")
    shop.rounds()
    shop.answer("evaluate", **DEGRADED)
    shop.rounds()
    order_id = shop.open_order("retrain").order.id
    shop.orders.begin(order_id)
    shop.orders.note(order_id, waits=waits)
    shop.rounds()
    return order_id


@pytest.mark.parametrize("waits", ["", "retrain_shop is paused in Airflow"])
def test_a_rollback_waits_for_no_retraining_and_the_retraining_is_followed_to_its_end(
    redis_server: RedisServer, absent: ModelRegistry, waits: str
) -> None:
    shop = Surroundings(redis_server.url, absent, since_hours=10)
    order_id = retraining_waits(shop, waits)
    shop.pass_time(1)
    shop.say("critical", "flagged_rate")
    shop.rounds()
    assert shop.serving() == "1"
    assert [work.order.id for work in shop.orders.open()] == [order_id]
    action = shop.state.action
    assert action is not None, "its role waits for MLflow, which is away"
    assert (action.kind, list(shop.state.aside)) == ("roll_back", ["retrain"])
    shop.service = shop.start()  # after a kill
    shop.answer("retrain", outcome="keep", reason="gain 0.1 %")
    shop.rounds()
    assert shop.count("retrain", "no_effect") == 1
    assert "the retraining did not improve the model" in shop.done()


def test_what_waits_is_told_with_the_way_out_and_keeps_no_other_order_waiting(
    shop: Surroundings,
) -> None:
    order_id = retraining_waits(
        shop, "retrain_shop is paused in Airflow. Next: dojo orders unpause shop"
    )
    (message,) = [message for message in shop.messages("warning") if "waits" in message.title]
    assert "dojo orders unpause shop" in message.text
    shop.rounds()
    assert len([title for title in shop.titles() if "waits" in title]) == 1
    shop.pass_time(25)  # over the champion's last evaluation
    shop.say("severe", "flagged_rate")
    shop.rounds()
    assert shop.open_order("evaluate"), "it does not wait for a retraining that waits"
    assert list(shop.state.aside) == ["retrain"]
    shop.orders.note(order_id, waits="")
    shop.answer("evaluate", verdict="ok", version="2", reason="as good as before")
    shop.answer("retrain", outcome="keep", reason="gain 0.1 %")
    shop.rounds()
    assert (shop.state.action, shop.state.aside, shop.orders.open()) == (None, {}, [])


def test_an_order_that_no_trainer_takes_up_has_a_deadline(shop: Surroundings) -> None:
    shop.say("severe")
    shop.rounds()
    assert shop.open_order("evaluate").state == "pending"
    shop.deadline = timedelta(0)
    shop.service = shop.start()
    shop.rounds(1)
    (ended,) = shop.orders.ended()
    assert ended.state == "failed"
    assert "no trainer took it up" in ended.answer["error"]
    assert "DOJO_ORDER_DEADLINE_SECONDS" in shop.messages("page")[-1].text


def _stop_by_pause(shop: Surroundings) -> None:
    switch_pause(shop.redis, shop.model, True, "mia", "wait", None)


def _stop_by_dry_run(shop: Surroundings) -> None:
    switch_dry_run(shop.redis, True, "mia", "look first", None)


STOPS = pytest.mark.parametrize("stop", [_stop_by_pause, _stop_by_dry_run])


@STOPS
def test_what_was_only_intended_is_not_begun_once_actions_are_stopped(
    shop: Surroundings, stop: Callable[[Surroundings], None]
) -> None:
    intend(shop)
    assert shop.state.action is not None
    stop(shop)
    shop.rounds()
    assert (shop.orders.open(), shop.state.action) == ([], None)
    assert "ordered a retraining" not in shop.done()
    assert any("no action on" in title or "dry run" in title for title in shop.titles()), (
        "it is told"
    )
    switch_pause(shop.redis, shop.model, False, "mia", "go on", None)
    switch_dry_run(shop.redis, False, "mia", "go on", None)
    shop.rounds()
    assert shop.open_order("retrain"), "what it was for was not forgotten"


@STOPS
def test_an_order_that_was_placed_and_not_noted_is_followed_though_actions_are_stopped(
    shop: Surroundings, stop: Callable[[Surroundings], None]
) -> None:
    action = intend(shop)
    order = WorkOrder(
        id=action.id,
        model=shop.model,
        kind="retrain",
        who="responder",
        why=action.why,
        world_time=action.begun,
    )
    shop.orders.place(order)
    stop(shop)
    shop.rounds()
    assert shop.state.action is not None
    shop.answer("retrain", outcome="keep", reason="gain 0.1 %")
    shop.rounds()
    assert shop.state.action is None
    assert shop.count("retrain", "no_effect") == 1


@STOPS
def test_a_rollback_goes_on_though_actions_are_stopped_only_when_traffic_has_moved(
    redis_server: RedisServer, absent: ModelRegistry, stop: Callable[[Surroundings], None]
) -> None:
    shop = Surroundings(redis_server.url, absent, since_hours=10)
    assert intend(shop).kind == "roll_back"
    stop(shop)
    shop.rounds()
    assert (shop.serving(), shop.state.action) == ("2", None)
    switch_pause(shop.redis, shop.model, False, "mia", "go on", None)
    switch_dry_run(shop.redis, False, "mia", "go on", None)
    assert intend(shop).kind == "roll_back"
    shop.serve("1", "", 0)  # the traffic moved; then a kill before the role, which waits for MLflow
    stop(shop)
    shop.rounds()
    assert shop.state.action is not None
    assert "rolls version 2 back to 1" in shop.done()


@STOPS
def test_a_rollout_is_not_asked_to_abort_once_actions_are_stopped(
    redis_server: RedisServer, absent: ModelRegistry, stop: Callable[[Surroundings], None]
) -> None:
    shop = Surroundings(redis_server.url, absent, since_hours=10)
    rollout = shop.rollouts.start(shop.spec, "2", "1", START - 20 * HOUR, "tests", "better", {})
    rollout = shop.rollouts.save(_at(rollout, Stage.WATCH))
    action = intend(shop)
    assert action.kind == "abort_rollout"
    stop(shop)
    shop.rounds()
    assert (shop.rollouts.get(shop.model), shop.state.action) == (rollout, None)
    switch_pause(shop.redis, shop.model, False, "mia", "go on", None)
    switch_dry_run(shop.redis, False, "mia", "go on", None)
    action = intend(shop)
    shop.rollouts.request(
        shop.model,
        RolloutRequest(action="abort", who="responder", why=action.why, wall_time=wall_now()),
    )
    stop(shop)
    shop.rounds()
    assert shop.state.action is not None, "it was asked for, not noted"


def intend(shop: Surroundings) -> Action:
    """Leave the state of a process killed right after it saved its intention."""
    shop.say("critical", since=START - 3 * HOUR)
    responder = shop.responder()
    responder.drain()
    while (action := shop.state.action) is None:
        assert responder.step(shop.model), "there is nothing to do"
    assert not action.placed
    assert shop.orders.get(action.id) is None
    return action


def test_a_dry_run_says_what_it_would_do_once_and_does_nothing(shop: Surroundings) -> None:
    shop.dry_run = True
    shop.service = shop.start()
    for _ in range(3):
        shop.say("critical")
        shop.rounds()
        shop.pass_time(1)
    assert shop.orders.open() == []
    assert shop.done() == ["dry run: would have ordered a retraining"]
    assert shop.count("retrain", "dry_run") == 1
    assert shop.state.action is None


def test_two_verdicts_at_once_begin_one_action(shop: Surroundings) -> None:
    for check in ("performance", "flagged_rate", "segments"):
        shop.say("critical", check)  # type: ignore[arg-type]
    shop.rounds(8)
    assert [work.order.kind for work in shop.orders.open()] == ["retrain"]
    assert shop.done() == ["ordered a retraining"]


def test_nothing_is_begun_before_everything_was_said(shop: Surroundings) -> None:
    shop.settle_seconds = 0.5
    shop.service = shop.start()
    shop.say("critical", "input_drift")
    shop.rounds()
    assert "retrain" not in {work.order.kind for work in shop.orders.open()}
    shop.say("severe", "data_quality")

    def decided() -> bool:
        shop.rounds(1)
        return bool(shop.state.troubles["2/input_drift"].held)

    wait_until(decided, 10, "it has decided")
    assert shop.state.troubles["2/input_drift"].held == "broken_data"
    assert "retrain" not in {work.order.kind for work in shop.orders.open()}


def test_two_responders_at_once_begin_one_action(shop: Surroundings) -> None:
    shop.say("critical")
    services = [shop.start(connect_redis(shop.url)) for _ in range(2)]
    stop = threading.Event()
    threads = [
        threading.Thread(target=lambda one=one: [one.turn(stop) for _ in range(8)])
        for one in services
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [work.order.kind for work in shop.orders.open()] == ["retrain"]
    assert shop.done() == ["ordered a retraining"]
    assert len(shop.messages()) == 2


def test_somebody_elses_order_is_waited_for(shop: Surroundings) -> None:
    theirs = WorkOrder(
        id="theirs", model=shop.model, kind="retrain", who="mia", why="a try", world_time=START
    )
    shop.orders.place(theirs)
    shop.say("critical")
    shop.rounds()
    assert shop.open_order("retrain").order == theirs
    shop.answer("retrain", outcome="keep")
    shop.rounds()
    assert shop.open_order("retrain").order.who == "responder"


def test_what_is_no_verdict_is_set_aside_and_stops_nothing(shop: Surroundings) -> None:
    counted = DEAD_LETTERS.labels(Stream.VERDICTS)._value.get()
    shop.redis.xadd(stream_key(Stream.VERDICTS), {PAYLOAD_FIELD: b'{"severity": "catastrophic"}'})
    shop.say("severe", model="nobody")
    shop.say("warning")
    shop.rounds()
    assert len(shop.messages()) == 1
    assert DEAD_LETTERS.labels(Stream.VERDICTS)._value.get() - counted == 2
    letters = DeadLetters(shop.redis, "responder").newest(9)
    assert any("there is no model 'nobody'" in one.reason for one in letters)
    assert len(letters) == 2
    assert shop.log.lag(Stream.VERDICTS, "responder") == 0


def test_a_verdict_is_acknowledged_only_after_its_letter_is_kept(shop: Surroundings) -> None:
    key = KEY.format(service="responder")
    shop.redis.set(key, "no sorted set: Redis refuses the letter")
    shop.redis.xadd(stream_key(Stream.VERDICTS), {PAYLOAD_FIELD: b"{"})
    shop.rounds(2)
    assert shop.log.lag(Stream.VERDICTS, "responder") == 1
    shop.redis.delete(key)
    shop.rounds(2)
    assert [letter.payload for letter in DeadLetters(shop.redis, "responder").newest(9)] == ["{"]
    assert shop.log.lag(Stream.VERDICTS, "responder") == 0


def test_an_absent_redis_is_waited_for(shop: Surroundings, redis_server: RedisServer) -> None:
    shop.say("severe")
    redis_server.stop()
    assert shop.service.turn(threading.Event()) < 5
    healthy, details = shop.service.health()
    assert (healthy, details["state"]) == (True, "retrying")
    redis_server.start()
    shop.rounds()
    assert shop.open_order("evaluate")
    assert shop.service.health()[1]["state"] == "responding"


def test_a_world_that_was_set_back_begins_anew(shop: Surroundings) -> None:
    shop.say("critical")
    shop.rounds()
    assert shop.state.action is not None
    shop.clock._now = START - 30 * DAY
    shop.rounds()
    assert (shop.state.action, shop.state.troubles) == (None, {})


def test_a_watched_versions_rollout_is_asked_to_abort_not_fought(
    redis_server: RedisServer, absent: ModelRegistry
) -> None:
    shop = Surroundings(redis_server.url, absent, since_hours=10)
    rollout = shop.rollouts.start(shop.spec, "2", "1", START - 20 * HOUR, "tests", "better", {})
    rollout = shop.rollouts.save(_at(rollout, Stage.WATCH))
    shop.say("critical", since=START - 3 * HOUR)
    shop.rounds()
    asked = shop.rollouts.get(shop.model)
    assert asked is not None
    assert asked.request is not None
    assert (asked.request.action, asked.request.who) == ("abort", "responder")
    assert shop.state.action is not None
    route = shop.routes.get(shop.model)
    assert route is not None
    assert route.primary.version == "2"  # only the controller may change it
    shop.rollouts.save(_at(asked, Stage.ROLLED_BACK))
    shop.serve("1", "", 0)
    shop.rounds()
    assert shop.state.action is None
    assert shop.done() == [
        "asked the rollout of version 2 to abort",
        "the rollout of version 2 was aborted",
    ]
    assert shop.state.troubles == {}  # they end with the version


def _at(rollout: Any, stage: Stage) -> Any:
    import msgspec

    return msgspec.structs.replace(
        rollout, stage=stage, request=None if stage is Stage.ROLLED_BACK else rollout.request
    )


# Rolling back, on a real MLflow.


@pytest.fixture
def served(
    redis_server: RedisServer, mlflow_server: MlflowServer, request: pytest.FixtureRequest
) -> Surroundings:
    """Start with a version 2 that took over from version 1 ten hours ago, in the registry too."""
    model = f"responder_{abs(hash(request.node.name)) % 10**8}"
    registry = sealed_registry(mlflow_server.url, timeout_seconds=10, retries=0)
    if model in registry.models():
        tracking_client(registry).delete_registered_model(model)
    register_versions(registry, model)
    registry.promote(model, "2")
    return Surroundings(redis_server.url, registry, model, since_hours=10)


def test_trouble_that_came_with_the_version_is_rolled_back_route_role_and_record(
    served: Surroundings,
) -> None:
    served.say("critical", since=START - 3 * HOUR)
    served.rounds()
    route = served.routes.get(served.model)
    assert route is not None
    assert [arm.version for arm in route.arms] == ["1"]
    assert route.who == "responder"
    champion = served.registry.by_alias(served.model, CHAMPION)
    assert champion is not None
    assert champion.version == "1"
    assert served.registry.by_alias(served.model, PREVIOUS_CHAMPION) is None
    assert (
        "critical performance of version 2"
        in served.registry.get(served.model, "2").tags.rolled_back
    )
    assert served.done() == ["rolls version 2 back to 1", "version 2 was rolled back to 1"]
    became = [
        entry for entry in served.audit.entries() if entry.what == "version 1 is champion again"
    ]
    assert [entry.who for entry in became] == ["responder"]
    assert served.titles("page") == ["version 2 was rolled back to 1"]
    assert served.audit.verify().faults == ()
    assert (served.count("roll_back", "done"), served.orders.open()) == (1, [])
    assert served.titles()[-1] == "performance of version 2 went with the version"


def test_traffic_moves_while_mlflow_is_away_and_the_role_follows(
    served: Surroundings, absent: ModelRegistry
) -> None:
    served.service = served.start(registry=absent)
    served.say("critical", since=START - 3 * HOUR)
    served.rounds()
    route = served.routes.get(served.model)
    assert route is not None
    assert route.primary.version == "1"
    assert served.state.action is not None
    assert "MLflow did not answer" in str(served.service.health()[1])
    champion = served.registry.by_alias(served.model, CHAMPION)
    assert champion is not None
    assert champion.version == "2"
    served.service = served.start()
    served.rounds()
    champion = served.registry.by_alias(served.model, CHAMPION)
    assert champion is not None
    assert champion.version == "1"
    assert served.done() == ["rolls version 2 back to 1", "version 2 was rolled back to 1"]


def test_a_version_that_is_gone_is_not_rolled_back_to(served: Surroundings) -> None:
    tracking_client(served.registry).delete_model_version(served.model, "1")
    served.say("critical", since=START - 3 * HOUR)
    served.rounds()
    route = served.routes.get(served.model)
    assert route is not None
    assert route.primary.version == "2"
    assert served.titles("page") == ["roll back failed"]


# Killed.


def life(shop: Surroundings) -> int:
    """Run responders until one finds nothing more to do. Return the number of killed ones.

    The first dies after its first write (to Redis or MLflow), the next after its second, and so on.
    """
    for survives in range(60):
        fate = Fate(survives)
        registry = sealed_registry(shop.registry.url, timeout_seconds=10, retries=0)
        registry.api = DoomedMlflow(registry.api, fate)  # type: ignore[assignment]
        redis = doomed_redis(shop.url, fate)
        service = shop.start(redis, registry)
        try:
            for _ in range(4):
                service.turn(threading.Event())
            return survives
        except KilledError:
            continue
        finally:
            redis.close()
    raise AssertionError("it does not settle")


def test_killed_after_any_write_it_ends_the_same_with_one_rollback(served: Surroundings) -> None:
    served.say("critical", since=START - 3 * HOUR)
    assert life(served) >= 5
    route = served.routes.get(served.model)
    champion = served.registry.by_alias(served.model, CHAMPION)
    assert route is not None
    assert champion is not None
    assert (route.primary.version, champion.version) == ("1", "1")
    assert served.done() == ["rolls version 2 back to 1", "version 2 was rolled back to 1"]
    assert len(served.titles()) == len(set(served.titles())) == 4
    assert served.audit.verify().faults == ()


def test_killed_after_any_write_it_orders_once_and_pages_once(shop: Surroundings) -> None:
    shop.say("severe", "input_drift")
    killed = [life(shop)]
    shop.answer("evaluate", **DEGRADED)
    shop.answer("drift_report", url="http://report")
    killed += [life(shop)]
    shop.answer("retrain", outcome="keep", reason="gain 0.1 %")
    killed += [life(shop)]
    assert min(killed) >= 2, killed
    assert sum(killed) >= 9, killed
    assert shop.done() == [
        "ordered an evaluation of the champion, version 2",
        "the champion is degraded",
        "ordered a retraining",
        "the retraining did not improve the model",
    ]
    assert sorted(work.order.kind for work in shop.orders.ended()) == [
        "drift_report",
        "evaluate",
        "retrain",
    ]
    assert shop.orders.open() == []
    assert len(shop.titles("page")) == 1
    assert len(shop.titles()) == len(set(shop.titles()))


@pytest.fixture
def environment(redis_server: RedisServer, tmp_path: Path, shop: Surroundings) -> dict[str, str]:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "shop.yaml").write_text(dump_spec(shop.spec))
    RedisWorldClock(Redis.from_url(redis_server.url)).set(START, 0)
    return {
        "DOJO_HOME": str(tmp_path / "home"),
        "DOJO_MODELS_DIR": str(tmp_path / "models"),
        "DOJO_REDIS_URL": redis_server.url,
        "DOJO_MLFLOW_URL": NOBODY,
        "DOJO_RESPONDER_PORT": str(free_port()),
        "COLUMNS": "200",
    }


def test_the_process_killed_and_restarted_goes_on_with_the_same_order(
    environment: dict[str, str], shop: Surroundings, tmp_path: Path
) -> None:
    server = Server(
        "responder",
        [sys.executable, "-m", "services.responder"],
        tmp_path,
        {**os.environ, **environment},
    )
    shop.say("critical")
    server.start()
    try:
        wait_until(
            lambda: bool(shop.orders.open()),
            90,
            f"it orders a retraining:\n{server.tail()}",
            every=0.05,
        )
        server.kill()
        before = shop.open_order("retrain").order
        server.start()
        port = environment["DOJO_RESPONDER_PORT"]
        wait_until(
            lambda: http_ok(f"http://127.0.0.1:{port}/healthz"),
            90,
            f"it answers:\n{server.tail()}",
            every=0.1,
        )
        wait_until(
            lambda: bool(shop.done()), 60, f"the order is on record:\n{server.tail()}", every=0.1
        )
        assert shop.open_order("retrain").order == before
        assert shop.done() == ["ordered a retraining"]
        shop.answer("retrain", "failed", error="no luck")
        wait_until(
            lambda: bool(shop.messages("page")),
            60,
            f"somebody is paged:\n{server.tail()}",
            every=0.1,
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        assert (
            'dojo_responder_actions_total{action="retrain",model="shop",outcome="failed"} 1.0'
            in text
        )
        assert "dojo_responder_paused 0.0" in text
    finally:
        assert server.stop() == 0


@pytest.fixture
def command(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(build(), ("responder", *arguments))


def test_the_commands_show_stop_and_rehearse(
    command: Callable[..., Result], shop: Surroundings
) -> None:
    assert "no trouble is known" in command("status").stdout
    assert "Nothing was done yet" in command("log").stdout
    paused = command("pause", "shop", "--why", "a new feed", "--who", "mia")
    assert (paused.exit_code, paused.stdout) == (0, "shop: paused\n")
    assert command("pause", "shop", "--why", "again").stdout == "shop: paused already\n"
    shop.say("critical")
    shop.rounds()
    shown = command("status", "shop").stdout
    assert "paused for shop by mia: a new feed" in shown
    assert "critical performance of version 2 since 2018-06-30 21:00" in shown
    assert "held back: paused" in shown
    assert command("resume", "--why", "done").stdout == "every model: acting again\n"
    assert command("dry-run", "on", "--why", "first a look").stdout == "dry run is on\n"
    shop.rounds()
    assert shop.orders.open() == []
    assert command("dry-run", "off", "--why", "it is right").exit_code == 0
    shop.rounds()
    state = json.loads(command("status", "--json").stdout)["models"][0]
    assert state["action"]["kind"] == "retrain"
    assert state["troubles"][0]["severity"] == "critical"
    log = json.loads(command("log", "--json").stdout)
    assert [entry["what"] for entry in log] == [
        "responder paused for shop",
        "responder resumed",
        "responder's dry run on",
        "dry run: would have ordered a retraining",
        "responder's dry run off",
        "ordered a retraining",
    ]
    assert (
        "dry run: would have ordered a retraining" in command("log", "shop", "--limit", "3").stdout
    )
    wrong = command("pause", "nobody", "--why", "x")
    assert (wrong.exit_code, "no model nobody; there are" in wrong.output) == (2, True)
    assert command("resume", "--why", " ").exit_code == 2


def test_moments_of_the_trail_say_since_when_a_version_has_traffic(shop: Surroundings) -> None:
    """The trail's entries give the time from which a version has traffic.

    They reach back through changes of the route that keep its traffic, and no further.
    """
    from dojo.core.registry.promotion import Change, RoleChanges, full_traffic
    from dojo.core.state.responder_control import Control
    from services.responder.situation import Situation

    champions = RoleChanges(shop.registry, shop.routes, shop.audit)
    settled = Change(key="settled", who="tests", why="watch is over", world_time=START - HOUR)
    champions.route(shop.model, "champion", full_traffic("2", None), settled)
    shop.say("critical")
    shop.rounds(1)
    world = Situation(shop.routes, shop.rollouts, shop.audit).look(shop.state, Control(), START)
    assert (world.serving, world.traffic_since, world.previous) == ("2", START - 240 * HOUR, "1")
    assert isinstance(world.traffic_since, datetime)
