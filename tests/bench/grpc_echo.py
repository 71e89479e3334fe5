"""`python -m tests.bench.grpc_echo PORT`: a bare grpc.aio server, the gateway's reference.

It reads the gateway's messages and writes an answer with as many rows, and does nothing between.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
import grpc.aio
import uvloop

from services.gateway.rpc.protocol import CLASSES, SERVICE


def answer_of(rows: int) -> Any:
    """Return an answer as the gateway's for a binary model."""
    answer = CLASSES["ModelInferResponse"](model_name="fraud_detection", model_version="1")
    for name, datatype, size in (("score", "FP64", 8), ("flagged", "BOOL", 1)):
        answer.outputs.add(name=name, datatype=datatype, shape=[rows])
        answer.raw_output_contents.append(bytes(size * rows))
    return answer


async def serve(port: int) -> None:
    answers: dict[int, Any] = {}

    async def infer(request: Any, context: Any) -> Any:
        rows = request.inputs[0].shape[0]
        if rows not in answers:
            answers[rows] = answer_of(rows)
        return answers[rows]

    handler = grpc.unary_unary_rpc_method_handler(
        infer,
        request_deserializer=CLASSES["ModelInferRequest"].FromString,
        response_serializer=CLASSES["ModelInferResponse"].SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
