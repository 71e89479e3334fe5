"""What is done about a verdict, before circumstances are looked at (decide.py). Pure, and the whole of it:

    verdicts about                                      warning     severe      critical
    the model's world and work: input_drift,            the spec's  the spec's  the spec's `response`
      prediction_drift, flagged_rate, segments,         `response`  `response`  (roll back, or retrain when the
      estimated_performance, performance                (notify)    (evaluate)  version did not bring the trouble)
    its age: model_freshness                            notify      notify      notify
    its feed: data_quality, skew,                       notify      notify      notify, as a page
      feature_freshness, label_delay, labels_missing

An old champion is one that no retraining has beaten, or one whose schedule stands still: the schedule asks every week already, and asking once
more changes neither. Its owner is told.

No model mends a feed: a retraining learns what the broken feed says (cents for euros make every payment a fortune), and a rollback brings
back a version that reads the same feed. Such troubles go to people, with what to look at. While values are wrong, nothing is done about
the others either (`spoils`): their figures are made of the same data. Already from a warning on: of a broken unit the shifted inputs are
critical in the hour in which the impossible values, a fraction of them, are a warning. While features are stale, and until the windows that
they are in are past, nothing is done about what served values alone say (`UNLABELLED`).
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

ORDER: Mapping[Severity, int] = {"insufficient_data": -1, "ok": 0, "warning": 1, "severe": 2, "critical": 3}

# Of the feed's checks those that say that values are wrong, not late: what is computed from them is wrong too. Stale features and late
# labels are not among them: training computes features from the lake, and leaves payments without a label out.
SPOILING: frozenset[Check] = frozenset({"data_quality", "skew"})

# What is computed from served values alone. Stale features move these like a world that changed, and no model makes features fresh. What labels
# say of the champion stands for itself.
UNLABELLED: frozenset[Check] = frozenset({"input_drift", "prediction_drift", "flagged_rate", "estimated_performance"})

# A drift report shows distributions: it explains these.
REPORTED: frozenset[Check] = frozenset({"input_drift", "prediction_drift"})

# What a person looks at first.
LOOK_AT: Mapping[Check, str] = {
    "input_drift": "which features moved, and since when: dojo drift show {model}; a new campaign, season or pattern?",
    "prediction_drift": "whether inputs moved too: dojo drift show {model}; scores alone that move are the model's doing or its features'",
    "flagged_rate": "the reviewers' queue, and scores against inputs: dojo drift show {model}",
    "estimated_performance": "what labels say as they arrive: dojo performance {model}",
    "performance": "what labels say of its answers: dojo performance {model}; was the version changed lately? dojo rollout show {model}",
    "segments": "the named segment: dojo drift show {model}",
    "model_freshness": "why no retraining has won for so long: dojo gate show {model}",
    "data_quality": "the callers and the feature store: values are missing or impossible (a unit, a default, a field that went away)",
    "skew": "the named features: serving computes or receives them differently than training; examples in dojo drift show {model}",
    "feature_freshness": "the materializer and the streamer: dojo status, dojo logs materializer",
    "labels_missing": "the source of outcomes: labels that are due do not come; what performance says rests on ever older ones",
    "label_delay": "the source of outcomes: labels come late; performance is judged on fewer labels meanwhile",
}


def remedy(check: Check, severity: Severity, response: Response) -> Remedy:
    """What the table says. Raises ValueError for a severity that is no trouble."""
    if ORDER[severity] < ORDER["warning"]:
        raise ValueError(f"expected warning, severe or critical, got {severity}")
    match FAMILIES[check]:
        case "model":
            return {"warning": response.warning, "severe": response.severe, "critical": response.critical}[severity]
        case "age" | "feed":
            return "notify"


def urgency(check: Check, severity: Severity) -> Urgency:
    """How urgent it is for the owner. Critical trouble of a model is acted upon, and paged about when that is held back or fails."""
    if severity == "warning":
        return "info"
    return "page" if severity == "critical" and FAMILIES[check] == "feed" else "warning"


def spoils(check: Check, severity: Severity) -> bool:
    """Whether such a trouble makes the figures of all others, and training data, unfit to act upon."""
    return check in SPOILING and ORDER[severity] >= ORDER["warning"]
