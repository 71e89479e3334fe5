"""What every section of a spec is made of: frozen, unknown keys refused, and the usual kinds of values."""

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
    """Raises ValueError: the bounds of a section's field are not low, then high."""
    if bounds[0] >= bounds[1]:
        raise ValueError(f"{name} must be [low, high] with low < high, got {list(bounds)}")
