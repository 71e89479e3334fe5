"""Drift reports, one per severe trouble of distributions.

A report is ordered independently of other work. The owner gets its link when it is ready.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

import msgspec
import structlog
from redis import Redis

from dojo.core.spec.schema import ModelSpec
from dojo.core.state.drift_reports import DriftReportLink, drift_report
from dojo.core.state.work_orders import OrderOpenError, WorkOrder, WorkOrders
from services.responder.announcements import RESPONDER, ResponseAnnouncements
from services.responder.policy import ORDER, REPORTED
from services.responder.state import Incident, ModelState

ENDED = "ended"

_log = structlog.get_logger("responder")


@dataclass(frozen=True, slots=True)
class Reports:
    """For all models. Raises redis.RedisError when Redis is out of reach. Repeat the call then."""

    redis: Redis
    orders: WorkOrders
    announcements: ResponseAnnouncements

    def advance(self, spec: ModelSpec, state: ModelState, now: datetime) -> ModelState:
        """Order missing reports, and announce finished ones. The caller saves the state."""
        for trouble in state.troubles.values():
            if (
                trouble.report == ENDED
                or trouble.check not in REPORTED
                or ORDER[trouble.severity] < ORDER["severe"]
            ):
                continue
            state = state.with_trouble(self._advance(spec, trouble, now))
        return state

    def _advance(self, spec: ModelSpec, trouble: Incident, now: datetime) -> Incident:
        order_id = (
            trouble.report or f"report-{hashlib.sha256(trouble.id.encode()).hexdigest()[:16]}"
        )
        start, end = trouble.since, trouble.judged
        work = self.orders.get(order_id)
        if work is None and trouble.report:
            return msgspec.structs.replace(trouble, report=ENDED)  # the order expired or was lost
        if work is None:
            parameters = {
                "version": trouble.version,
                "start": start.isoformat(),
                "end": end.isoformat(),
            }
            why = f"{trouble.severity} {trouble.check} of version {trouble.version}"
            order = WorkOrder(
                id=order_id, model=spec.name, kind="drift_report", who=RESPONDER, why=why,
                world_time=now, parameters=parameters,
            )  # fmt: skip
            try:
                work = self.orders.place(order)
            except OrderOpenError:
                return trouble  # later, after the open order
        if not work.ended:
            return msgspec.structs.replace(trouble, report=order_id)
        url = work.answer.get("url")
        if work.state == "done" and url:
            asked = work.order.parameters
            report = DriftReportLink(
                model=spec.name,
                version=trouble.version,
                url=str(url),
                start=datetime.fromisoformat(asked["start"]),
                end=datetime.fromisoformat(asked["end"]),
                verdict=trouble.id,
            )
            drift_report(self.redis, report.model, report.version).put(report)
            self.announcements.report(spec, trouble, report.url, now)
        else:
            _log.warning(
                "no drift report", model=spec.name, order=order_id, error=work.answer.get("error")
            )
        return msgspec.structs.replace(trouble, report=ENDED)
