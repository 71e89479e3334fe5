"""From bytes to validated instances. Their fields come from the spec and its feature service.

msgspec's C code decodes and checks a correct request in one pass. A wrong request gets a second,
slow look, so that its sender learns all wrong fields at once.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol, cast

import msgspec
from starlette.types import Receive, Scope

from dojo.core.categories import MAX_CATEGORY_LENGTH
from dojo.core.spec.read import SpecError
from dojo.core.spec.schema import ModelSpec
from feature_repo.catalog import SERVICES
from feature_repo.views import join_key
from services.gateway.eager import within
from services.gateway.messages.problems import (
    FieldError,
    body_too_large,
    body_too_slow,
    encoded_body,
    invalid_request,
    malformed_json,
)

# One request of this many instances blocks the event loop for about 50 ms (60 microseconds each).
# Batch scoring is the place for more.
MAX_INSTANCES = 1000
# Longer than any key in use. Limits the size of logs and memory per request.
MAX_KEY_LENGTH = 256
# Limit for the whole body to arrive. Ends connections held open with half a request.
BODY_TIMEOUT_SECONDS = 5.0
# Far beyond any amount, and far within float32, the model's type.
MAX_NUMBER = 1e12

REQUEST_ID = "request_id"

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY_LENGTH)]
Number = Annotated[float, msgspec.Meta(ge=0, le=MAX_NUMBER)]
Category = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CATEGORY_LENGTH)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]

EXPECTED = {
    Key: f"a string of 1 to {MAX_KEY_LENGTH} characters",
    Number: f"a finite number from 0 to {MAX_NUMBER:g}",
    Category: f"a category, a string of 1 to {MAX_CATEGORY_LENGTH} characters",
    Time: "an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z",
}


class Instance(Protocol):
    """One thing to score: `request_id` and an attribute per entity key and request input."""

    request_id: str | None


class InstanceSchema:
    """The shape of one model's instances.

    Attributes:
        keys: Entity -> the field of its key.
        numbers: The fields of the request's inputs that are numbers.
        categories: The fields of the request's inputs that are categories.
        time_input: The field of the time. It may be absent.

    Raises:
        SpecError: The model's feature service is not in the catalogue.
    """

    def __init__(self, spec: ModelSpec) -> None:
        if spec.feature_service not in SERVICES:
            known = ", ".join(SERVICES)
            raise SpecError(
                f"{spec.name}: feature_service {spec.feature_service!r} is not in the catalogue,"
                f" which has {known}"
            )
        request = SERVICES[spec.feature_service].request
        self.keys = {entity: join_key(entity) for entity in spec.entities}
        self.numbers, self.categories = request.numbers, request.categories
        self.time_input = request.time_input
        self.required: dict[str, Any] = {
            **dict.fromkeys(self.keys.values(), Key),
            **dict.fromkeys(self.numbers, Number),
            **dict.fromkeys(self.categories, Category),
        }
        self.optional: dict[str, Any] = {REQUEST_ID: Key, self.time_input: Time}
        meanings = {
            **{name: f"Which {entity}." for entity, name in self.keys.items()},
            **{
                feature.name: f"{feature.description} Unit: {feature.unit}."
                for feature in request.inputs
            },
            REQUEST_ID: "Your id; joins the prediction to its outcome.",
            self.time_input: (
                "When it happens, RFC 3339 with a zone. Absent or null: the world's now. "
                "A time further from it than DOJO_TIME_TOLERANCE_SECONDS needs the time key."
            ),
        }
        fields: list[Any] = [
            *((name, _described(kind, meanings[name])) for name, kind in self.required.items()),
            *(
                (name, _described(kind | None, meanings[name]), None)
                for name, kind in self.optional.items()
            ),
        ]
        self.type = msgspec.defstruct(
            f"{struct_name(spec.name)}Instance",
            fields,
            forbid_unknown_fields=True,
            frozen=True,
            gc=False,
        )
        self.body = msgspec.defstruct(
            f"{struct_name(spec.name)}Request",
            [
                (
                    "instances",
                    Annotated[
                        list[self.type],  # type: ignore[name-defined]
                        msgspec.Meta(min_length=1, max_length=MAX_INSTANCES),
                    ],
                )
            ],
            forbid_unknown_fields=True,
        )
        self._decoder = msgspec.json.Decoder(self.body)
        self._names = tuple(f'"{name}"'.encode() for name in (*self.required, *self.optional))

    def decode(self, body: bytes) -> Sequence[Instance]:
        """Return the instances of a predict request.

        Raises:
            Problem: 400 or 422.
        """
        try:
            instances = cast(
                "Sequence[Instance]", cast("Any", self._decoder.decode(body)).instances
            )
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
        ) as error:  # ValidationError is a DecodeError
            faults = self._faults_of_body(parse_leniently(body, str(error)))
            if not faults:  # only the strict parser refuses it, such as a lone surrogate
                raise malformed_json(str(error)) from error
            raise invalid_request(faults) from error
        if self._may_repeat_keys(body, len(instances)):
            refuse_repeated_keys(body)
        return instances

    def _may_repeat_keys(self, body: bytes, instances: int) -> bool:
        """Whether a field's name appears more than once per instance, or an escape may hide one.

        The decoder silently takes the last of two values. The usual request pays only for counting.
        The fields of the first list of instances also reveal a second list.
        """
        if b"\\" in body:
            return True
        for name in self._names:  # noqa: SIM110 - a generator costs more than the counting
            if body.count(name) > instances:
                return True
        return False

    def convert(self, instances: Sequence[Mapping[str, object]]) -> Sequence[Instance]:
        """Return already parsed instances after the same checks.

        Raises:
            Problem: 422.
        """
        try:
            return cast(
                "Sequence[Instance]",
                msgspec.convert(instances, list[self.type]),  # type: ignore[name-defined]
            )
        except msgspec.ValidationError as error:
            faults = [
                fault
                for at, instance in enumerate(instances)
                for fault in self._faults(instance, f"instances[{at}]")
            ]
            raise invalid_request(faults or [FieldError("", "", str(error))]) from error

    def _faults_of_body(self, document: object) -> list[FieldError]:
        if not isinstance(document, dict):
            return [FieldError("", _shown(document), 'an object such as {"instances": [...]}')]
        faults = [
            FieldError(name, _shown(document[name]), "no such field")
            for name in document
            if name != "instances"
        ]
        instances = document.get("instances")
        if not isinstance(instances, list) or not 1 <= len(instances) <= MAX_INSTANCES:
            found = (
                f"{len(instances)} instances"
                if isinstance(instances, list)
                else _found(document, "instances")
            )
            return [
                *faults,
                FieldError("instances", found, f"a list of 1 to {MAX_INSTANCES} instances"),
            ]
        return faults + [
            fault
            for at, instance in enumerate(instances)
            for fault in self._faults(instance, f"instances[{at}]")
        ]

    def _faults(self, instance: object, path: str) -> list[FieldError]:
        if not isinstance(instance, dict):
            return [FieldError(path, _shown(instance), "an object")]
        faults = []
        for name, kind in {**self.required, **self.optional}.items():
            if name in self.optional and instance.get(name) is None:
                continue
            if name not in instance or not _is_a(kind, instance[name]):
                faults.append(FieldError(f"{path}.{name}", _found(instance, name), EXPECTED[kind]))
        known = {*self.required, *self.optional}
        faults += [
            FieldError(f"{path}.{name}", _shown(instance[name]), "no such field")
            for name in instance
            if name not in known
        ]
        return faults


def struct_name(model: str) -> str:
    """Return the common beginning of a model's struct names in the OpenAPI document."""
    return "".join(word.capitalize() for word in model.split("_"))


def parse_leniently(body: bytes, reason: str, number: Callable[[str], float] = float) -> Any:
    """Return JSON with NaN, Infinity and 1e999 as numbers, so that an error can name their field.

    Args:
        reason: The strict parser's message.
        number: Reads a number with a point or an exponent.

    Raises:
        Problem: Not even the lenient parser reads the body.
    """
    try:
        return json.loads(body, parse_float=number)
    except (ValueError, RecursionError) as error:
        raise malformed_json(reason) from error


def refuse_repeated_keys(body: bytes) -> None:
    """Refuse an object with two values for one key. Ignores a body without JSON.

    Raises:
        Problem: 422. A key has two values.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            times = Counter(name for name, _ in pairs)
            raise invalid_request(
                [
                    FieldError(name[:80], f"{count} values", "one value")
                    for name, count in times.items()
                    if count > 1
                ]
            )
        return found

    try:
        json.loads(body, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        return


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the request's body. Memory never holds more than `limit` bytes of it.

    Raises:
        Problem: 408, 413 or 415.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise body_too_large(limit)
        if name == b"content-encoding" and value.lower() != b"identity":
            raise encoded_body(value.decode("latin-1"))
    try:
        return await within(BODY_TIMEOUT_SECONDS, _whole_body(receive, limit))
    except TimeoutError:
        raise body_too_slow(BODY_TIMEOUT_SECONDS) from None


async def _whole_body(receive: Receive, limit: int) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise body_too_large(limit)
    return body


def _described(kind: Any, description: str) -> Any:
    return Annotated[kind, msgspec.Meta(description=description)]


def _is_a(kind: Any, value: object) -> bool:
    if kind is Number and isinstance(value, float) and not math.isfinite(value):
        return False
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError):
        return False
    return True


def _found(holder: Mapping[str, object], name: str) -> str:
    return _shown(holder[name]) if name in holder else "nothing"


def _shown(value: object) -> str:
    """Return a short, safe spelling of a caller's value."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = (
        json.dumps(value) if not isinstance(value, int) or abs(value) < 10**30 else "a huge integer"
    )
    return text if len(text) <= 80 else text[:77] + "..."
