"""The PromQL of our dashboards, with what Grafana would fill in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from monitoring.grafana.schema import Dashboard

# What stands for Grafana's own variables and our choices, where no Prometheus is there to ask.
ANY: Mapping[str, str] = {
    "__rate_interval": "1m",
    "__range": "1h",
    "model": "fraud_detection",
    "version": ".+",
    "window": "hour",
}


@dataclass(frozen=True, slots=True)
class Expression:
    """`where`: dashboard, panel and letter, as a person would find it. `conditional`: it may be empty while all is well."""

    where: str
    text: str
    conditional: bool = False


def expressions(board: Dashboard) -> Iterator[Expression]:
    """Every query of panels, marks and choices (of those, the selector)."""
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
    """Selector and label of Grafana's `label_values(selector, label)`."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert found, query
    return found.group(1), found.group(2)


def filled(text: str, values: Mapping[str, str] = ANY) -> str:
    """The text with every `$variable` replaced. Raises KeyError: one has no value."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values[match.group(1)], text)
