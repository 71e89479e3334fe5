"""Messages of one occasion are one incident, from the first to the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dojo.core.state.inbox import RESOLVED, Message
from dojo.core.state.incidents import Handled, id_of, incidents, occasion_of

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def message(occasion: str, minute: int, resolved: bool = False, source: str = "alert") -> Message:
    status = "resolved" if resolved else "firing"
    return Message(
        message_id=f"{source}:{occasion}:{status}",
        urgency="page",
        title=f"{RESOLVED if resolved else ''}no answers",
        text="",
        to="ml-platform",
        model="platform",
        source="alertmanager/pager",
        world_time=None,
        wall_time=NOON + timedelta(minutes=minute),
    )


def test_an_incident_begins_with_its_first_message_and_ends_with_the_resolution() -> None:
    first, again = "f1:2026-11-20T12:00:00+00:00", "f1:2026-11-20T12:30:00+00:00"
    found = incidents([message(again, 31), message(first, 9, resolved=True), message(first, 1)], {})
    assert [(one.id, one.told.minute, one.resolved) for one in found] == [
        (id_of(first), 1, NOON + timedelta(minutes=9)),
        (id_of(again), 31, None),
    ]


def test_only_alerts_are_incidents_and_an_end_alone_is_none() -> None:
    assert occasion_of(message("x:1", 0, source="rollout")) == ""
    assert (
        incidents([message("x:1", 0, source="rollout"), message("y:1", 2, resolved=True)], {}) == []
    )


def test_who_has_it_stands_beside_it() -> None:
    handled = Handled(by="k.meyer", acknowledged=NOON, changed=NOON)
    (found,) = incidents([message("x:1", 0)], {id_of("x:1"): handled, "other": handled})
    assert found.handled == handled
