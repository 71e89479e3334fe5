"""The PromQL of our dashboards, with Grafana's variables filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from monitoring.grafana.schema import Dashboard

# Values for Grafana's own variables and our choices, where no Prometheus can be asked.
ANY: Mapping[str, str] = {
    "__rate_interval": "1m",
    "__range": "1h",
    "model": "fraud_detection",
    "version": ".+",
    "window": "hour",
}


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression of a dashboard.

    Attributes:
        where: Dashboard, panel and letter, as a person would find it.
        text: The expression.
        conditional: True if it may be empty while all is well.
    """

    where: str
    text: str
    conditional: bool = False


def expressions(board: Dashboard) -> Iterator[Expression]:
    """Yield every query of panels and marks, and the selector of every choice."""
    made = board.json()
    for panel in made["panels"]:
        for target in panel.get("targets", ()):
            yield Expression(f"{board.uid}: {panel['title']}: {target['refId']}", target["expr"])
    for mark in made["annotations"]["list"]:
        yield Expression(f"{board.uid}: mark {mark['name']}", mark["expr"], conditional=True)
    for variable in board.variables:
        selector, _ = label_values(variable.query)
        yield Expression(f"{board.uid}: choice {variable.name}", selector)


def label_values(query: str) -> tuple[str, str]:
    """Return selector and label of Grafana's `label_values(selector, label)`."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert found, query
    return found.group(1), found.group(2)


def filled(text: str, values: Mapping[str, str] = ANY) -> str:
    """Return the text with every `$variable` replaced.

    Raises:
        KeyError: A variable has no value.
    """
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values[match.group(1)], text)
