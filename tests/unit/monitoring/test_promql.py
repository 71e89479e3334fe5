"""tests/support/promql.py reads expressions as Prometheus does.

It covers what the tests of dashboards and rules need.
"""

from __future__ import annotations

import pytest

from tests.support.promql import labels, metric, selectors, without_conditions


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("up", ["up"]),
        (
            (
                'sum by (job, instance) (rate(a_total{code=~"5.."}[5m])) / ignoring (code)'
                " group_left b"
            ),
            ['a_total{code=~"5.."}', "b"],
        ),
        (
            "max_over_time(a:b:rate5m[1h] offset 30s) > bool on (model) group_left () c",
            ["a:b:rate5m", "c"],
        ),
        ("histogram_quantile(0.99, sum by (le) (rate(x_bucket[1m]))) or vector(1e3)", ["x_bucket"]),
        ('a{b="}"} and on (c) {d="{e}"}', ['a{b="}"}', '{d="{e}"}']),
        ("time() - x > 2 * inf", ["x"]),
        ("absent(up{job='g'}) == 1 unless b", ["up{job='g'}", "b"]),
        ("count(ALERTS) by (severity)", ["ALERTS"]),
    ],
)
def test_every_selector_of_an_expression_is_found(expr: str, found: list[str]) -> None:
    assert selectors(expr) == found


def test_a_selector_has_a_metric_and_labels() -> None:
    assert metric('a_total{code=~"5..", model!="x"}') == "a_total"
    assert labels('a_total{code=~"5..", model!="x"}') == {"code", "model"}


@pytest.mark.parametrize(
    ("expr", "without"),
    [
        ("a > b", "a > bool b"),
        ("a >= bool b", "a >= bool b"),
        ('a{x="1"} == 1', 'a{x="1"} == bool 1'),
        ("a unless on (m) b > 0", "a and on ( m ) b > bool 0"),
        ("absent(up{job='g'})", "count ( up{job='g'} )"),
        ("a and on (m) b:c offset 30m", "a and on ( m ) b:c"),
    ],
)
def test_conditions_are_taken_away_and_operands_stay(expr: str, without: str) -> None:
    assert without_conditions(expr) == without


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read"):
        selectors("rate(a[$__rate_interval]) + $model")
