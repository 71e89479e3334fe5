"""The servers for the gateway bench: a bare FastAPI + pydantic endpoint, and the gateway in layers.

Each layer adds one of the gateway's own parts.

python -m tests.bench.gateway_layers PORT      (settings as for the gateway: DOJO_*)

    /asgi                    the server alone
    /v1/models/m:pydantic    FastAPI + pydantic, the reference
    /.../m:route             + in front of FastAPI, reading the body
    /.../m:decode            + decoding and validating, encoding the answer
    /.../m:lookup            + stored features from Redis, in batches
    /.../m:score             + input vectors and ONNX Runtime, in the same batches
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import Any, cast

import msgspec
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from dojo.core.settings import load_settings
from dojo.core.tasks.specs import load_specs, task_of
from services.gateway.features.breaker import CircuitBreaker
from services.gateway.features.lookup import FeatureSource
from services.gateway.features.online_store import EntityHashReader
from services.gateway.features.redis_client import RedisClient
from services.gateway.http.api import DirectPaths, send_json
from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.requests import Instance, InstanceSchema, read_body
from services.gateway.metrics import GatewayMetrics
from services.gateway.versions.arms import ServedRoute, champion_route, served_route
from services.gateway.versions.model_cache import ModelCache
from services.gateway.versions.scoring import ArmScorer
from services.gateway.versions.serving import Scored, ServedModel

NOW = 1_529_064_000.0  # the bench's world time


class PydanticInstance(BaseModel):
    request_id: str | None = None
    customer_id: str
    merchant_id: str
    amount: float


class PydanticRequest(BaseModel):
    instances: list[PydanticInstance]


class PydanticAnswer(BaseModel):
    prediction_id: str
    score: float
    flagged: bool
    version: str
    arm: str
    degraded: list[str] | None


class PydanticResponse(BaseModel):
    predictions: list[PydanticAnswer]


def build_reference() -> FastAPI:
    """Return the usual first version: the same request and answer, without anything behind it."""
    app = FastAPI()

    @app.post("/v1/models/{model}:pydantic")
    async def predict(model: str, request: PydanticRequest) -> PydanticResponse:
        answer = PydanticAnswer(
            prediction_id="p", score=0.1, flagged=False, version="1", arm="champion", degraded=None
        )
        return PydanticResponse(predictions=[answer for _ in request.instances])

    return app


class NoModel:
    """Stands in for a version, so that a layer ends before the vectors and the model."""

    takes_batches = True

    def __init__(self, served: ServedModel) -> None:
        self.bundle, self.version = served.bundle, served.version
        self.plan: Any = copy(served.plan)
        self.plan.vector = lambda rows, inputs: ()

    async def score(self, rows: Any, timeout: float | None) -> list[Scored]:
        return [Scored(0.1, 0.0)] * len(rows)


def build_layers() -> DirectPaths:
    settings = load_settings()
    spec = load_specs(settings.models_dir)["fraud_detection"]
    schema, answers = InstanceSchema(spec), AnswerSchema(spec.name, task_of(spec))
    served = ModelCache(settings.home / "gateway" / "models", spec, lambda *_: None).newest()
    assert served is not None
    route = champion_route(served, spec.name)
    no_model = served_route(route.route, [cast("Any", NoModel(served))])
    client = RedisClient(settings.online_store)
    source = FeatureSource(EntityHashReader(client, CircuitBreaker()))
    scorer = ArmScorer(spec, source, GatewayMetrics())
    encode = msgspec.json.Encoder().encode

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        connection = asyncio.create_task(client.run())
        yield
        connection.cancel()

    async def body_of(scope: Scope, receive: Receive) -> bytes:
        return await read_body(scope, receive, settings.max_body_bytes)

    async def answer(send: Send, scores: Sequence[float]) -> None:
        made = [answers.type("p", score, score >= 0.5, "1", "champion", None) for score in scores]
        await send_json(send, encode({"predictions": made}))

    async def scored(instances: Sequence[Instance], by: ServedRoute) -> list[float]:
        started = time.perf_counter()
        keys = [
            {entity: getattr(i, join_key) for entity, join_key in schema.keys.items()}
            for i in instances
        ]
        inputs: list[dict[str, Any]] = [
            {"amount": i.amount, "transaction_time": NOW} for i in instances
        ]
        return [scoring.score for scoring in await scorer.score(by, keys, inputs, started)]

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(scope, receive)
        await send_json(send, b'{"predictions":[]}')

    async def decode(scope: Scope, receive: Receive, send: Send) -> None:
        instances = schema.decode(await body_of(scope, receive))
        await answer(send, [0.1 for _ in instances])

    async def lookup(scope: Scope, receive: Receive, send: Send) -> None:
        instances = schema.decode(await body_of(scope, receive))
        await answer(send, await scored(instances, no_model))

    async def score(scope: Scope, receive: Receive, send: Send) -> None:
        instances = schema.decode(await body_of(scope, receive))
        await answer(send, await scored(instances, route))

    handlers = {"route": front, "decode": decode, "lookup": lookup, "score": score}
    return DirectPaths(
        FastAPI(lifespan=lifespan),
        {f"/v1/models/fraud_detection:{layer}": handler for layer, handler in handlers.items()},
    )


def build() -> Any:
    reference, layers = build_reference(), build_layers()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if path == "/asgi":
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"{}"})
        elif path.endswith(":pydantic"):
            await reference(scope, receive, send)
        else:
            await layers(scope, receive, send)

    return app


if __name__ == "__main__":
    uvicorn.run(
        build(),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
    )
