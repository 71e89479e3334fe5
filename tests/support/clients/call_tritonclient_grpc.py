"""`python call_tritonclient_grpc.py ADDRESS MODEL COLUMNS`: tritonclient over gRPC."""

from __future__ import annotations

import json
import sys

import numpy as np
import tritonclient.grpc as grpc


def tensor(name: str, values: list[object]) -> grpc.InferInput:
    text = isinstance(values[0], str)
    made = grpc.InferInput(name, [len(values)], "BYTES" if text else "FP64")
    made.set_data_from_numpy(np.array(values, object if text else np.float64))
    return made


def main(address: str, model: str, columns: dict[str, list[object]]) -> None:
    client = grpc.InferenceServerClient(address)
    inputs = [tensor(name, values) for name, values in columns.items()]
    metadata = client.get_model_metadata(model)

    def infer(*names: str) -> grpc.InferResult:
        wanted = [grpc.InferRequestedOutput(name) for name in names]
        return client.infer(model, inputs, outputs=wanted or None, request_id="call-1")

    def values(result: grpc.InferResult) -> dict[str, list[object]]:
        outputs = result.get_response().outputs
        return {one.name: result.as_numpy(one.name).tolist() for one in outputs}

    every = infer()
    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready() and client.is_model_ready(model),
        "version_ready": client.is_model_ready(model, metadata.versions[0]),
        "server": client.get_server_metadata().name,
        "inputs": [one.name for one in metadata.inputs],
        "all": values(every),
        "types": {one.name: str(every.as_numpy(one.name).dtype) for one in metadata.outputs},
        "id": every.get_response().id,
        "chosen": values(infer("flagged")),
    }
    try:
        infer("scores")
    except grpc.InferenceServerException as error:
        found["refused"] = [error.status(), error.message()]
    print(json.dumps(found))  # noqa: T201


main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
