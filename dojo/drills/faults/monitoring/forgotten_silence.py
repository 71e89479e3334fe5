"""A silence that a colleague left in Alertmanager."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from dojo.core.settings import Settings
from dojo.core.spec.section import Text
from dojo.core.state.clock import wall_now
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown

TIMEOUT_SECONDS = 5.0


class ForgottenSilence(Injection):
    """A silence over one area.

    Attributes:
        area: Value of the alerts' label `area`.
        who: Its author.
        comment: Its reason, as the author gave it.
        days: Until its end, wall time.
    """

    kind: Literal["forgotten_silence"]
    area: Text
    who: Text
    comment: Text
    days: Annotated[int, Field(gt=0)]

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        now = wall_now()
        body = {
            "matchers": [{"name": "area", "value": self.area, "isRegex": False, "isEqual": True}],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(days=self.days)).isoformat(),
            "createdBy": self.who,
            "comment": self.comment,
        }
        write_down({"comment": self.comment, "who": self.who})
        try:
            _ask(settings, "silences", body)
        except OSError as error:
            raise FaultRefusedError(f"Alertmanager took no silence: {error}") from error

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        try:
            for one in _active(settings, receipt):
                _ask(settings, f"silence/{one}", method="DELETE")
        except urllib.error.HTTPError:
            raise
        except OSError:
            return  # an Alertmanager that is away mutes nothing, and `dojo up` starts it anew

    def left(self, settings: Settings, receipt: Receipt) -> str:
        try:
            found = _active(settings, receipt)
        except OSError:
            return ""
        return f"silence {found[0]}" if found else ""


def _active(settings: Settings, receipt: Receipt) -> list[str]:
    """Return the ids of the silences with the receipt's author and comment."""
    return [
        one["id"]
        for one in _ask(settings, "silences")
        if one["status"]["state"] != "expired"
        and (one["createdBy"], one["comment"]) == (receipt["who"], receipt["comment"])
    ]


def _ask(settings: Settings, path: str, body: Any = None, method: str = "") -> Any:
    request = urllib.request.Request(
        f"{settings.url_of('alertmanager')}/api/v2/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method=method or ("GET" if body is None else "POST"),
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        text = answer.read()
    return json.loads(text) if text else None
