"""The log names who is refused and for which fields, rarely and without values."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from services.gateway.http.refusals import MOST_KINDS, QUIET_SECONDS, Refusals
from services.gateway.messages.problems import FieldError, Problem

AGENT = [(b"accept", b"*/*"), (b"user-agent", b"partner-sync/2.4")]


def refused(*fields: str, status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY) -> Problem:
    errors = [FieldError(name, '"4711 5500"', "a string") for name in fields]
    return Problem(status, "invalid-request", "wrong fields", errors)


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def refusals(clock: Time) -> Refusals:
    return Refusals(clock)


def test_a_line_names_caller_and_fields_and_no_value(refusals: Refusals) -> None:
    with capture_logs() as lines:
        refusals.note("fraud", refused("instances[0].merchant_id", "instances[7].card"), AGENT)
    (line,) = lines
    assert line["model"] == "fraud"
    assert line["status"] == 422
    assert line["caller"] == "partner-sync/2.4"
    assert line["fields"] == "instances[].merchant_id, instances[].card"
    assert line["times"] == 1
    assert "4711" not in str(line)


def test_one_kind_is_told_once_a_minute_with_its_number(refusals: Refusals, clock: Time) -> None:
    with capture_logs() as lines:
        for _ in range(500):
            refusals.note("fraud", refused("a"), AGENT)
        clock.now += QUIET_SECONDS
        refusals.note("fraud", refused("a"), AGENT)
        refusals.note("fraud", refused("b"), AGENT)
        refusals.note("fraud", refused("a"), [])
    assert [(line["fields"], line["caller"], line["times"]) for line in lines] == [
        ("a", "partner-sync/2.4", 1),
        ("a", "partner-sync/2.4", 500),
        ("b", "partner-sync/2.4", 1),
        ("a", "unknown", 1),
    ]


@pytest.mark.parametrize(
    "status", [HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INTERNAL_SERVER_ERROR]
)
def test_our_own_faults_are_no_refusals(refusals: Refusals, status: HTTPStatus) -> None:
    with capture_logs() as lines:
        refusals.note("fraud", refused("a", status=status), AGENT)
    assert lines == []


def test_a_body_without_fields_says_what_it_is(refusals: Refusals) -> None:
    with capture_logs() as lines:
        refusals.note("fraud", refused(status=HTTPStatus.BAD_REQUEST), AGENT)
    assert lines[0]["fields"] == "invalid-request"


def test_a_caller_cannot_fill_the_memory_or_forge_lines(refusals: Refusals) -> None:
    with capture_logs() as lines:
        for number in range(3 * MOST_KINDS):
            refusals.note("fraud", refused(f"made-up-{number}"), AGENT)
        refusals.note("fraud", refused("x\ny"), [(b"user-agent", b"a\r\nb" * 100)])
    assert len(refusals._told) <= MOST_KINDS
    assert lines[-1]["fields"] == "x?y"
    assert lines[-1]["caller"].startswith("a??b")
    assert len(lines[-1]["caller"]) == 80
