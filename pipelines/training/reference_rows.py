"""Rows that show what a version was judged on: a seeded sample of its holdout, kept beside its record.

The reference profile has counts, which is all that monitoring needs; a person who looks at drift wants distributions drawn, and a tool that draws them
wants rows. They hold model inputs and scores, no ids of customers, merchants or payments. Not in the bundle: nothing that serves reads them.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pipelines.training.reference import ReferenceHoldout

REFERENCE_ROWS_FILE = "reference_rows.parquet"
SCORE_COLUMN = "score"

# Ten bins hold 200 rows each, +-14 % (95 %), which no eye sees in a drawing; 2,000 rows of 40 columns are about 200 kB a version.
ROWS = 2000


def reference_rows(holdout: ReferenceHoldout, seed: int) -> pl.DataFrame:
    """Up to ROWS of the holdout's rows, drawn without replacement: a Float32 column per feature in the model's order, and SCORE_COLUMN."""
    rows = len(holdout.inputs)
    chosen = np.sort(np.random.default_rng(seed).choice(rows, min(ROWS, rows), replace=False))
    columns = {name: holdout.inputs[chosen, at] for at, name in enumerate(holdout.names)}
    return pl.DataFrame(
        {**columns, SCORE_COLUMN: holdout.answered.scores[chosen]}, schema_overrides=dict.fromkeys(columns, pl.Float32)
    )
