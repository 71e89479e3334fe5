"""Answers of the Open Inference Protocol V2: the wanted columns, as JSON or as bytes behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dojo.core.tasks.records import AnswerColumn
from services.gateway.messages import binary_tensors
from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.problems import FieldError, invalid_request
from services.gateway.messages.v2_structs import InferRequest, Tensor


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """One output of an answer, and whether it goes as bytes."""

    column: AnswerColumn
    binary: bool = False


def all_outputs(answers: AnswerSchema, binary: bool = False) -> Sequence[WantedOutput]:
    return [WantedOutput(column, binary) for column in answers.columns]


def wanted_outputs(answers: AnswerSchema, request: InferRequest) -> Sequence[WantedOutput]:
    """Return the outputs that a request names, in its order. Without names, all outputs.

    Raises:
        Problem: 422. An output does not exist, or is named twice.
    """
    by_default = request.parameters.binary_data_output
    if not request.outputs:
        return all_outputs(answers, by_default)
    columns = {column.name: column for column in answers.columns}
    times = Counter(output.name for output in request.outputs)
    known = f"one of {', '.join(columns)}"
    faults = [
        FieldError(f"outputs[{name[:80]}]", "an output", known)
        for name in times
        if name not in columns
    ]
    faults += [
        FieldError(f"outputs[{name[:80]}]", f"{count} outputs", "one output")
        for name, count in times.items()
        if count > 1
    ]
    if faults:
        raise invalid_request(faults)
    wanted = []
    for output in request.outputs:
        binary = output.parameters.binary_data
        wanted.append(WantedOutput(columns[output.name], by_default if binary is None else binary))
    return wanted


def outputs_of(wanted: Sequence[WantedOutput], given: Sequence[Any]) -> tuple[list[Tensor], bytes]:
    """Return the outputs of some answers, and the values that follow the JSON."""
    tensors, behind = [], b""
    for output in wanted:
        column = output.column
        tensor = Tensor(column.name, [len(given)], column.datatype)
        values = [getattr(answer, column.name) for answer in given]
        if output.binary:
            packed = binary_tensors.pack(column.datatype, values)
            tensor.parameters = {binary_tensors.SIZE: len(packed)}
            behind += packed
        else:
            tensor.data = values
        tensors.append(tensor)
    return tensors, behind
