"""One request's way: choose arms, look up features, score, answer, log.

Every step has a fallback, and every fallback has a name:

    the chosen arm cannot score -> another arm of the route answers             arm_failed
    no version can score        -> the spec's fallback score, version "0"       model_unavailable
    the world has no time yet   -> the wall clock's time                        world_clock_unset
    features                    -> see services/gateway/features/lookup.py
    an unknown category         -> scored as all unknown ones                   new_category:<field>
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from dojo.core.categories import category_number
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.routes import CHAMPION_ARM
from dojo.core.tasks.records import AnswerValues
from dojo.core.tasks.specs import task_of
from services.gateway.clock import GatewayClock
from services.gateway.features.lookup import new_category
from services.gateway.messages.answers import Answer, AnswerLog, Asked
from services.gateway.messages.requests import Instance, InstanceSchema
from services.gateway.metrics import GatewayMetrics
from services.gateway.routing.shadow import Mirrored
from services.gateway.versions.arms import ServedRoute
from services.gateway.versions.batches import Scoring
from services.gateway.versions.scoring import ArmScorer

ARM_FAILED = "arm_failed"
MODEL_UNAVAILABLE = "model_unavailable"
CLOCK_UNSET = "world_clock_unset"

# The version in an answer of the spec's fallback.
NO_VERSION = "0"


class Predictor:
    """Predictions of one model.

    Args:
        mirror: Takes each answered instance of a route with a shadow. It must not block.
    """

    def __init__(
        self,
        spec: ModelSpec,
        schema: InstanceSchema,
        scorer: ArmScorer,
        clock: GatewayClock,
        log: AnswerLog,
        mirror: Callable[[Mirrored], None],
        metrics: GatewayMetrics,
    ) -> None:
        self._fallback_score, self._task = spec.serving.fallback_score, task_of(spec)
        self._keys = tuple(schema.keys.items())
        self._numbers, self._time_input = schema.numbers, schema.time_input
        self._categories = schema.categories
        self._scorer = scorer
        self._clock = clock
        self._answers = log
        self._mirror = mirror
        self._metrics = metrics
        self._logging = metrics.layers.labels(spec.name, "log")

    async def predict(
        self,
        route: ServedRoute | None,
        instances: Sequence[Instance],
        started: float,
        trace_id: str,
    ) -> list[Answer]:
        """Answer each instance, in order. Never raises.

        Args:
            route: The route to ask. None while the model has no version.
            started: `time.perf_counter()` at the request's arrival.
        """
        world_now = self._clock.now()
        generation = 0 if route is None else route.route.generation
        asked = Asked(generation, started, world_now, trace_id)
        keys = [
            {entity: getattr(instance, join_key) for entity, join_key in self._keys}
            for instance in instances
        ]
        if route is None:
            given = self._task.answers(
                [self._fallback_score] * len(instances), [None] * len(instances)
            )
            return [
                self._fallback(one, asked, instance, of, CHAMPION_ARM, (MODEL_UNAVAILABLE,), 1.0)
                for one, instance, of in zip(given, instances, keys, strict=True)
            ]
        inputs = [self._inputs(instance, world_now) for instance in instances]
        request_ids = [instance.request_id or "" for instance in instances]
        now = world_now.timestamp() if self._clock.is_set else None
        scorings = await self._scorer.score(route, keys, inputs, started, request_ids, now)
        began = time.perf_counter()
        given = self._task.answers(
            [self._fallback_score if scoring.by is None else scoring.score for scoring in scorings],
            [
                None if scoring.by is None else scoring.by.served.bundle.decision
                for scoring in scorings
            ],
        )
        answers = []
        for one, instance, of, sent, scoring in zip(
            given, instances, keys, inputs, scorings, strict=True
        ):
            if scoring.by is None:
                reasons = (ARM_FAILED, MODEL_UNAVAILABLE)
                answer = self._fallback(
                    one, asked, instance, of, scoring.chosen.name, reasons, scoring.propensity
                )
            else:
                answer = self._scored(one, asked, instance, of, scoring)
                if route.shadow is not None:
                    self._mirror(
                        Mirrored(
                            route,
                            answer,
                            one.flagged,
                            instance.request_id,
                            scoring,
                            of,
                            sent,
                            world_now,
                        )
                    )
            answers.append(answer)
        self._logging.observe(time.perf_counter() - began)
        return answers

    def _scored(
        self,
        given: AnswerValues,
        asked: Asked,
        instance: Instance,
        entity_keys: dict[str, str],
        scoring: Scoring,
    ) -> Answer:
        arm = scoring.by
        assert arm is not None
        bundle, plan = arm.served.bundle, arm.plan
        degraded = scoring.stored.degraded
        if not self._clock.is_set:
            degraded += (CLOCK_UNSET,)
        if scoring.failed:
            degraded += (ARM_FAILED,)
        unknown = {
            field: name
            for field, known in arm.served.categories
            if (name := getattr(instance, field)) not in known
        }
        if unknown:
            degraded += tuple(new_category(field) for field in unknown)
        ages = plan.ages(scoring.stored.rows, asked.world_now.timestamp())
        for view, allowed in plan.freshness_sla.items():
            if (ages[view] or 0.0) > allowed:
                self._metrics.stale.labels(view).inc()
        score = scoring.score
        answer = self._answers.answer(
            score, given, arm.version, scoring.chosen.name, degraded, scoring.cached_seconds
        )
        features = dict(zip(bundle.features, scoring.row, strict=True))
        self._answers.log(
            answer,
            score,
            given.flagged,
            instance,
            entity_keys,
            features,
            ages,
            asked,
            scoring.done - asked.started,
            scoring.propensity,
            scoring.cached_seconds,
            unknown,
        )
        return answer

    def _fallback(
        self,
        given: AnswerValues,
        asked: Asked,
        instance: Instance,
        entity_keys: dict[str, str],
        arm: str,
        reasons: tuple[str, ...],
        propensity: float,
    ) -> Answer:
        score, seconds = self._fallback_score, time.perf_counter() - asked.started
        answer = self._answers.answer(score, given, NO_VERSION, arm, reasons)
        self._answers.log(
            answer,
            score,
            given.flagged,
            instance,
            entity_keys,
            {},
            {},
            asked,
            seconds,
            propensity,
        )
        return answer

    def _inputs(self, instance: Instance, world_now: datetime) -> dict[str, float]:
        inputs: dict[str, float] = {name: getattr(instance, name) for name in self._numbers}
        for name in self._categories:
            inputs[name] = category_number(getattr(instance, name))
        inputs[self._time_input] = (getattr(instance, self._time_input) or world_now).timestamp()
        return inputs
