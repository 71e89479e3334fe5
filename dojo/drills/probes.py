"""Independent measurements of harm. None is no data, which never counts as health."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import RedisError

from dojo.actions.desk import Desk
from dojo.core.events.log import RedisEventLog
from dojo.core.lake import Lake
from dojo.core.state.clock import ClockNotSetError, wall_now
from dojo.core.state.freshness import read_freshness
from dojo.drills.faults.changed_rule import SHIPPED
from dojo.drills.spec import ProbeName
from dojo.shop.events import TRANSACTIONS

# An event log without a new event for so long tells nothing of the lake. Wall time.
QUIET_LOG = timedelta(seconds=30)

# Views with a longer promise than this are computed once a day.
DAILY = timedelta(days=1)

# Of dojo_world_gateway_answers_total: an answer came.
ANSWERED = frozenset({"scored", "degraded", "refused"})
ANSWERS = "dojo_world_gateway_answers_total"

# Of the answers of a minute. Below it, a page about unanswered callers is no false one.
WELL_SHARE = 0.999


def measure(desk: Desk, probe: ProbeName) -> float | None:
    """Return a probe's value. None without data, as while a server is away."""
    try:
        return _PROBES[probe](desk)
    except (RedisError, ClockNotSetError, OSError):
        return None


def lake_behind_seconds(desk: Desk) -> float | None:
    """Return how long ago the lake's newest event happened, wall seconds at the world's speed."""
    speed, now = desk.clock.speed(), desk.clock.now()
    last = RedisEventLog(desk.redis, 1).last_id(TRANSACTIONS)
    appended = datetime.fromtimestamp(int(last.partition("-")[0]) / 1000, tz=now.tzinfo)
    newest = Lake(desk.settings.lake_dir).newest(TRANSACTIONS)
    if speed == 0 or newest is None or wall_now() - appended > QUIET_LOG:
        return None
    return (now - newest).total_seconds() / speed


def features_behind_days(desk: Desk) -> float | None:
    """Return the age of the oldest daily features, world days."""
    now, views = desk.clock.now(), read_freshness(desk.redis).values()
    ages = [view.age(now) for view in views if view.sla_seconds >= DAILY.total_seconds()]
    return max(ages) / DAILY if ages else None


def false_alarm(desk: Desk) -> float | None:
    """Return 2 while CallersUnanswered fires and callers get answers, 0 while its rule is right.

    1 is a rule that differs from the shipped one, or is gone, without such an alarm.
    """
    rules = _ask(desk, "/api/v1/rules?type=alert")["groups"]
    found = [
        rule for group in rules for rule in group["rules"] if rule["name"] == "CallersUnanswered"
    ]
    if any(rule["state"] == "firing" for rule in found) and _callers_are_well(desk):
        return 2.0
    return 0.0 if found and all(SHIPPED in rule["query"] for rule in found) else 1.0


def _callers_are_well(desk: Desk) -> bool:
    """Return whether almost all answers of the last minute came, as the callers count them."""
    answered = "|".join(sorted(ANSWERED))
    query = (
        f'sum(rate({ANSWERS}{{outcome=~"{answered}"}}[1m])) / sum(rate({ANSWERS}[1m]))'
        f" >= {WELL_SHARE}"
    )
    return bool(_ask(desk, f"/api/v1/query?query={quote(query)}")["result"])


def _ask(desk: Desk, path: str) -> Any:
    with urllib.request.urlopen(f"{desk.settings.url_of('prometheus')}{path}", timeout=2) as answer:
        return json.load(answer)["data"]


def callers(desk: Desk) -> tuple[float, float] | None:
    """Return how many answers callers asked for, and how many they did not get."""
    try:
        address = f"{desk.settings.url_of('simulator')}/metrics"
        with urllib.request.urlopen(address, timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    asked = unanswered = 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == ANSWERS:
                asked += sample.value
                unanswered += 0 if sample.labels["outcome"] in ANSWERED else sample.value
    return asked, unanswered


_PROBES: Mapping[ProbeName, Callable[[Desk], float | None]] = {
    "lake_behind_seconds": lake_behind_seconds,
    "features_behind_days": features_behind_days,
    "false_alarm": false_alarm,
}
