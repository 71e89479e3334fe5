"""The Open Inference Protocol V2 (KServe, Triton, MLServer clients): the same predictions as named tensors.

    inputs   customer_id, merchant_id BYTES, amount FP64, transaction_time BYTES (RFC 3339) or INT64 (unix seconds), optional
    outputs  score FP64 [n], flagged BOOL [n]; `parameters.degraded` names what was missing in any of the instances, and
             `parameters.versions` who answered each, when that was more than one version

Which versions answer is the route's decision and not a caller's: the one version that can be asked for by name is the primary, the
version with the most traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI, Request, Response

from dojo import __version__
from feature_repo.on_demand import TIME_INPUT
from services.gateway.http import docs
from services.gateway.http.api import Endpoint, Gateway
from services.gateway.messages.problems import FieldError, Problem, invalid_request, malformed_json, problem_response
from services.gateway.messages.requests import MAX_INSTANCES, Instance, InstanceSchema, parse_leniently
from services.gateway.versions.arms import ServedRoute, describe

KEY_TYPE, NUMBER_TYPE, UNIX_TIME_TYPE = "BYTES", "FP64", "INT64"
_encode = msgspec.json.Encoder().encode


_Handler = TypeVar("_Handler", bound=Callable[..., Any])


class Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct):
    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[dict[str, Any]] = []


_decoder = msgspec.json.Decoder(InferRequest)


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    def route(path: str, extra: Mapping[str, object], methods: Sequence[str] = ("GET",)) -> Callable[[_Handler], _Handler]:
        return app.api_route(path, methods=list(methods), openapi_extra=dict(extra), tags=["open inference protocol v2"])

    @route("/v2", docs.V2_SERVER)
    async def server() -> Response:
        """Who answers."""
        return _json({"name": "mlops-dojo-gateway", "version": __version__, "extensions": []})

    @route("/v2/health/live", docs.V2_HEALTH)
    async def live() -> Response:
        """Alive."""
        return _json({"live": True})

    @route("/v2/health/ready", docs.V2_HEALTH)
    async def ready() -> Response:
        """Ready once every model has a version to serve."""
        is_ready = all(name in gateway.models.serving for name in gateway.endpoints)
        return _json({"ready": is_ready}, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def metadata(request: Request) -> Response:
        """A model's tensors, the versions that answer, and the route between them."""
        try:
            route = _route(gateway, request)
        except Problem as problem:
            return _error(problem)
        name = request.path_params["model"]
        return _json(
            {
                "name": name,
                "versions": [arm.version for arm in route.live if arm.arm.weight] if route else [],
                "platform": "onnxruntime_onnx",
                "parameters": {"route": describe(route)} if route else {},
                **_tensors(gateway.endpoint(name).schema),
            }
        )

    async def model_ready(request: Request) -> Response:
        """Whether a version of the model serves."""
        try:
            route = _route(gateway, request)
        except Problem as problem:
            return _error(problem)
        document = {"name": request.path_params["model"], "ready": route is not None}
        return _json(document, HTTPStatus.OK if route else HTTPStatus.SERVICE_UNAVAILABLE)

    async def infer(request: Request) -> Response:
        """Score each row of the tensors."""
        model, asked = request.path_params["model"], request.path_params.get("version")
        request_id: list[str | None] = [None]

        def decode(endpoint: Endpoint, body: bytes) -> Sequence[Instance]:
            document = _decoded(body)
            request_id[0] = document.id
            return _instances(endpoint.schema, document.inputs)

        try:
            route = _route(gateway, request) if asked else None
            answers = await gateway.answer(model, request, decode, route.pinned() if route else None)
        except Problem as problem:
            return _error(problem)
        reasons = sorted({reason for answer in answers for reason in answer.degraded or ()})
        versions = list(dict.fromkeys(answer.version for answer in answers))
        parameters = {
            **({"degraded": ",".join(reasons)} if reasons else {}),
            **({"versions": ",".join(answer.version for answer in answers)} if len(versions) > 1 else {}),
        }
        outputs = [
            {"name": "score", "datatype": "FP64", "shape": [len(answers)], "data": [answer.score for answer in answers]},
            {"name": "flagged", "datatype": "BOOL", "shape": [len(answers)], "data": [answer.flagged for answer in answers]},
        ]
        return _json(
            {
                "model_name": model,
                "model_version": answers[0].version,
                **({"id": request_id[0]} if request_id[0] is not None else {}),
                "parameters": parameters,
                "outputs": outputs,
            }
        )

    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        route(f"{path}/ready", docs.V2_READY)(model_ready)
        route(f"{path}/infer", docs.V2_INFER, ["POST"])(infer)
        route(path, docs.V2_METADATA)(metadata)


def _route(gateway: Gateway, request: Request) -> ServedRoute | None:
    """The route that a path means. Raises Problem: 404 for an unknown model, or a version that is not its primary."""
    model, version = request.path_params["model"], request.path_params.get("version")
    gateway.endpoint(model)
    route = gateway.models.serving.get(model)
    if version is not None and (route is None or route.primary.version != version):
        serving = f"version {route.primary.version} does" if route else "no version does"
        raise Problem(
            HTTPStatus.NOT_FOUND, "version-not-served", f"version {version[:20]!r} of {model} does not serve; {serving}"
        )
    return route


def _decoded(body: bytes) -> InferRequest:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        document = parse_leniently(body, str(error))
        try:
            return msgspec.convert(document, InferRequest)
        except msgspec.ValidationError as wrong:
            expected, _, path = str(wrong).partition(" - at ")
            raise invalid_request([FieldError(path.strip("`$.") or "body", "see expected", expected)]) from wrong
        except (RecursionError, OverflowError) as wrong:
            raise malformed_json(str(error)) from wrong


def _tensors(schema: InstanceSchema) -> dict[str, object]:
    keys = [{"name": name, "datatype": KEY_TYPE, "shape": [-1]} for name in schema.keys.values()]
    numbers = [{"name": name, "datatype": NUMBER_TYPE, "shape": [-1]} for name in schema.numbers]
    time = {"name": TIME_INPUT, "datatype": KEY_TYPE, "shape": [-1], "parameters": {"optional": True}}
    outputs = [{"name": "score", "datatype": "FP64", "shape": [-1]}, {"name": "flagged", "datatype": "BOOL", "shape": [-1]}]
    return {"inputs": [*keys, *numbers, time], "outputs": outputs}


def _instances(schema: InstanceSchema, tensors: Sequence[Tensor]) -> Sequence[Instance]:
    """Columns -> rows, then the same checks as for the prediction API. Raises Problem: 422."""
    expected: dict[str, tuple[str, ...]] = {
        **dict.fromkeys(schema.keys.values(), (KEY_TYPE,)),
        **dict.fromkeys(schema.numbers, (NUMBER_TYPE, "FP32", UNIX_TIME_TYPE)),
        TIME_INPUT: (KEY_TYPE, UNIX_TIME_TYPE),
    }
    by_name = {tensor.name: tensor for tensor in tensors}
    faults = [
        FieldError(f"inputs[{name}]", "nothing", "a tensor") for name in expected if name not in by_name and name != TIME_INPUT
    ]
    length = max((len(_flat(tensor)) for tensor in tensors), default=0)
    if not 1 <= length <= MAX_INSTANCES:
        faults.append(FieldError("inputs", f"{length} rows", f"1 to {MAX_INSTANCES} rows"))
    for name, tensor in by_name.items():
        if name not in expected:
            faults.append(FieldError(f"inputs[{name}]", "a tensor", f"no such input; there are {', '.join(expected)}"))
        elif tensor.datatype not in expected[name]:
            faults.append(FieldError(f"inputs[{name}].datatype", tensor.datatype[:20], " or ".join(expected[name])))
        elif tensor.shape not in ([length], [length, 1]) or len(_flat(tensor)) != length:
            found = f"shape {tensor.shape[:4]} with {len(_flat(tensor))} values"
            faults.append(FieldError(f"inputs[{name}].shape", found, f"[{length}] or [{length}, 1], and as many values"))
    if faults:
        raise invalid_request(faults)
    columns = {name: _column(tensor) for name, tensor in by_name.items()}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    try:
        return schema.convert(rows)
    except Problem as problem:
        raise invalid_request([_renamed(error) for error in problem.errors]) from problem


def _flat(tensor: Tensor) -> list[Any]:
    """The values of an [n] or [n, 1] tensor, nested or already flat: the protocol allows both."""
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in tensor.data]


def _column(tensor: Tensor) -> list[Any]:
    values = _flat(tensor)
    if tensor.name == TIME_INPUT and tensor.datatype == UNIX_TIME_TYPE:
        return [_from_unix(value) for value in values]
    return values


def _from_unix(value: object) -> object:
    """An integer as a time; anything else stays, and is refused as the time it is not."""
    try:
        return datetime.fromtimestamp(value, UTC) if type(value) is int else value
    except (ValueError, OverflowError, OSError):
        return value


def _renamed(error: FieldError) -> FieldError:
    """`instances[3].amount` -> `inputs[amount].data[3]`."""
    at, _, name = error.field.removeprefix("instances[").partition("].")
    return FieldError(f"inputs[{name}].data[{at}]", error.found, error.expected)


def _error(problem: Problem) -> Response:
    """V2 clients look for `error`; a problem document may carry it."""
    return problem_response(problem, {"error": problem.detail})


def _json(document: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(_encode(document), int(status), media_type="application/json")
