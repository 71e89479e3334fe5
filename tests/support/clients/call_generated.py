"""`python call_generated.py URL COLUMNS`: the typed client that the OpenAPI document gives.

Its package `dojo_client` is in PYTHONPATH.
"""

from __future__ import annotations

import json
import sys

from dojo_client import Client
from dojo_client.api.open_inference_protocol_v2 import (
    infer_v2_models_fraud_detection_infer_post as infer,
)
from dojo_client.api.predictions import predict_v1_models_fraud_detection_predict_post as predict
from dojo_client.models import (
    FraudDetectionAnswers,
    FraudDetectionInferRequest,
    FraudDetectionInstance,
    FraudDetectionRequest,
    InferAnswer,
    ProblemDocument,
    Tensor,
)


def main(url: str, columns: dict[str, list[object]]) -> None:
    client = Client(base_url=url)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    instances = [FraudDetectionInstance(**row) for row in rows]
    answers = predict.sync(client=client, body=FraudDetectionRequest(instances=instances))
    assert isinstance(answers, FraudDetectionAnswers), answers
    refused = predict.sync(client=client, body=FraudDetectionRequest(instances=[]))
    assert isinstance(refused, ProblemDocument), refused
    tensors = [
        Tensor(name, [len(values)], "BYTES" if isinstance(values[0], str) else "FP64", values)
        for name, values in columns.items()
    ]
    inferred = infer.sync(client=client, body=FraudDetectionInferRequest(inputs=tensors))
    assert isinstance(inferred, InferAnswer), inferred
    found = {
        "predict": [answer.score for answer in answers.predictions],
        "infer": inferred.outputs[0].data,
        "refused": [error.field for error in refused.errors],
    }
    print(json.dumps(found))  # noqa: T201


main(sys.argv[1], json.loads(sys.argv[2]))
