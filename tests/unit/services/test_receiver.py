"""Alerts as notices, and the dead man's switch."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from dojo.core.state.inbox import Notice, is_resolved
from services.receiver.messages import (
    notice_of,
    recovery_notice,
    silence_notice,
    subject_of,
    team_of,
)
from services.receiver.payload import Alert, MalformedPayloadError, decode
from services.receiver.silences import OWN_ALERT, Matcher, Silence, SilenceStatus
from services.receiver.watchdog import Watchdog, WatchdogChange

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIMIT = timedelta(seconds=120)


def payload(**changes: Any) -> bytes:
    """Return one firing alert as Alertmanager 0.25 posts it. `changes` apply to the alert."""
    alert = {
        "status": "firing",
        "labels": {
            "alertname": "FeatureViewStale",
            "severity": "warning",
            "team": "ml-platform",
            "view": "customer_activity",
        },
        "annotations": {
            "summary": "customer_activity is stale",
            "description": "40m old.",
            "runbook_url": "monitoring/runbooks/FeatureViewStale.md",
        },
        "startsAt": "2026-11-21T11:58:00.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://127.0.0.1:9090/graph",
        "fingerprint": "4f0f9a9f8a6cbf0d",
        **changes,
    }
    return json.dumps(
        {
            "receiver": "chat",
            "status": "firing",
            "alerts": [alert],
            "groupLabels": {"alertname": "FeatureViewStale"},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://127.0.0.1:9093",
            "version": "4",
            "groupKey": "{}:{}",
            "truncatedAlerts": 0,
        }
    ).encode()


def alert(**changes: Any) -> Alert:
    (found,) = decode(payload(**changes)).alerts
    return found


def notice(channel: Any = "chat", **changes: Any) -> Notice:
    return notice_of(alert(**changes), channel)


def test_an_alert_becomes_a_notice_to_its_team_with_all_that_it_says() -> None:
    told = notice()
    assert (told.urgency, team_of(alert()), told.title) == (
        "warning",
        "ml-platform",
        "customer_activity is stale",
    )
    assert told.text.splitlines() == [
        "40m old.",
        "FeatureViewStale (warning, view customer_activity)",
        "Runbook: dojo runbook FeatureViewStale",
    ]
    assert notice("pager").urgency == "page"


def test_an_occasion_has_one_id_whoever_repeats_it_and_its_end_another() -> None:
    assert notice().message_id == notice(annotations={"summary": "now 41m old"}).message_id
    ended = notice(status="resolved", endsAt="2026-11-21T12:03:00Z")
    again = notice(startsAt="2026-11-21T13:00:00Z")
    other = notice(fingerprint="0000000000000000")
    assert len({notice().message_id, ended.message_id, again.message_id, other.message_id}) == 4


def test_an_end_asks_nobody_to_do_anything() -> None:
    ended = notice("pager", status="resolved", endsAt="2026-11-21T12:03:00.123456Z")
    assert is_resolved(ended)
    assert not is_resolved(notice())
    assert ended.urgency == "info"
    assert "It lasted 0:05:00" in ended.text
    assert "Runbook" not in ended.text


def test_an_alert_that_says_nothing_still_reaches_somebody() -> None:
    bare = alert(labels={"alertname": "Bare"}, annotations={})
    assert (team_of(bare), subject_of(bare), notice_of(bare, "chat").title) == (
        "ml-platform",
        "platform",
        "Bare",
    )
    assert (
        subject_of(alert(labels={"alertname": "X", "model": "fraud_detection", "job": "monitor"}))
        == "fraud_detection"
    )


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "truncated"),
        (b"\xff\xfe", "malformed"),
        (b"[]", "object"),
        (payload().replace(b'"version": "4"', b'"version": "3"'), "version"),
        (payload(status="sleeping"), "status"),
        (payload(startsAt="2026-11-21T11:58:00"), "startsAt"),
        (payload(fingerprint=""), "fingerprint"),
        (payload(labels={"alertname": 3}), "labels"),
    ],
)
def test_what_is_no_notification_is_refused_with_the_fields_name(body: bytes, named: str) -> None:
    with pytest.raises(MalformedPayloadError, match=named):
        decode(body)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_a_watchdog_that_barks_is_no_news() -> None:
    watchdog = Watchdog(NOON, LIMIT)
    for seconds in range(0, 600, 30):
        watchdog.bark(after(seconds))
        assert watchdog.untold(after(seconds + 29)) is None


def test_its_silence_is_told_until_somebody_took_it_and_then_its_end() -> None:
    watchdog = Watchdog(NOON, LIMIT)
    assert watchdog.untold(after(120)) is None
    silent = watchdog.untold(after(121))
    assert silent == WatchdogChange("silent", NOON, timedelta(seconds=121))
    assert watchdog.untold(after(125)) is not None, "the inbox was away: told again"
    watchdog.told(silent)
    assert watchdog.untold(after(1000)) is None, "once"
    watchdog.bark(after(1001))
    back = watchdog.untold(after(1002))
    assert back == WatchdogChange("back", NOON, timedelta(seconds=1001))
    watchdog.told(back)
    assert watchdog.untold(after(1003)) is None
    assert watchdog.untold(after(1122)) == WatchdogChange(
        "silent", after(1001), timedelta(seconds=121)
    ), "the next one is another"


def test_a_bark_while_its_silence_is_being_told_is_the_end_of_it() -> None:
    watchdog = Watchdog(NOON, LIMIT)
    silent = watchdog.untold(after(121))
    assert silent is not None
    watchdog.bark(after(122))
    watchdog.told(silent)
    assert watchdog.untold(after(123)) == WatchdogChange("back", NOON, timedelta(seconds=122))


def test_a_silence_that_nobody_could_be_told_of_in_time_is_not_told_afterwards() -> None:
    watchdog = Watchdog(NOON, LIMIT)
    assert watchdog.untold(after(121)) is not None
    watchdog.bark(after(122))
    assert watchdog.untold(after(123)) is None


def test_silence_and_its_end_are_one_occasion_each() -> None:
    first, later = (
        silence_notice(NOON, timedelta(seconds=121)),
        silence_notice(NOON, timedelta(seconds=900)),
    )
    assert first.message_id == later.message_id
    assert first.urgency == "page"
    back = recovery_notice(NOON, timedelta(seconds=901))
    assert is_resolved(back)
    assert back.message_id != first.message_id


# ---- silences


def silence(*conditions: tuple[str, str, str]) -> Silence:
    """Return a silence with these conditions: label, sign, value."""
    matchers = tuple(
        Matcher(name=name, value=value, is_regex="~" in sign, is_equal=not sign.startswith("!"))
        for name, sign, value in conditions
    )
    return Silence(
        id="s",
        status=SilenceStatus("active"),
        matchers=matchers,
        starts_at=NOON,
        ends_at=NOON,
        created_by="ann",
        comment="why",
    )


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([("severity", "=", "critical")], True),
        ([("severity", "=~", "warning|critical")], True),
        ([("severity", "!=", "warning")], True),
        ([("severity", "!~", "crit.*")], False),
        ([("severity", "=", "warning")], False),
        ([("severity", "=~", "crit")], False),  # patterns are anchored
        ([("alertname", "=", "GatewayDown")], True),  # the alert has a critical rule
        ([("alertname", "=", "GatewayDown"), ("severity", "=", "warning")], False),
        ([("severity", "=~", "(?P<unread")], True),  # an unreadable pattern counts as a match
    ],
)
def test_a_silence_without_a_condition_that_spares_critical_alerts_may_hide_one(
    conditions: list[tuple[str, str, str]], expected: bool
) -> None:
    assert silence(*conditions).may_hide_a_critical_one is expected


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([("severity", "=", "critical")], False),
        ([("alertname", "=~", ".+")], True),
        ([("team", "=", "ml-platform")], True),
        ([("severity", "=", "warning"), ("model", "=", "fraud_detection")], False),
        ([("model", "=", "")], True),
        ([("alertname", "=", "AlertsSilenced"), ("reason", "=", "old")], True),
    ],
)
def test_a_silence_over_the_alert_about_silences_is_recognised(
    conditions: list[tuple[str, str, str]], expected: bool
) -> None:
    assert silence(*conditions).hides_its_own_alert is expected


def test_the_alert_about_silences_has_the_labels_that_the_receiver_looks_for() -> None:
    rules = yaml.safe_load(
        (Path("monitoring") / "prometheus" / "rules" / "monitoring.yml").read_text()
    )["groups"][0]["rules"]
    (rule,) = [rule for rule in rules if rule.get("alert") == OWN_ALERT["alertname"]]
    assert {"alertname": rule["alert"], **rule["labels"]} == OWN_ALERT


def test_a_silence_is_said_as_people_write_it() -> None:
    said = str(silence(("severity", "=~", "critical|warning"), ("model", "!=", "a")))
    assert (
        said
        == 's {severity=~"critical|warning", model!="a"} by ann until 2026-11-21 12:00 UTC: why'
    )
