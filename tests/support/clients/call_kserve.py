"""`python call_kserve.py URL GRPC MODEL COLUMNS`: KServe's clients, with values and with bytes."""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def tensor(name: str, values: list[object], binary: bool) -> InferInput:
    text = isinstance(values[0], str)
    made = InferInput(name, [len(values)], "BYTES" if text else "FP64")
    made.set_data_from_numpy(np.array(values, object if text else np.float64), binary_data=binary)
    return made


async def main(url: str, grpc_address: str, model: str, columns: dict[str, list[object]]) -> None:
    async with (
        InferenceRESTClient(RESTConfig(protocol="v2")) as client,
        InferenceGRPCClient(grpc_address) as grpc,
    ):

        async def infer(
            binary: bool, *outputs: str, over_grpc: bool = False
        ) -> dict[str, list[object]]:
            inputs = [tensor(name, values, binary) for name, values in columns.items()]
            wanted = [RequestedOutput(name, {"binary_data": binary}) for name in outputs]
            request = InferRequest(model, inputs, request_outputs=wanted)
            if over_grpc:
                answer = await grpc.infer(request)
            else:
                answer = await client.infer(url, request, model_name=model)
            return {output.name: output.as_numpy().tolist() for output in answer.outputs}

        found = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, model),
            "json": await infer(False),
            "bytes": await infer(True, "flagged", "score"),
            "grpc_live": await grpc.is_server_live(),
            "grpc_ready": await grpc.is_server_ready(),
            "grpc_model_ready": await grpc.is_model_ready(model),
            "grpc_typed": await infer(False, over_grpc=True),
            "grpc_raw": await infer(True, "flagged", "score", over_grpc=True),
        }
    print(json.dumps(found))  # noqa: T201


asyncio.run(main(*sys.argv[1:4], json.loads(sys.argv[4])))
