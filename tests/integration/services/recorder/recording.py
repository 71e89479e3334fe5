"""Synthetic events, and recorder processes on one Redis and lake, for the recorder's tests."""

from __future__ import annotations

import json
import os
import random
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dojo.core.connections import connect_redis
from dojo.core.events.log import RedisEventLog, stream_key
from dojo.core.events.streams import EVENT_TYPES
from dojo.core.events.types import Event, Outcome, Prediction, Shadow, Verdict
from dojo.core.judging.drift import Finding
from dojo.core.lake import Lake
from dojo.shop.events import (
    Banner,
    Credit,
    Decision,
    Membership,
    Offer,
    Order,
    Search,
    Settlement,
    Suggestion,
    Transaction,
)
from services.recorder.__main__ import main
from tests.integration.fork_server import CONTEXT
from tests.support.servers import RedisServer, Server, free_port, wait_until

START = datetime(2018, 6, 10, 20, tzinfo=UTC)


def synthetic_events(rng: random.Random, seconds_apart: float = 40) -> Iterator[Event]:
    """Yield one event of each stream in turn, without end. Some are late by up to two days."""
    number = 0
    while True:
        key = f"{number:08d}"
        late = timedelta(days=rng.uniform(0, 2) if rng.random() < 0.05 else 0)
        world = START + timedelta(seconds=number * seconds_apart) - late
        yield Transaction(
            event_id=Transaction.id_for(key),
            world_time=world,
            wall_time=world,
            transaction_id=key,
            customer_id=f"c{number % 50}",
            merchant_id=f"m{number % 70}",
            amount=float(number),
        )
        yield Order(
            event_id=Order.id_for(key),
            world_time=world,
            wall_time=world,
            order_id=key,
            customer_id=f"c{number % 50}",
            merchant_id=f"m{number % 70}",
            product_id=f"p{number % 30}",
            price=float(number),
            express=float(number % 2),
            distance_km=float(number % 300),
        )
        yield Banner(
            event_id=Banner.id_for(key),
            world_time=world,
            wall_time=world,
            impression_id=key,
            customer_id=f"c{number % 50}",
            banner_id=f"b{number % 12}",
        )
        yield Membership(
            event_id=Membership.id_for(key),
            world_time=world,
            wall_time=world,
            membership_id=key,
            customer_id=f"c{number % 50}",
            member_days=float(number % 900),
        )
        yield Credit(
            event_id=Credit.id_for(key),
            world_time=world,
            wall_time=world,
            credit_id=key,
            customer_id=f"c{number % 50}",
            merchant_id=f"m{number % 70}",
            amount=float(number),
            parts=float(2 + number % 3),
            account_days=float(number % 1000),
            age_group=("", "18-29", "60+")[number % 3],
        )
        in_list = {
            "customer_id": f"c{number % 50}",
            "product_id": f"p{number % 30}",
            "price": float(number),
            "position": 1 + number % 20,
        }
        yield Search(
            event_id=Search.id_for(key),
            world_time=world,
            wall_time=world,
            **in_list,
            result_id=key,
            match=(number % 11) / 10,
        )
        yield Suggestion(
            event_id=Suggestion.id_for(key),
            world_time=world,
            wall_time=world,
            **in_list,
            suggestion_id=key,
            interest=float(number % 2),
        )
        yield Offer(
            event_id=Offer.id_for(key),
            world_time=world,
            wall_time=world,
            offer_id=key,
            product_id=f"p{number % 30}",
            price=float(number),
            regular_price=float(number + 1),
            kind=float(number % 6),
        )
        about = {"model": "fraud_detection", "version": "1", "arm": "champion", "request_id": key}
        yield Decision(
            event_id=Decision.id_for("fraud_detection", key),
            world_time=world,
            wall_time=world,
            **about,
            amount=float(number),
            action="released",
            release_share=0.05,
        )
        yield Settlement(
            event_id=Settlement.id_for("fraud_detection", key),
            world_time=world,
            wall_time=world,
            **about,
            request_time=world,
            action="released",
            value_euro=-float(number),
        )
        yield Prediction(
            event_id=Prediction.id_for(key),
            world_time=world,
            wall_time=world,
            prediction_id=key,
            request_id=key,
            model="fraud_detection",
            version="1",
            arm="champion",
            entity_keys={"customer": f"c{number % 50}"},
            features={"amount": float(number), "is_night": 0.0},
            feature_age_seconds={"customer_daily": None},
            score=0.25,
            flagged=False,
            latency_seconds=0.004,
            route_generation=number % 3,
        )
        failed = number % 10 == 0
        yield Shadow(
            event_id=Shadow.id_for(key),
            world_time=world,
            wall_time=world,
            prediction_id=key,
            request_id=key,
            model="fraud_detection",
            version="2",
            route_generation=number % 3,
            score=None if failed else 0.75,
            flagged=None if failed else True,
            scoring_seconds=0.0001,
            champion_version="1",
            champion_score=0.25,
            champion_flagged=False,
            champion_scoring_seconds=0.0001,
            error="timeout" if failed else "",
        )
        yield Verdict(
            event_id=Verdict.id_for(key),
            world_time=world,
            wall_time=world,
            model="fraud_detection",
            version="1",
            check="input_drift",
            window="hour",
            window_start=world,
            severity="warning",
            rows=400,
            summary="amount has drifted",
            findings=(
                Finding(subject="amount", severity="warning", value=0.15, threshold=0.1, rows=400),
            ),
            since=None if failed else world,
        )
        yield Outcome(
            event_id=Outcome.id_for("fraud_detection", key),
            world_time=world,
            wall_time=world,
            model="fraud_detection",
            request_id=key,
            request_time=world,
            label=number % 2,
        )
        number += 1


class Recording:
    """One Redis, one lake, and any number of recorder processes."""

    def __init__(self, redis: RedisServer, directory: Path) -> None:
        self.redis = redis
        self.directory = directory
        self.lake = Lake(directory / "lake")
        self.client = connect_redis(redis.url, timedelta(seconds=5))
        self.log = RedisEventLog(self.client, max_length=1_000_000)

    def environment(self) -> dict[str, str]:
        """Return a recorder's settings: a free port, this Redis, this lake."""
        return {
            "DOJO_HOME": str(self.directory),
            "DOJO_REDIS_URL": self.redis.url,
            "DOJO_RECORDER_PORT": str(free_port()),
        }

    def recorder(self) -> ForkedRecorder:
        return ForkedRecorder(self.directory, self.environment())

    def recorder_from_the_command_line(self, **settings: str) -> Server:
        environment = {**self.environment(), **settings}
        name = f"recorder-{environment['DOJO_RECORDER_PORT']}"
        return Server(
            name, [sys.executable, "-m", "services.recorder"], self.directory, environment
        )

    def lag(self) -> int:
        return sum(self.log.lag(stream, "recorder") for stream in EVENT_TYPES)

    def pending(self) -> int:
        """Return the number of messages that were read and not acknowledged."""
        groups = [
            g
            for s in EVENT_TYPES
            if self.client.exists(stream_key(s))
            for g in self.client.xinfo_groups(stream_key(s))
        ]
        return sum(group["pending"] for group in groups)

    def wait_until_recorded(self, within: float = 30) -> None:
        wait_until(lambda: self.lag() == 0, within, "everything is recorded", every=0.05)

    def event_ids(self, stream: str) -> list[str]:
        """Return the event ids as a reader of the lake finds them: in order, with duplicates."""
        return self.lake.scan(stream).collect()["event_id"].sort().to_list()


class ForkedRecorder:
    """A recorder process forked from a server with its imports done.

    It saves the second of imports, which would add up to two minutes in these tests. The killed
    code is the same `main`.
    """

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.port = int(environment["DOJO_RECORDER_PORT"])
        self.log = directory / f"recorder-{self.port}.log"
        self._process = CONTEXT.Process(target=_main, args=(environment, self.log), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def kill(self) -> None:
        """Kill the process (kill -9), and wait until it is gone."""
        self._process.kill()
        self._process.join(10)

    def stop(self) -> int | None:
        """Send SIGTERM. Return the exit code, or None if it still runs after 10 s."""
        self._process.terminate()
        self._process.join(10)
        return self._process.exitcode

    def health(self) -> dict[str, str]:
        return health_at(self.port)

    def metric(self, name: str, **labels: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as answer:
            lines = answer.read().decode().splitlines()
        series = name + (
            "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"
            if labels
            else " "
        )
        return next((float(line.split()[-1]) for line in lines if line.startswith(series)), 0.0)


def _main(environment: dict[str, str], log: Path) -> None:
    os.environ.update(environment)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), sys.stderr.fileno())
    sys.exit(main())


def health_at(port: int) -> dict[str, str]:
    """Return the content of /healthz, empty while no server answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        return json.load(refusal)
    except OSError:
        return {}
