"""Runs every query of dashboards and rules on a real Prometheus, and reports empty results."""

from __future__ import annotations

import json
import math
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from monitoring.grafana.boards import BOARDS
from monitoring.grafana.schema import Dashboard
from tests.support.dashboards import Expression, expressions, filled, label_values
from tests.support.promql import selectors, without_conditions

# Values that Grafana fills in. A rate's range is at least four scrapes. The chosen time fits a
# young stack.
GRAFANAS_OWN = {"__rate_interval": "1m", "__range": "15m"}

# Series that a healthy stack may lack, with the reason.
ABSENT_WHILE_WELL: Mapping[str, str] = {
    'dojo_gateway_predictions_total{version="0"}': (
        "version 0 is the spec's fallback: it answers when no version can"
    ),
    **{
        f"dojo_value_{kind}_euro_total{chosen}": "DOJO_DECISIONS is none in this stack"
        for kind in ("gained", "lost")
        for chosen in ("", '{model="fraud_detection", version=~".+"}')
    },
    **{
        f"dojo_gateway_result_cache_{figure}": "this stack's model has no result cache"
        for figure in (
            'requests_total{model="fraud_detection", outcome="hit"}',
            'requests_total{model="fraud_detection"}',
            'rows{model="fraud_detection"}',
            'removed_total{model="fraud_detection"}',
        )
    },
    "dojo_gateway_worker_restarts_total": "this stack's gateway has one worker",
    **{
        f'dojo_bandit_{figure}{{model="fraud_detection"}}': "no bandit runs in this stack"
        for figure in ("share", "reward_euro", "pending_answers")
    },
}


class Prometheus:
    """The HTTP API of a Prometheus."""

    def __init__(self, url: str) -> None:
        self._url = url

    def found(self, expr: str) -> bool:
        """Return whether an expression has a value now.

        NaN does not count. 0/0 and a quantile of an empty series give it.

        Raises:
            AssertionError: Prometheus cannot evaluate it. The message quotes Prometheus.
        """
        answer = self._ask("query", query=expr)
        samples = (
            [answer["result"]]
            if answer["resultType"] == "scalar"
            else [series["value"] for series in answer["result"]]
        )
        return any(not math.isnan(float(value)) for _, value in samples)

    def label_values(self, selector: str, label: str) -> list[str]:
        return sorted(self._ask(f"label/{label}/values", **{"match[]": selector}))

    def rules(self) -> Iterator[Expression]:
        """Yield the loaded rules in Prometheus' spelling.

        Recording rules need a result, alerts may be silent.
        """
        for group in self._ask("rules")["groups"]:
            for rule in group["rules"]:
                assert rule["health"] != "err", f"{rule['name']}: {rule.get('lastError')}"
                yield Expression(
                    f"rule {rule['name']}", rule["query"], conditional=rule["type"] == "alerting"
                )

    def _ask(self, path: str, **parameters: str) -> Any:
        address = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error


def without_a_result(prometheus: Prometheus) -> dict[str, str]:
    """Return every query without a result: its place -> its text.

    For queries with conditions (alerts, marks), only the operands are asked. In every query, each
    selector alone must match a series. So an `or` cannot hide a misspelt selector.
    """
    asked = list(prometheus.rules())
    nothing: dict[str, str] = {}
    for board in BOARDS:
        values = GRAFANAS_OWN | chosen(prometheus, board)
        asked += [
            Expression(e.where, filled(e.text, values), e.conditional)
            for e in expressions(board)
            if _fillable(e.text, values)
        ]
        nothing |= {e.where: e.text for e in expressions(board) if not _fillable(e.text, values)}
    there = {
        selector: prometheus.found(selector)
        for selector in sorted({s for e in asked for s in selectors(e.text)})
    }
    nothing |= {
        f"exception {selector}": "nobody asks for it any more"
        for selector in ABSENT_WHILE_WELL
        if selector not in there
    }
    for expression in asked:
        missing = [selector for selector in selectors(expression.text) if not there[selector]]
        unexpected = [selector for selector in missing if selector not in ABSENT_WHILE_WELL]
        expr = without_conditions(expression.text) if expression.conditional else expression.text
        if unexpected:
            nothing[expression.where] = f"no series: {', '.join(unexpected)}"
        elif not missing and not prometheus.found(expr):
            nothing[expression.where] = f"nothing: {expr}"
    return nothing


def chosen(prometheus: Prometheus, board: Dashboard) -> dict[str, str]:
    """Return Grafana's choice when a dashboard opens: the first value of each variable, or all."""
    values: dict[str, str] = {}
    for variable in board.variables:
        selector, label = label_values(variable.query)
        if not _fillable(selector, values):
            continue
        found = prometheus.label_values(filled(selector, values), label)
        if found:
            values[variable.name] = ".+" if variable.all_of_them else found[0]
    return values


def _fillable(text: str, values: Mapping[str, str]) -> bool:
    return set(re.findall(r"\$\{?(\w+)", text)) <= set(values)
