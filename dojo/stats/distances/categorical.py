"""Drift of a categorical column: counts of the categories that the reference knows, one bin for everything else.

A new category is the commonest fault of categorical data (a new payment provider, a changed spelling) and has no share in the reference: it needs a
bin of its own, or PSI does not see it. Memory is bounded on both sides: a reference keeps its commonest categories, a window counts all others
together and names those that are frequent (Misra and Gries), however many there are.

Sources: Misra and Gries, Finding Repeated Elements (1982); Agarwal et al., Mergeable Summaries (2012), for merging.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from dojo.stats.histograms.binning import population_stability_index

MOST_CATEGORIES = 100  # of a reference; a column with more is an identifier, and says little per category
NAMED_UNSEEN = 20  # names kept per window: any unseen category with more than 1/21 of the unseen rows is among them


class CategoricalReference(msgspec.Struct, frozen=True):
    """Attributes: counts: category -> rows, the commonest first. other: rows of categories too rare to be kept. nulls: rows without a value."""

    counts: dict[str, int]
    other: int = 0
    nulls: int = 0

    @property
    def rows(self) -> int:
        return sum(self.counts.values()) + self.other + self.nulls


class CategoryCounts(msgspec.Struct):
    """What a window saw of a column. Mergeable, serialisable by msgspec.

    Attributes:
        counts: reference's category -> rows; every category of the reference is a key. other: rows of all others. nulls: rows without a value.
        unseen: up to NAMED_UNSEEN other categories -> at least this many of `other` (short of it by at most other / (NAMED_UNSEEN + 1)).
    """

    counts: dict[str, int]
    other: int = 0
    nulls: int = 0
    unseen: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(self.counts.values()) + self.other + self.nulls

    def add(self, values: Iterable[str | None]) -> None:
        """Count rows; None is a null."""
        found = Counter(values)
        self.nulls += found.pop(None, 0)
        unseen: Counter[str] = Counter()
        for category, rows in found.items():
            if category is None:
                continue
            if category in self.counts:
                self.counts[category] += rows
            else:
                self.other += rows
                unseen[category] = rows
        self.unseen = _commonest(Counter(self.unseen) + unseen)

    def merge(self, other: CategoryCounts) -> None:
        """Add another window's rows, which must not overlap with these. Counts are exact in any order; which unseen names are kept may
        depend on it, except for those that are frequent.

        Raises:
            ValueError: counted against another reference.
        """
        if self.counts.keys() != other.counts.keys():
            raise ValueError(f"other categories: {sorted(self.counts.keys() ^ other.counts.keys())[:5]} are in one only")
        for category, rows in other.counts.items():
            self.counts[category] += rows
        self.other += other.other
        self.nulls += other.nulls
        self.unseen = _commonest(Counter(self.unseen) + Counter(other.unseen))


class CategoricalDrift(msgspec.Struct, frozen=True):
    """Attributes:
    psi: over the reference's categories, one bin for all others, and one for nulls when either side has any.
    bins: that PSI was summed over, for its noise (`psi_noise`). unseen_share: of the window's rows, beyond the reference's own share of rare
        ones. unseen: names of frequent categories that the reference does not have, the commonest first.
    """

    psi: float
    bins: int
    unseen_share: float
    unseen: tuple[str, ...]


def categorical_reference(values: Iterable[str | None]) -> CategoricalReference:
    """Count a reference's rows; None is a null.

    Raises:
        ValueError: no rows with a value.
    """
    found = Counter(values)
    nulls = found.pop(None, 0)
    # Equal counts by name, so that the same rows in another order give the same reference.
    ranked = sorted(((name, rows) for name, rows in found.items() if name is not None), key=lambda item: (-item[1], item[0]))
    if not ranked:
        raise ValueError("a reference needs rows with a value, got none")
    return CategoricalReference(dict(ranked[:MOST_CATEGORIES]), sum(rows for _, rows in ranked[MOST_CATEGORIES:]), nulls)


def empty_counts(reference: CategoricalReference) -> CategoryCounts:
    """A window that is to be held against the reference."""
    return CategoryCounts(dict.fromkeys(reference.counts, 0))


def categorical_drift(reference: CategoricalReference, current: CategoryCounts) -> CategoricalDrift:
    """How far the window is from its reference.

    Raises:
        ValueError: the window has no rows, or was counted against another reference.
    """
    if reference.counts.keys() != current.counts.keys():
        raise ValueError("the window was counted against another reference")
    r = [*reference.counts.values(), reference.other]
    c = [*(current.counts[category] for category in reference.counts), current.other]
    if reference.nulls or current.nulls:
        r, c = [*r, reference.nulls], [*c, current.nulls]
    # A bin that is empty on both sides says nothing; counted as half a row each it would still cost a degree of freedom.
    filled = [at for at in range(len(r)) if r[at] or c[at]]
    psi = population_stability_index(np.array([r[at] for at in filled]), np.array([c[at] for at in filled]))
    return CategoricalDrift(
        psi=psi,
        bins=len(filled),
        unseen_share=max(0.0, current.other / current.rows - reference.other / reference.rows),
        unseen=tuple(current.unseen),
    )


def _commonest(counts: Mapping[str, int]) -> dict[str, int]:
    """At most NAMED_UNSEEN names, the commonest first. As Misra and Gries: what the first one beyond has is taken off all."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    taken = ranked[NAMED_UNSEEN][1] if len(ranked) > NAMED_UNSEEN else 0
    return {name: rows - taken for name, rows in ranked[:NAMED_UNSEEN] if rows > taken}
