"""The kinds of drift that people can cause in a world (`dojo world drift`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

Kind = Literal[
    "covariate_gradual",
    "covariate_sudden",
    "concept",
    "prediction",
    "unit_bug",
    "null_burst",
    "new_category",
    "new_carrier",
    "label_delay",
    "label_stop",
    "late_clock",
    "stale_features",
]
SUDDEN = timedelta(0)


@dataclass(frozen=True, slots=True)
class KindOfDrift:
    """A kind's effect, strength and speed.

    Attributes:
        what: The effect on the world at full intensity.
        unit: What `strength` is a fraction or multiple of. It follows the number in messages.
        default: Default strength, in `unit`.
        lowest: Smallest allowed strength, in `unit`.
        highest: Largest allowed strength, in `unit`.
        ramp: Default world time over which it grows. None for a kind that cannot grow.
        synthetic_only: True if it needs simulated fraudsters or orders, which a replay lacks.
    """

    what: str
    unit: str
    default: float
    lowest: float
    highest: float
    ramp: timedelta | None = SUDDEN
    synthetic_only: bool = False


# With the default strengths and 10,000 payments a day, a monitor sees sudden drifts within hours.
# It sees ramps and labels within days. docs/designs/d19-drift.md has the measured times.
KINDS: dict[Kind, KindOfDrift] = {
    "covariate_gradual": KindOfDrift(
        "prices rise: every amount grows, fraud and honest alike",
        *("of the amounts, as growth", 0.6, 0.01, 10.0),
        ramp=timedelta(days=3),  # 20 percentage points a day: one day is below most thresholds
    ),
    "covariate_sudden": KindOfDrift(
        "a sale: honest customers buy in the evening, at a few merchants, for 40 % less",
        *("of honest payments", 0.5, 0.01, 1.0),
    ),
    "concept": KindOfDrift(
        "fraudsters leave their old ways for usual-looking payments with rarely used cards at quiet"
        " merchants",
        *("of the fraud", 0.7, 0.01, 1.0),
        synthetic_only=True,
    ),
    "prediction": KindOfDrift(
        "a fraud wave: stolen cards, card testing, takeovers and large amounts, many more of each",
        *("times as much fraud as usual", 5.0, 1.1, 20.0),
        synthetic_only=True,
    ),
    "unit_bug": KindOfDrift(
        "some merchants' checkouts send cents for euros: amount x 100",
        *("of the merchants", 0.3, 0.01, 1.0),
    ),
    "null_burst": KindOfDrift(
        "payments come under guest ids that nobody has seen before",
        *("of the payments", 0.4, 0.01, 1.0),
    ),
    "new_category": KindOfDrift(
        "a marketplace opens: honest payments go to sellers that did not exist, and more open"
        " every day",
        *("of honest payments", 0.4, 0.01, 1.0),
    ),
    "new_carrier": KindOfDrift(
        "a carrier that nobody knows brings parcels by air, in half of the usual time",
        *("of the orders", 0.3, 0.01, 1.0),
        synthetic_only=True,
    ),
    "label_delay": KindOfDrift(
        "labels take longer, those under way too",
        *("times as long as usual", 3.0, 1.1, 10.0),
        # Backlogs grow within a day, so that the first stretched labels arrive on the second.
        ramp=timedelta(days=1),
    ),
    "label_stop": KindOfDrift(
        "labels never come, and nothing says so",
        *("of the labels", 0.8, 0.01, 1.0),
    ),
    "late_clock": KindOfDrift(
        "checkouts send local time as UTC, in the request alone: its time is hours late",
        *("hours", 2.0, 0.5, 12.0),
    ),
    "stale_features": KindOfDrift(
        "materialisation stops: batch features stay as they are",
        "on or off",
        1.0,
        1.0,
        1.0,
        ramp=None,
    ),
}
assert set(KINDS) == set(get_args(Kind))
