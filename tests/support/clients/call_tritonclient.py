"""`python call_tritonclient.py URL MODEL COLUMNS`: what tritonclient does with its defaults."""

from __future__ import annotations

import json
import sys

import numpy as np
import tritonclient.http as http


def tensor(name: str, values: list[object]) -> http.InferInput:
    text = isinstance(values[0], str)
    made = http.InferInput(name, [len(values)], "BYTES" if text else "FP64")
    made.set_data_from_numpy(np.array(values, object if text else np.float64))
    return made


def shown(result: http.InferResult) -> dict[str, object]:
    """Return the outputs in their order, and which of them came as bytes."""
    outputs = result.get_response()["outputs"]
    return {
        "values": {one["name"]: result.as_numpy(one["name"]).tolist() for one in outputs},
        "types": {one["name"]: str(result.as_numpy(one["name"]).dtype) for one in outputs},
        "bytes": [one["name"] for one in outputs if "data" not in one],
    }


def main(url: str, model: str, columns: dict[str, list[object]]) -> None:
    client = http.InferenceServerClient(url.removeprefix("http://"))
    inputs = [tensor(name, values) for name, values in columns.items()]
    metadata = client.get_model_metadata(model)

    def infer(*outputs: http.InferRequestedOutput) -> dict[str, object]:
        return shown(client.infer(model, inputs, outputs=list(outputs), request_id="call-1"))

    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready() and client.is_model_ready(model),
        "version_ready": client.is_model_ready(model, metadata["versions"][0]),
        "extensions": client.get_server_metadata()["extensions"],
        "inputs": [one["name"] for one in metadata["inputs"]],
        "all": infer(),
        "chosen": infer(
            http.InferRequestedOutput("flagged", binary_data=True),
            http.InferRequestedOutput("score", binary_data=True),
        ),
        "mixed": infer(
            http.InferRequestedOutput("score", binary_data=True),
            http.InferRequestedOutput("flagged", binary_data=False),
        ),
    }
    try:
        infer(http.InferRequestedOutput("scores"))
    except http.InferenceServerException as error:
        found["refused"] = [error.status(), error.message()]
    print(json.dumps(found))  # noqa: T201


main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
