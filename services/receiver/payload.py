"""The used part of Alertmanager's posts to a webhook (its format 4).

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec


class MalformedPayloadError(ValueError):
    """The body is no notification of format 4. The message says what was expected and found."""


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """One alert. `fingerprint` names its set of labels, `starts_at` (wall time) its occasion."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: Annotated[datetime, msgspec.Meta(tz=True)]
    ends_at: Annotated[datetime, msgspec.Meta(tz=True)]
    fingerprint: Annotated[str, msgspec.Meta(min_length=1)]


class Notification(msgspec.Struct, frozen=True, rename="camel"):
    """One group's alerts. Alerts that ended since the last one are among them, as resolved."""

    version: Literal["4"]
    receiver: str
    alerts: list[Alert]
    truncated_alerts: int = 0


_decoder = msgspec.json.Decoder(Notification)


def decode(body: bytes) -> Notification:
    """Raises MalformedPayloadError."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedPayloadError(str(error)) from error
