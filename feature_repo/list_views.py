"""Terms of the views of products in lists. `looks.py` computes them."""

from __future__ import annotations

from datetime import timedelta

from feature_repo.views import Feature

WEEK_DAYS, WINDOW_DAYS = 7, 30

# Looks without a click that each product gets in addition. One click of one look is no perfect
# product.
CAUTION_LOOKS = 10

# Labels of a list take minutes, and views count whole days.
SETTLED_AFTER = timedelta(days=1)

# A product that no list has shown for this long is forgotten. It gets one last row of zeros, the
# same as an unknown one. No feature looks back further.
REACH = SETTLED_AFTER + timedelta(days=WINDOW_DAYS + 1)


def features_of_lists(lists: str) -> tuple[Feature, ...]:
    """Return the features of a product in lists, in the order of `looks.py`.

    Args:
        lists: Name of the stream, which is the unit of counts.
    """
    return (
        Feature(
            f"product_{lists}_7d",
            lists,
            f"How often {lists} showed the product in the {WEEK_DAYS} days before midnight.",
        ),
        *(_appeal(lists, days) for days in (WEEK_DAYS, WINDOW_DAYS)),
    )


def _appeal(lists: str, days: int) -> Feature:
    return Feature(
        f"product_{lists}_appeal_{days}d",
        "grades per look",
        f"Grades of the product in {lists} for each look at it, in the {days} days that ended a day"
        f" before midnight. {CAUTION_LOOKS} looks are added, for products that few people saw.",
    )
