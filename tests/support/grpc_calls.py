"""Bare gRPC calls of the Open Inference Protocol V2, for what standard clients do not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from services.gateway.rpc.protocol import CLASSES, METHODS, SERVICE

Columns = Mapping[str, Sequence[Any]]


def message(model: str, columns: Columns, raw: bool = True, **fields: object) -> Any:
    """Return a ModelInferRequest of columns of text and of FP64."""
    made = CLASSES["ModelInferRequest"](model_name=model, **fields)
    for name, values in columns.items():
        text = isinstance(values[0], str)
        tensor = made.inputs.add(
            name=name, datatype="BYTES" if text else "FP64", shape=[len(values)]
        )
        if raw:
            made.raw_input_contents.append(packed(values))
        elif text:
            tensor.contents.bytes_contents.extend(value.encode() for value in values)
        else:
            tensor.contents.fp64_contents.extend(values)
    return made


def packed(values: Sequence[Any]) -> bytes:
    """Return values as the protocol's raw bytes."""
    if isinstance(values[0], str):
        encoded = [value.encode() for value in values]
        return b"".join(len(one).to_bytes(4, "little") + one for one in encoded)
    return np.array(values, "<f8").tobytes()


def methods(channel: Any) -> dict[str, Any]:
    """Return the protocol's methods on a channel, of `grpc` or of `grpc.aio`."""
    return {
        name: channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=CLASSES[f"{name}Request"].SerializeToString,
            response_deserializer=CLASSES[f"{name}Response"].FromString,
        )
        for name in METHODS
    }


def refused(call: Any, request: Any, **arguments: object) -> grpc.RpcError:
    """Return the error of a call that must fail."""
    try:
        call(request, **arguments)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"answered: {request}")
