"""The response to a verdict, before circumstances (decide.py). Pure. This is the whole policy.

    verdicts about                                      warning     severe      critical
    the model's world and work: input_drift,            the spec's  the spec's  the spec's
      prediction_drift, flagged_rate, segments,         `response`  `response`  `response`
      estimated_performance, performance                (notify)    (evaluate)  (roll_back)
    its age: model_freshness                            notify      notify      notify
    its feed: data_quality, skew,                       notify      notify      notify, as a page
      feature_freshness, label_delay, labels_missing

The spec's critical response is to roll back. It becomes a retraining when the version did not bring
the trouble.

A champion is old because no retraining has beaten it, or because its schedule stands still. The
schedule already asks every week, and one more request changes neither. So its owner is told.

A new model does not repair a feed. A retraining would learn the broken values, and cents for euros
make every payment a fortune. A rollback brings back a version that reads the same feed. Such
troubles go to people, with hints where to look.

While values are wrong, the other troubles get no action either (`spoils`). Their figures come from
the same data. A warning is enough to block the other actions. When a feed sends cents for euros,
most inputs shift (critical). Only a few values leave their allowed range (warning). Both appear in
the same hour.

While features are stale, verdicts on served values alone get no action (`UNLABELLED`). This lasts
until the windows with stale features are past.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from dojo.core.events.types import Check
from dojo.core.severity import Severity
from dojo.core.spec.monitoring import Response
from dojo.core.state.inbox import Urgency

Remedy = Literal["notify", "evaluate", "roll_back"]
Family = Literal["model", "age", "feed"]

FAMILIES: Mapping[Check, Family] = {
    "input_drift": "model",
    "prediction_drift": "model",
    "flagged_rate": "model",
    "estimated_performance": "model",
    "performance": "model",
    "segments": "model",
    "model_freshness": "age",
    "data_quality": "feed",
    "skew": "feed",
    "feature_freshness": "feed",
    "label_delay": "feed",
    "labels_missing": "feed",
}

ORDER: Mapping[Severity, int] = {
    "insufficient_data": -1,
    "ok": 0,
    "warning": 1,
    "severe": 2,
    "critical": 3,
}

# The feed's checks for wrong values. Figures computed from such values are wrong too. Stale
# features and late labels are not among them. Training computes features from the lake, and skips
# payments without a label.
SPOILING: frozenset[Check] = frozenset({"data_quality", "skew"})

# Checks computed from served values alone. Stale features move them like a change of the world, and
# a new model does not make features fresh. Verdicts from labels stay valid.
UNLABELLED: frozenset[Check] = frozenset(
    {"input_drift", "prediction_drift", "flagged_rate", "estimated_performance"}
)

# A drift report shows distributions, so it explains these checks.
REPORTED: frozenset[Check] = frozenset({"input_drift", "prediction_drift"})

# The first thing for a person to check.
LOOK_AT: Mapping[Check, str] = {
    "input_drift": (
        "which features moved, and since when: dojo drift show {model}; a new campaign, season or"
        " pattern?"
    ),
    "prediction_drift": (
        "whether inputs moved too: dojo drift show {model}; scores alone that move are the model's"
        " doing or its features'"
    ),
    "flagged_rate": "the reviewers' queue, and scores against inputs: dojo drift show {model}",
    "estimated_performance": "what labels say as they arrive: dojo performance {model}",
    "performance": (
        "what labels say of its answers: dojo performance {model}; was the version changed lately?"
        " dojo rollout show {model}"
    ),
    "segments": "the named segment: dojo drift show {model}",
    "model_freshness": "why no retraining has won for so long: dojo gate show {model}",
    "data_quality": (
        "the callers and the feature store: values are missing or impossible (a unit, a default, a"
        " field that went away)"
    ),
    "skew": (
        "the named features: serving computes or receives them differently than training; examples"
        " in dojo drift show {model}"
    ),
    "feature_freshness": "the materializer and the streamer: dojo status, dojo logs materializer",
    "labels_missing": (
        "the source of outcomes: labels that are due do not come; what performance says rests on"
        " ever older ones"
    ),
    "label_delay": (
        "the source of outcomes: labels come late; performance is judged on fewer labels meanwhile"
    ),
}


def remedy(check: Check, severity: Severity, response: Response) -> Remedy:
    """Return the table's remedy.

    Raises:
        ValueError: The severity is not a trouble.
    """
    if ORDER[severity] < ORDER["warning"]:
        raise ValueError(f"expected warning, severe or critical, got {severity}")
    match FAMILIES[check]:
        case "model":
            return {
                "warning": response.warning,
                "severe": response.severe,
                "critical": response.critical,
            }[severity]
        case "age" | "feed":
            return "notify"


def urgency(check: Check, severity: Severity) -> Urgency:
    """Return how urgent a trouble is for the owner.

    The responder acts on critical troubles of a model. It pages when it holds back or fails.
    """
    if severity == "warning":
        return "info"
    return "page" if severity == "critical" and FAMILIES[check] == "feed" else "warning"


def spoils(check: Check, severity: Severity) -> bool:
    """Whether such a trouble makes all other figures, and training data, unfit for action."""
    return check in SPOILING and ORDER[severity] >= ORDER["warning"]
