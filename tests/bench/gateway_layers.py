"""The servers for the gateway bench: a bare FastAPI + pydantic endpoint, and the gateway in layers.

Each layer adds one of the gateway's own parts.

python -m tests.bench.gateway_layers PORT      (settings as for the gateway: DOJO_*)

    /asgi                    the server alone
    /v1/models/m:pydantic    FastAPI + pydantic, the reference
    /.../m:route             + before FastAPI's routing, reading the body
    /.../m:decode            + decoding and validating, encoding the answer
    /.../m:lookup            + stored features from Redis
    /.../m:score             + input vector and ONNX Runtime
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from dojo.core.settings import load_settings
from dojo.core.tasks.specs import load_specs, task_of
from services.gateway.features.breaker import CircuitBreaker
from services.gateway.features.lookup import FeatureSource
from services.gateway.features.online_store import EntityHashReader
from services.gateway.features.redis_client import RedisClient
from services.gateway.http.api import DirectPaths
from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.requests import InstanceSchema, read_body
from services.gateway.versions.model_cache import ModelCache


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


def build_layers() -> FastAPI:
    settings = load_settings()
    spec = load_specs(settings.models_dir)["fraud_detection"]
    schema, answer_type = InstanceSchema(spec), AnswerSchema(spec.name, task_of(spec)).type
    served = ModelCache(settings.home / "gateway" / "models", spec, lambda *_: None).newest()
    assert served is not None
    client = RedisClient(settings.online_store)
    source = FeatureSource(EntityHashReader(client, CircuitBreaker()))
    encode = msgspec.json.Encoder().encode

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        connection = asyncio.create_task(client.run())
        yield
        connection.cancel()

    def answer(scores: Sequence[float]) -> Response:
        answers = [answer_type("p", score, score >= 0.5, "1", "champion", None) for score in scores]
        return Response(encode({"predictions": answers}), media_type="application/json")

    async def fetch(request: Request) -> tuple[Any, Any]:
        instances = schema.decode(await read_body(request, settings.max_body_bytes))
        keys = [
            {entity: getattr(i, join_key) for entity, join_key in schema.keys.items()}
            for i in instances
        ]
        return instances, await source.fetch(served.plan, keys, 0.5)

    async def route(request: Request) -> Response:
        await read_body(request, settings.max_body_bytes)
        return Response(b'{"predictions":[]}', media_type="application/json")

    async def decode(request: Request) -> Response:
        instances = schema.decode(await read_body(request, settings.max_body_bytes))
        return answer([0.1 for _ in instances])

    async def lookup(request: Request) -> Response:
        instances, _ = await fetch(request)
        return answer([0.1 for _ in instances])

    async def score(request: Request) -> Response:
        instances, stored = await fetch(request)
        now = time.time()
        vectors = [
            served.plan.vector(features.rows, {"amount": i.amount, "transaction_time": now})
            for i, features in zip(instances, stored, strict=True)
        ]
        scored = served.score_now(np.array(vectors, dtype=np.float32))
        return answer([result.score or 0.0 for result in scored])

    handlers = {
        f"/v1/models/fraud_detection:{layer.__name__}": layer
        for layer in (route, decode, lookup, score)
    }
    app = FastAPI(lifespan=lifespan)
    app.add_middleware(DirectPaths, handlers=handlers)
    return app


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
