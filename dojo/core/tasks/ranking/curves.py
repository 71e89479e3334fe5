"""Pictures of a ranking model's answers: NDCG by ranks that count, and mean grade by rank."""

from __future__ import annotations

import numpy as np

from dojo.core.tasks.ranking.metrics import judged_lists, lists_of
from dojo.core.tasks.ranking.spec import CandidateList
from dojo.core.tasks.records import Answered, Curve
from dojo.stats.scores.ranking import rank_in_list


def ndcg_by_ranks(holdout: Answered, label: str, rule: CandidateList) -> Curve:
    """Return the mean NDCG when only the first x ranks count."""
    ranks = np.arange(1, 2 * rule.top + 1)
    found = [judged_lists(holdout, rule, int(top)).mean for top in ranks]
    return Curve(
        name="ndcg",
        title="NDCG by ranks that count",
        x_label="Ranks that count",
        y_label="NDCG, mean of lists",
        label=f"{label} (NDCG@{rule.top} {found[rule.top - 1]:.3f})",
        x=ranks.astype(np.float64),
        y=np.array(found),
    )


def grade_by_rank(holdout: Answered, label: str, rule: CandidateList) -> Curve:
    """Return the mean grade of the candidates at each rank, and the mean grade of all.

    A weight multiplies its grade. The number of candidates at a rank is known without labels.
    """
    ranks = rank_in_list(holdout.scores, lists_of(holdout.entities, holdout.times, rule))
    shown = np.arange(1, 2 * rule.top + 1)
    grades = holdout.labels * holdout.each
    at = [grades[ranks == rank] for rank in shown]
    filled = [position for position, labels in enumerate(at) if len(labels)]
    mean = float(grades.mean())
    return Curve(
        name="grade_by_rank",
        title="mean grade by rank",
        x_label="Rank in the list",
        y_label="Mean grade",
        label=label,
        x=shown[filled].astype(np.float64),
        y=np.array([at[position].mean() for position in filled]),
        reference=("random order", (1.0, float(shown[-1])), (mean, mean)),
    )
