"""Reference profiles of rows without times and labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dojo.core.registry.reference_profile import ReferenceProfile, distribution
from dojo.core.tasks.records import Results


def reference_profile(
    names: Sequence[str], inputs: npt.NDArray[np.float32], scores: npt.NDArray[np.floating]
) -> ReferenceProfile:
    """Return a profile.

    Args:
        names: Names of the features.
        inputs: Shape (rows, features), as a model sees them.
        scores: Shape (rows,).
    """
    return ReferenceProfile(
        rows=len(inputs),
        features={name: distribution(inputs[:, i]) for i, name in enumerate(names)},
        score=distribution(scores),
        results=Results(rows=0, figures={}),
    )
