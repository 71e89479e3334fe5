"""Stretches of wall time, as a person reads them."""

from __future__ import annotations

from datetime import timedelta


def minutes(span: timedelta) -> str:
    """Return `4:05`, or `-0:13` for a stretch before a moment."""
    seconds = round(abs(span.total_seconds()))
    sign = "-" if span < timedelta(0) and seconds else ""
    return f"{sign}{seconds // 60}:{seconds % 60:02d}"
