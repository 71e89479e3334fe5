"""The base of every section of a spec, and the usual kinds of values.

Sections are frozen and refuse unknown keys.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Ratio = Annotated[float, Field(ge=1, le=100)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]


class Section(BaseModel):
    """A part of a spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def require_rising(name: str, bounds: tuple[float, float]) -> None:
    """Refuse bounds that are not low, then high.

    Raises:
        ValueError: The bounds of the section's field do not rise.
    """
    if bounds[0] >= bounds[1]:
        raise ValueError(f"{name} must be [low, high] with low < high, got {list(bounds)}")
