"""From events into a bandit's evidence. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from dojo.core.events.types import Event, Outcome, Prediction, Stream
from dojo.core.judging.bandits import BanditEvidence, DrawnAnswer, KnownLabel
from dojo.core.spec.bandit import BanditLimits
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.bandits import Bandit
from dojo.core.state.draws import ContextInput, context_values
from services.rollout.fold import FAILED, split_answer

# Predictions come before outcomes, so that most labels find theirs at once.
STREAMS = (Stream.PREDICTIONS, Stream.OUTCOMES)


def fold_all(
    evidence: BanditEvidence, events: Iterable[Event], bandit: Bandit, spec: ModelSpec
) -> None:
    """Add events in order. Those of other models and other routes are skipped."""
    limits = spec.bandit
    if limits is None:
        return
    longest = spec.label.delay.maximum.total_seconds()
    for event in events:
        if isinstance(event, Prediction) and event.model == bandit.model:
            _answer(evidence, event, bandit, spec, limits)
        # A hidden label is never known.
        elif isinstance(event, Outcome) and event.model == bandit.model and event.label is not None:
            ripe = event.request_time.timestamp() + longest
            known = KnownLabel(event.label, event.weight, ripe)
            evidence.labelled(event.request_id, known, event.world_time.timestamp(), limits.reward)


def inputs_of(limits: BanditLimits) -> tuple[ContextInput, ...]:
    """Return the inputs of a contextual policy."""
    return tuple(ContextInput(name, one.usual, one.spread) for name, one in limits.context.items())


def _answer(
    evidence: BanditEvidence,
    event: Prediction,
    bandit: Bandit,
    spec: ModelSpec,
    limits: BanditLimits,
) -> None:
    weights = evidence.weights.get(event.route_generation)
    number = next((n for n, arm in enumerate(bandit.arms) if arm.name == event.arm), None)
    # Nothing was drawn for a caller who named the version.
    if weights is None or number is None or not event.propensity:
        return
    _guard(evidence, event, number, weights, bandit, spec)
    version = bandit.arms[number].version
    if event.version != version or not FAILED.isdisjoint(event.degraded):
        return  # another version answered: the guard counts that, and no arm earns it
    context = context_values(inputs_of(limits), event.features) if evidence.linear else ()
    drawn = DrawnAnswer(
        arm=number,
        time=event.world_time.timestamp(),
        flagged=bool(event.flagged),
        propensity=event.propensity,
        context=tuple(context),
    )
    evidence.answered(event.request_id, drawn)


def _guard(
    evidence: BanditEvidence,
    event: Prediction,
    number: int,
    weights: tuple[float, ...],
    bandit: Bandit,
    spec: ModelSpec,
) -> None:
    """Compare each challenger with the champion, on the traffic of both."""
    for other, guard in enumerate(evidence.guards, start=1):
        if number in (0, other) and weights[other] > 0:
            share = weights[other] / (weights[0] + weights[other])
            version = bandit.arms[number].version
            split_answer(guard, event, number == other, version, share, {}, spec)
