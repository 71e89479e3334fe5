"""Metrics of the world.

    dojo_world_events_total{stream}             events appended to the event log, without labels
    dojo_world_outcomes_total                   labels appended to the event log
    dojo_world_decisions_total{action}          flagged payments that the shop acted on
    dojo_value_gained_euro_total{model,version} what decisions gained against letting payments pass
    dojo_value_lost_euro_total{model,version}   what decisions lost
    dojo_world_gateway_answers_total{outcome}   how the question about each event ended:
                                                scored       answered, nothing missing
                                                degraded     answered, with the missing parts named
                                                refused      4xx: the question is not accepted
                                                failed       5xx
                                                unreachable  no connection
                                                timeout      no answer within its patience
                                                malformed    an answer that cannot be read
                                                skipped      not asked after the gateway hung
    dojo_world_gateway_seconds                  wall time from question to answer, for the caller
    dojo_world_append_failures_total            attempts to write to Redis that failed
    dojo_world_lag_seconds                      world seconds between now and the last emission
    dojo_world_emitted_until_timestamp_seconds  the last emission, unix seconds of world time
    dojo_world_replay_exhausted                 1 when the replayed file has no more transactions
    dojo_world_standing_still                   1 while world time stands still, not in a pause
    dojo_world_drift_intensity{cause}           intensity of a caused drift now, 0 to 1

A failed attempt to write is repeated. World time stands still when nothing is lived. The drifts'
kinds are in dojo/shop/drift_kinds.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from dojo.shop.events import Action, Decision, Settlement

EVENTS = Counter("dojo_world_events_total", "Events appended to the event log.", ["stream"])
OUTCOMES = Counter("dojo_world_outcomes_total", "Labels appended to the event log.")
DECISIONS = Counter("dojo_world_decisions_total", "Answers that the shop acted on.", ["action"])
GAINED = Counter(
    "dojo_value_gained_euro_total",
    "Euros that decisions gained against a world without the model, when the truth was due.",
    ["model", "version"],
)
LOST = Counter(
    "dojo_value_lost_euro_total",
    "Euros that decisions lost against a world without the model, when the truth was due.",
    ["model", "version"],
)
GATEWAY_ANSWERS = Counter(
    "dojo_world_gateway_answers_total", "How the question about each event ended.", ["outcome"]
)
GATEWAY_SECONDS = Histogram(
    "dojo_world_gateway_seconds",
    "Wall time from question to answer, as the caller sees it.",
    # Around the model's latency SLO (50 ms) and deadline (100 ms), up to the checkout's patience.
    buckets=(0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
APPEND_FAILURES = Counter(
    "dojo_world_append_failures_total", "Attempts to write to Redis that failed; each is repeated."
)
LAG = Gauge("dojo_world_lag_seconds", "World seconds between now and the last emitted instant.")
EMITTED_UNTIL = Gauge(
    "dojo_world_emitted_until_timestamp_seconds",
    "The last emitted instant, unix seconds of world time.",
)
EXHAUSTED = Gauge(
    "dojo_world_replay_exhausted", "1 when the replayed file has no more transactions."
)
STANDING_STILL = Gauge(
    "dojo_world_standing_still", "1 while world time stands still because nothing is lived."
)

# They exist before the first failure. A counter that appears with it hides it from increase().
for _outcome in (
    "scored",
    "degraded",
    "refused",
    "failed",
    "unreachable",
    "timeout",
    "malformed",
    "skipped",
):
    GATEWAY_ANSWERS.labels(_outcome)
for _action in get_args(Action):
    DECISIONS.labels(_action)
DRIFT = Gauge(
    "dojo_world_drift_intensity", "How much of a caused drift there is now, 0 to 1.", ["cause"]
)


def count_decisions(decided: Iterable[Decision], settled: Iterable[Settlement]) -> None:
    """Count new decisions, and what earlier ones were worth."""
    for decision in decided:
        DECISIONS.labels(decision.action).inc()
    for one in settled:
        # Both counters of a version appear at once, so that a rate of one is never without the
        # other.
        GAINED.labels(one.model, one.version).inc(max(one.value_euro, 0.0))
        LOST.labels(one.model, one.version).inc(max(-one.value_euro, 0.0))
