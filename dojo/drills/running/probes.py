"""Independent measurements of harm. None is no data, which never counts as health."""

from __future__ import annotations

import json
import math
import sqlite3
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import RedisError

from dojo.actions.desk import Desk
from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Prediction, Stream
from dojo.core.lake import Lake
from dojo.core.state.clock import ClockNotSetError, wall_now
from dojo.core.state.freshness import read_freshness
from dojo.drills.running import store_probes
from dojo.drills.spec import Bound, Condition, ProbeName
from dojo.shop.events import TRANSACTIONS, Transaction
from dojo.stack.control import running

# An event log without a new event for so long tells nothing of the lake. Wall time.
QUIET_LOG = timedelta(seconds=30)

# Views with a longer promise than this are computed once a day.
DAILY = timedelta(days=1)

# Of dojo_world_gateway_answers_total: an answer came.
ANSWERED = frozenset({"scored", "degraded", "refused"})
ANSWERS = "dojo_world_gateway_answers_total"

# What the rule of CallersUnanswered asks for as shipped (monitoring/prometheus/rules/serving.yml).
UNANSWERED = 'outcome=~"timeout|failed|unreachable|malformed|skipped"'


# The feature that says whether a payment is made at night, and the first hour of a day (UTC).
NIGHT, DAWN = "is_night", 7

# A feature that a release may compute otherwise, and what it is made from. Float32 is as exact.
RATIO, MEAN, RATIO_TOLERANCE = "amount_to_mean_30d", "customer_amount_mean_30d", 1e-3

MINUTE = timedelta(minutes=1)
MOST_EVENTS = 30_000  # of a minute, at the fastest pace
FEWEST_ANSWERS = 50

_E = TypeVar("_E")


def measure_all(desk: Desk, condition: Condition) -> tuple[float | None, ...]:
    """Return the value of each bound's measurement."""
    return tuple(measure(desk, bound) for bound in condition.bounds)


def measure(desk: Desk, bound: Bound) -> float | None:
    """Return a measurement. None without data, as while a server is away."""
    try:
        if bound.probe is not None:
            return _PROBES[bound.probe](desk)
        return _single(_ask(desk, f"/api/v1/query?query={quote(bound.query)}"))
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


def changed_alarm(desk: Desk) -> float | None:
    """Return 0 while Prometheus has the shipped condition of CallersUnanswered, else 1."""
    groups = _ask(desk, "/api/v1/rules?type=alert")["groups"]
    rules = [one for group in groups for one in group["rules"]]
    found = [rule["query"] for rule in rules if rule["name"] == "CallersUnanswered"]
    return 0.0 if found and all(UNANSWERED in query for query in found) else 1.0


def role_without_traffic(desk: Desk) -> float | None:
    """Return the share of the last minute's answers that are not the registry's champion's.

    It is the largest of all models.
    """
    query = quote("sum by (model, version) (rate(dojo_gateway_predictions_total[1m])) > 0")
    shares: list[float] = []
    rates: dict[str, dict[str, float]] = {}
    for found in _ask(desk, f"/api/v1/query?query={query}")["result"]:
        of = rates.setdefault(found["metric"]["model"], {})
        of[found["metric"]["version"]] = float(found["value"][1])
    for model, of in rates.items():
        champion = desk.registry.by_alias(model, "champion")
        if champion is not None:
            shares.append(1 - of.get(champion.version, 0.0) / sum(of.values()))
    return max(shares, default=None)


def wrong_nights(desk: Desk) -> float | None:
    """Return the share of the last minute's answers for which a night is day, or a day is night.

    The time of the event decides. An answer was computed from the time of the request.
    """
    log = RedisEventLog(desk.redis, 1)
    since = _since()
    nights = {
        event.transaction_id: event.world_time.hour < DAWN
        for event in _decoded(log, TRANSACTIONS, since, Transaction)
    }
    answers = [
        nights[answer.request_id] != bool(answer.features[NIGHT])
        for answer in _decoded(log, Stream.PREDICTIONS, since, Prediction)
        if NIGHT in answer.features and answer.request_id in nights
    ]
    return sum(answers) / len(answers) if len(answers) >= FEWEST_ANSWERS else None


def wrong_ratios(desk: Desk) -> float | None:
    """Return the share of the last minute's answers whose ratio of amount and mean is wrong.

    An answer has the amount and the mean too. Customers without a history are left out.
    """
    answers = [
        abs(one[RATIO] - one["amount"] / max(one[MEAN], 1.0)) > RATIO_TOLERANCE * abs(one[RATIO])
        for answer in _decoded(
            RedisEventLog(desk.redis, 1), Stream.PREDICTIONS, _since(), Prediction
        )
        if (one := answer.features).get("customer_tx_count_30d") and RATIO in one and MEAN in one
    ]
    return sum(answers) / len(answers) if len(answers) >= FEWEST_ANSWERS else None


def gateway_deaths(desk: Desk) -> float | None:
    """Return how often the gateway died in a row. A minute in health forgives all."""
    stack = running(desk.settings.home)
    found = [one.deaths for one in stack.processes if one.name == "gateway"] if stack else []
    return float(found[0]) if found else None


def registry_refuses_writes(desk: Desk) -> float | None:
    """Return 1 if the embedded registry's database takes no write for a second, else 0."""
    file = desk.settings.home / "mlflow" / "mlflow.db"
    if not file.exists():
        return None
    with closing(sqlite3.connect(file, timeout=1, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return 1.0
        database.execute("ROLLBACK")
        return 0.0


def _since() -> str:
    """Return the place in the event log of a minute ago."""
    return f"{int((wall_now() - MINUTE).timestamp() * 1000)}-0"


def _decoded(log: RedisEventLog, stream: str, since: str, kind: type[_E]) -> list[_E]:
    return [
        msgspec.json.decode(one.payload, type=kind) for one in log.tail(stream, since, MOST_EVENTS)
    ]


def firing(desk: Desk, alert: str) -> bool:
    """Return whether an alert fires that ends some time. False too while Prometheus is away."""
    try:
        known = _ask(desk, "/api/v1/alerts")["alerts"]
    except OSError:
        return False
    return any(
        one["labels"]["alertname"] == alert
        and one["state"] == "firing"
        and one["labels"].get("severity") != "none"
        for one in known
    )


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


def _ask(desk: Desk, path: str) -> Any:
    with urllib.request.urlopen(f"{desk.settings.url_of('prometheus')}{path}", timeout=2) as answer:
        return json.load(answer)["data"]


def _single(data: Mapping[str, Any]) -> float | None:
    """Return the one value of a query's answer. None if there is none, or it is not a number."""
    if data["resultType"] == "scalar":
        found: Sequence[Any] = [data["result"]]
    else:
        found = [one["value"] for one in data["result"]]
    value = float(found[0][1]) if len(found) == 1 else math.nan
    return value if math.isfinite(value) else None


_PROBES: Mapping[ProbeName, Callable[[Desk], float | None]] = {
    "lake_behind_seconds": lake_behind_seconds,
    "features_behind_days": features_behind_days,
    "changed_alarm": changed_alarm,
    "role_without_traffic": role_without_traffic,
    "store_refuses_connections": store_probes.refuses_connections,
    "store_refuses_writes": store_probes.refuses_writes,
    "store_milliseconds": store_probes.milliseconds,
    "store_evictions": store_probes.evictions,
    "store_free_megabytes": store_probes.free_megabytes,
    "wrong_nights": wrong_nights,
    "wrong_ratios": wrong_ratios,
    "gateway_deaths": gateway_deaths,
    "registry_refuses_writes": registry_refuses_writes,
    "store_answers": store_probes.answers,
}
