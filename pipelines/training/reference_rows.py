"""A seeded sample of a version's holdout rows, kept beside its record.

The reference profile has counts, and monitoring needs no more. A person who looks at drift wants
drawings of distributions, and a drawing tool needs rows. They hold model inputs and scores, without
ids of customers, merchants or payments. They stay out of the bundle, because no server reads them.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from dojo.core.labels import standing_for
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import task_of
from pipelines.training.reference import ReferenceHoldout

REFERENCE_ROWS_FILE = "reference_rows.parquet"
SCORE_COLUMN = "score"

# Each of ten bins holds 200 rows. Their count is exact to +-14 % (95 %), too little to see in a
# drawing. 2,000 rows of 40 columns take about 200 kB per version.
ROWS = 2000


def reference_rows(holdout: ReferenceHoldout, spec: ModelSpec) -> pl.DataFrame:
    """Return up to ROWS rows of the holdout, drawn without replacement.

    Each feature has a Float32 column, in the model's order. SCORE_COLUMN comes last.
    """
    weights = task_of(spec).stands_for(holdout.answered.weights)
    rows = standing_for(weights, len(holdout.inputs))
    random = np.random.default_rng(spec.training.seed)
    chosen = np.sort(random.choice(rows, min(ROWS, len(rows)), replace=False))
    columns = {name: holdout.inputs[chosen, at] for at, name in enumerate(holdout.names)}
    return pl.DataFrame(
        {**columns, SCORE_COLUMN: holdout.answered.scores[chosen]},
        schema_overrides=dict.fromkeys(columns, pl.Float32),
    )
