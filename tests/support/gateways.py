"""A real gateway process for tests, and callers that keep it busy during a fault."""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis import Redis

from dojo.core.events.log import PAYLOAD_FIELD, stream_key
from dojo.core.events.streams import decode
from dojo.core.events.types import Event, Prediction, Shadow, Stream
from dojo.core.state.draws import Draw
from dojo.core.state.routes import (
    CHALLENGER_ARM,
    CHAMPION_ARM,
    Arm,
    Mode,
    Route,
    RouteTable,
    Strategy,
)
from tests.support.servers import Server, free_port, http_ok, wait_until

MODEL = "fraud_detection"
TIME_KEY = "the-tests-time-key"
WITH_TIME_KEY = {"Authorization": f"Bearer {TIME_KEY}"}


class GatewayServer(Server):
    """`python -m services.gateway` on a free port.

    Args:
        directory: Holds its DOJO_HOME and log. Give the same to a second one to test a restart.
        redis_url: Address of Redis.
        mlflow_url: Address of MLflow. By default nothing listens there, so MLflow is down.
        settings: Further settings.
    """

    def __init__(
        self, directory: Path, redis_url: str, mlflow_url: str | None = None, **settings: object
    ) -> None:
        self.port, self.grpc_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.grpc_address = f"127.0.0.1:{self.grpc_port}"
        self.home = directory / "home"
        env = {
            "DOJO_HOME": self.home,
            "DOJO_GATEWAY_PORT": self.port,
            "DOJO_GATEWAY_GRPC_PORT": self.grpc_port,
            "DOJO_REDIS_URL": redis_url,
            "DOJO_MLFLOW_URL": mlflow_url or f"http://127.0.0.1:{free_port()}",
            "DOJO_REGISTRY_POLL_SECONDS": 0.2,
            "DOJO_TIME_KEY": TIME_KEY,
            **{f"DOJO_{name.upper()}": value for name, value in settings.items()},
        }
        command = [sys.executable, "-m", "services.gateway"]
        super().__init__(
            "gateway", command, directory, {name: str(value) for name, value in env.items()}
        )

    def start(self) -> None:
        super().start()
        wait_until(
            lambda: http_ok(f"{self.url}/healthz"), 60, f"the gateway is alive; see {self.log}"
        )

    def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any], http.client.HTTPMessage]:
        """Send a request. Returns status, JSON document and headers.

        A `body` of bytes or an iterable of bytes is sent unchanged, any other one as JSON.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        content = (
            body
            if body is None or isinstance(body, bytes) or hasattr(body, "__next__")
            else json.dumps(body).encode()
        )
        connection.request(
            method, path, content, dict(headers or {}), encode_chunked=hasattr(body, "__next__")
        )
        answer = connection.getresponse()
        document = answer.read()
        connection.close()
        return answer.status, json.loads(document or b"{}"), answer.headers

    def predict(self, *instances: Mapping[str, object], model: str = MODEL) -> list[dict[str, Any]]:
        """Answers to a caller that may send any time."""
        path = f"/v1/models/{model}:predict"
        status, document, _ = self.request("POST", path, {"instances": instances}, WITH_TIME_KEY)
        assert status == 200, document
        return document["predictions"]

    def health(self) -> dict[str, Any]:
        return self.request("GET", "/healthz")[1]

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value. 0 when it was never touched."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        wanted = name + (
            "{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}" if labels else ""
        )
        return next(
            (
                float(line.split()[-1])
                for line in text.splitlines()
                if line.rpartition(" ")[0] == wanted
            ),
            0.0,
        )


@dataclass(frozen=True)
class Call:
    """One call, with the time of sending (monotonic) and its duration, in seconds."""

    request_id: str
    sent: float
    seconds: float
    status: int
    degraded: tuple[str, ...]
    version: str
    arm: str = ""
    score: float = -1.0


class Callers:
    """Threads that call `:predict` on open connections, one request after another, until stopped.

    A request that was sent and got no answer is `dropped`. A refused connection ends its caller,
    because no request was sent.
    """

    def __init__(
        self,
        port: int,
        callers: int = 4,
        pause: float = 0.005,
        model: str = MODEL,
        customers: int = 5,
    ) -> None:
        self.calls: list[Call] = []
        self.dropped: list[str] = []
        self._port = port
        self._pause = pause
        self._customers = customers
        self._path = f"/v1/models/{model}:predict"
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(callers)
        ]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> list[Call]:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
        return self.calls

    def since(self, moment: float) -> list[Call]:
        return [call for call in list(self.calls) if call.sent >= moment]

    def all_ended(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        count = 0
        while not self._stop.is_set():
            request_id = f"r{number}-{count}"
            count += 1
            customer, merchant = f"c{count % self._customers}", f"m{count % 5}"
            instance = {
                "request_id": request_id,
                "customer_id": customer,
                "merchant_id": merchant,
                "amount": 5.0,
            }
            body = json.dumps({"instances": [instance]})
            sent = time.monotonic()
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionRefusedError:
                return
            try:
                connection.request("POST", self._path, body)
                answer = connection.getresponse()
                document = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.dropped.append(f"{request_id}: {error!r}")
                connection.close()
                continue
            prediction = document["predictions"][0] if answer.status == 200 else {}
            degraded = tuple(prediction.get("degraded") or ())
            seconds = time.monotonic() - sent
            version, arm, score = (
                prediction.get("version", ""),
                prediction.get("arm", ""),
                prediction.get("score", -1.0),
            )
            self.calls.append(
                Call(request_id, sent, seconds, answer.status, degraded, version, arm, score)
            )
            self._stop.wait(self._pause)


def logged_predictions(redis_url: str) -> list[Prediction]:
    """Return every prediction event in the event log."""
    return [
        event for event in _logged(redis_url, Stream.PREDICTIONS) if isinstance(event, Prediction)
    ]


def logged_shadows(redis_url: str) -> list[Shadow]:
    """Return every shadow event in the event log."""
    return [event for event in _logged(redis_url, Stream.SHADOWS) if isinstance(event, Shadow)]


def _logged(redis_url: str, stream: str) -> list[Event]:
    redis = Redis.from_url(redis_url, socket_timeout=5)
    messages: Any = redis.xrange(stream_key(stream))
    return [decode(stream, fields[PAYLOAD_FIELD]) for _, fields in messages]


def set_route(
    redis_url: str,
    strategy: Strategy,
    *arms: Arm,
    salt: str = "salt",
    model: str = MODEL,
    draw: Draw | None = None,
) -> Route:
    """Make these arms the model's route, as the next generation."""
    table = RouteTable(Redis.from_url(redis_url, socket_timeout=5))
    found = table.read(model)
    route = Route(
        model=model,
        generation=1 + (found.value.generation if found.value else 0),
        strategy=strategy,
        arms=arms,
        salt=salt,
        changed_at=datetime(2018, 6, 15, 12, tzinfo=UTC),
        who="tests",
        why="a test",
        draw=draw or Draw(),
    )
    table.replace(found, route)
    return route


def champion_and(challenger: str, weight: float = 0.0, champion: str = "1") -> tuple[Arm, Arm]:
    """Return a canary's arms, or a shadow's when the weight is 0."""
    mode: Mode = "live" if weight else "shadow"
    return Arm(CHAMPION_ARM, champion, 1.0 - weight), Arm(CHALLENGER_ARM, challenger, weight, mode)


def generation(gateway: GatewayServer, model: str = MODEL) -> int:
    """Return the generation of the serving route."""
    serving = gateway.health()["models"][model]["route"]
    return int(serving["generation"]) if serving else -1
