"""The messages of the Open Inference Protocol V2 over gRPC, made from a table when imported.

The table has the public protocol's names and field numbers, and nothing else of it. A message's
field numbers are all that clients and servers must share. So nested messages stand flat here.

Source: github.com/kserve/open-inference-protocol, specification/protocol.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
# Each has a message NAMERequest and a message NAMEResponse.
METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
)

Message: TypeAlias = Any  # its class is made at run time

# Message -> its fields, as a .proto file spells them. `oneof` excludes the others with this word.
_MESSAGES: Mapping[str, Sequence[str]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("bool live = 1",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("bool ready = 1",),
    "ModelReadyRequest": ("string name = 1", "string version = 2"),
    "ModelReadyResponse": ("bool ready = 1",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (
        "string name = 1",
        "string version = 2",
        "repeated string extensions = 3",
    ),
    "ModelMetadataRequest": ("string name = 1", "string version = 2"),
    "ModelMetadataResponse": (
        "string name = 1",
        "repeated string versions = 2",
        "string platform = 3",
        "repeated TensorMetadata inputs = 4",
        "repeated TensorMetadata outputs = 5",
    ),
    "TensorMetadata": ("string name = 1", "string datatype = 2", "repeated int64 shape = 3"),
    "ModelInferRequest": (
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        "map InferParameter parameters = 4",
        "repeated InferTensor inputs = 5",
        "repeated InferRequestedOutputTensor outputs = 6",
        "repeated bytes raw_input_contents = 7",
    ),
    "ModelInferResponse": (
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        "map InferParameter parameters = 4",
        "repeated InferTensor outputs = 5",
        "repeated bytes raw_output_contents = 6",
    ),
    # The protocol's InferInputTensor and InferOutputTensor, which have the same fields.
    "InferTensor": (
        "string name = 1",
        "string datatype = 2",
        "repeated int64 shape = 3",
        "map InferParameter parameters = 4",
        "InferTensorContents contents = 5",
    ),
    "InferRequestedOutputTensor": ("string name = 1", "map InferParameter parameters = 2"),
    "InferParameter": (
        "oneof bool bool_param = 1",
        "oneof int64 int64_param = 2",
        "oneof string string_param = 3",
        "oneof double double_param = 4",
        "oneof uint64 uint64_param = 5",
    ),
    "InferTensorContents": (
        "repeated bool bool_contents = 1",
        "repeated int32 int_contents = 2",
        "repeated int64 int64_contents = 3",
        "repeated uint32 uint_contents = 4",
        "repeated uint64 uint64_contents = 5",
        "repeated float fp32_contents = 6",
        "repeated double fp64_contents = 7",
        "repeated bytes bytes_contents = 8",
    ),
}

ONE_OF = "parameter_choice"  # the only group of exclusive fields

_FIELD = re.compile(r"(?:(repeated|oneof|map) )?(\w+) (\w+) = (\d+)")


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for line in fields:
            found = _FIELD.fullmatch(line)
            assert found is not None, line
            word, kind, field, number = found.groups()
            made = message.field.add(name=field, number=int(number))
            made.label = made.LABEL_REPEATED if word in ("repeated", "map") else made.LABEL_OPTIONAL
            if word == "map":
                entry = message.nested_type.add(name=f"{field.capitalize()}Entry")
                entry.options.map_entry = True
                _typed(entry.field.add(name="key", number=1, label=made.LABEL_OPTIONAL), "string")
                _typed(entry.field.add(name="value", number=2, label=made.LABEL_OPTIONAL), kind)
                kind = f"{name}.{entry.name}"
            if word == "oneof":
                if not message.oneof_decl:
                    message.oneof_decl.add(name=ONE_OF)
                made.oneof_index = 0
            _typed(made, kind)
    return file


def _typed(field: Any, kind: str) -> None:
    scalar = getattr(field, f"TYPE_{kind.upper()}", None)
    if scalar is not None:
        field.type = scalar
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


# A pool of its own, because another package may bring the same protocol in the default one.
_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file())

CLASSES: Mapping[str, Any] = {
    name: message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
    for name in _MESSAGES
}
