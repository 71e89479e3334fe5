"""The messages of the Open Inference Protocol V2, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from services.gateway.messages.requests import MAX_INSTANCES

# Only in the document. Later checks refuse other numbers by their tensor's name.
Rows = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1, "maximum": MAX_INSTANCES})]


_VALUES = [{"type": kind} for kind in ("string", "number", "boolean")]
# A value of a tensor of shape [rows, 1].
_IN_A_LIST = {"type": "array", "minItems": 1, "maxItems": 1, "items": {"anyOf": _VALUES}}
# A number that an answer does not know. JSON has no NaN.
_UNKNOWN = {"type": "null"}


class Tensor(msgspec.Struct, omit_defaults=True):
    """One column of values, a row per instance."""

    name: str
    shape: Annotated[
        list[Rows],
        msgspec.Meta(
            description="[rows] or [rows, 1].", extra_json_schema={"minItems": 1, "maxItems": 2}
        ),
    ]
    datatype: str
    data: Annotated[
        list[Any] | msgspec.UnsetType,
        msgspec.Meta(
            description="Absent where the values follow the JSON as bytes.",
            extra_json_schema={
                "minItems": 1,
                "maxItems": MAX_INSTANCES,
                "items": {"anyOf": [*_VALUES, _IN_A_LIST, _UNKNOWN]},
            },
        ),
    ] = msgspec.UNSET
    parameters: dict[str, Any] = {}


class OutputParameters(msgspec.Struct, omit_defaults=True):
    """The form of one output."""

    binary_data: Annotated[
        bool | None,
        msgspec.Meta(description="As bytes behind the JSON. Absent: `binary_data_output` decides."),
    ] = None
    classification: Annotated[int, msgspec.Meta(ge=0, le=0, description="Not supported.")] = 0
    shared_memory_region: Annotated[
        str, msgspec.Meta(max_length=0, description="Not supported.")
    ] = ""


class RequestedOutput(msgspec.Struct, omit_defaults=True):
    """One column that the caller wants."""

    name: str
    parameters: OutputParameters = msgspec.field(default_factory=OutputParameters)


class RequestParameters(msgspec.Struct, omit_defaults=True):
    """What holds for the whole request. The gateway ignores parameters with other names."""

    binary_data_output: Annotated[
        bool, msgspec.Meta(description="Whether outputs come as bytes behind the JSON.")
    ] = False


class InferRequest(msgspec.Struct):
    """Instances as columns."""

    inputs: list[Tensor]
    id: Annotated[str | None, msgspec.Meta(description="Comes back with the answer.")] = None
    parameters: RequestParameters = msgspec.field(default_factory=RequestParameters)
    outputs: Annotated[
        list[RequestedOutput],
        msgspec.Meta(description="The wanted outputs, in this order. Empty: all of them."),
    ] = []


class InferAnswer(msgspec.Struct, frozen=True):
    """Predictions as columns."""

    model_name: str
    model_version: Annotated[
        str, msgspec.Meta(description="The version that answered the first instance.")
    ]
    parameters: Annotated[
        dict[str, str],
        msgspec.Meta(
            description=(
                "`degraded`: what any instance lacked. `versions`: one per instance, when they"
                " differ. `cached_seconds`: age of a repeated result, world seconds."
            )
        ),
    ]
    outputs: list[Tensor]
    id: str | msgspec.UnsetType = msgspec.UNSET
