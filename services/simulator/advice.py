"""Which answers decide about a list of products, or about the considered prices of one.

They must be about the whole list, and of one version. Scores of two versions have no common scale.
Of several models, the first one by name with such answers decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.simulator.gateway_client import GatewayAnswer

# The version in an answer without any model.
NO_VERSION = "0"

# Model and row -> the answer.
Answers = Mapping[tuple[str, int], GatewayAnswer]


@dataclass(frozen=True)
class Advice:
    """What one version says about a whole list.

    Attributes:
        answer: The first of its answers.
        values: Rank of each product, or demand at each price.
    """

    model: str
    answer: GatewayAnswer
    values: Sequence[float]


def advice_of(
    models: Iterable[str], part: Sequence[int], answers: Answers, *, ranks: bool
) -> Advice | None:
    """Return the answers that decide about a list, None if there are none.

    Args:
        models: In the order in which they may decide.
        part: Numbers of the list's rows.
        answers: All answers about the batch.
        ranks: True for positions, False for demands.
    """
    for model in models:
        found = [one for at in part if (one := answers.get((model, at))) is not None]
        values = [of for one in found if (of := one.rank if ranks else one.value) is not None]
        if len(values) < len(part) or len({one.version for one in found}) > 1:
            continue
        if found[0].version == NO_VERSION:
            continue
        if not ranks or sorted(values) == list(range(1, len(part) + 1)):
            return Advice(model, found[0], values)
    return None
