"""The error budget of 30 world days, and of a younger world."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dojo.core.state.error_budget import Budget, budgets, count_field
from dojo.core.tasks.specs import load_spec

SPEC = load_spec(Path("models/fraud_detection.yaml"))  # 0.999 and 0.99
NOW = datetime(2026, 3, 31, 18, tzinfo=UTC)


def counts(days_ago: int, **numbers: int) -> dict[str, int]:
    day = (NOW - timedelta(days=days_ago)).date()
    return {count_field(day, name): number for name, number in numbers.items()}


def availability(*days: dict[str, int]) -> Budget:
    found, _ = budgets({key: number for day in days for key, number in day.items()}, SPEC, NOW)
    assert found.objective == "availability"
    return found


def test_a_month_of_requests_allows_one_in_a_thousand_to_fail() -> None:
    quiet = [counts(ago, requests=1_000) for ago in range(1, 30)]
    found = availability(*quiet, counts(0, requests=1_000, errors=15))
    assert found.counted == 30_000
    assert found.allowed == pytest.approx(30, rel=0.02)
    assert found.spent == pytest.approx(0.5, rel=0.02)
    assert str(found) == "availability: 15 5xx answers of 30,000, and 30 days allow 30"


def test_one_bad_minute_of_a_worlds_first_day_spends_no_months_budget() -> None:
    assert availability(counts(0, requests=1_000, errors=20)).spent == pytest.approx(20 / 30)
    assert availability(counts(0, requests=1_000, errors=40)).spent == pytest.approx(40 / 30)


def test_it_comes_back_when_the_bad_day_has_left_the_window() -> None:
    quiet = [counts(ago, requests=1_000) for ago in range(30)]
    assert availability(*quiet[:-1], counts(29, requests=1_000, errors=100)).spent > 1
    assert availability(*quiet, counts(30, requests=1_000, errors=100)).spent == 0


def test_days_to_come_do_not_count() -> None:
    """The world was set back."""
    assert availability(counts(-2, requests=10, errors=10)).spent == 0


def test_slow_answers_have_a_budget_of_their_own() -> None:
    days = [counts(ago, requests=1_000, answers=900, slow=18) for ago in range(30)]
    of_errors, of_latency = budgets(
        {key: number for day in days for key, number in day.items()}, SPEC, NOW
    )
    assert (of_errors.spent, of_latency.objective) == (0, "latency")
    assert of_latency.spent == pytest.approx(2, rel=0.02)


def test_without_any_request_nothing_is_spent() -> None:
    assert [budget.spent for budget in budgets({}, SPEC, NOW)] == [0, 0]
