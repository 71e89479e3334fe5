"""Logged answers, and a regulated spec for a model that is not, for tests of explanations."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.lake import SCHEMAS, Lake
from dojo.core.registry.bundle import MODEL_FILE, OnnxScorer
from tests.support.bundles import FEATURES

RULES = """
regulated:
  protected: wall_time
  fairness: {granted: 0.1, true_positive: 0.1, false_positive: 0.1, minimum_rows: 100}
  refusal: We cannot grant this.
  review: Ask for a person at desk@shop.example.
  reasons:
"""


def write_regulated_spec(models: Path, name: str) -> None:
    """Write the model's spec of this repository, with approval and the rules above."""
    models.mkdir(exist_ok=True)
    text = (Path("models") / f"{name}.yaml").read_text()
    text = text.replace("approval: none", "approval: required")
    # Two words name the reason, so some features share theirs, and a refusal has more than four.
    reasons = "".join(f"    {one}: What {'_'.join(one.split('_')[:2])} says.\n" for one in FEATURES)
    (models / f"{name}.yaml").write_text(text + RULES + reasons)


def log_answers(home: Path, bundle: Path, model: str, at: datetime) -> dict[str, float]:
    """Write answers of a bundle to the lake, as the gateway and the recorder do.

    Returns:
        prediction_id -> the logged score. "p0" is refused, "p1" is not, "p2" is the fallback's.
        "p3" is of a version that the registry has not.
    """
    inputs = np.random.default_rng(5).lognormal(1.0, 1.0, (500, len(FEATURES))).astype(np.float32)
    scores = OnnxScorer(bundle / MODEL_FILE).score(inputs).astype(np.float64)
    chosen = [int(scores.argmax()), int(scores.argmin()), 0, 1]
    versions = ["1", "1", "0", "99"]
    rows = [
        {
            **{"event_id": f"prediction-p{n}", "world_time": at, "wall_time": at},
            **{"prediction_id": f"p{n}", "request_id": f"r{n}", "model": model},
            **{"version": versions[n], "arm": "champion", "entity_keys": "{}"},
            "feature_names": list(FEATURES),
            "features": inputs[row].astype(np.float64).tolist(),
            **{"feature_age_seconds": "{}", "score": float(scores[row])},
            **{"flagged": n == 0, "latency_seconds": 0.001, "route_generation": 0, "trace_id": ""},
            "degraded": ["no_model"] if versions[n] == "0" else [],
        }
        for n, row in enumerate(chosen)
    ]
    frame = pl.DataFrame(rows, schema=SCHEMAS[Stream.PREDICTIONS])
    Lake(home / "lake").write(Stream.PREDICTIONS, frame, "part-0")
    return {row["prediction_id"]: row["score"] for row in rows}
