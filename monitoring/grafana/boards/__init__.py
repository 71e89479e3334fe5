"""The dashboards, in the order of use."""

from __future__ import annotations

from monitoring.grafana.boards import (
    drift,
    feature_store,
    one_model,
    pipelines,
    platform_overview,
    rollout,
)

BOARDS = (
    platform_overview.BOARD,
    one_model.BOARD,
    drift.BOARD,
    rollout.BOARD,
    feature_store.BOARD,
    pipelines.BOARD,
)
