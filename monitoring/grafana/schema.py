"""Grafana's dashboard JSON, as far as our dashboards use it (schema version 39: Grafana 11; later ones migrate it by themselves).

The kinds of panels are in `panels.py`. Panels say what they show; ids, reference letters and the grid follow from their order. Source: the panels' `panelcfg.cue` and
`dashboard_kind.cue` in Grafana's repository.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

SCHEMA_VERSION = 39
COLUMNS = 24  # of Grafana's grid
STEP = "15s"  # between two looks for marks; marked changes stay visible for a minute or more

DATASOURCE = {"type": "prometheus", "uid": "dojo-prometheus"}  # provisioning/datasources/prometheus.yml

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query of a panel.

    Attributes:
        legend: Grafana's pattern for a series' name, `{{label}}`.
        limit: it is what the others are compared with, drawn as a dashed line in this colour.
        instant: only the newest value, for tables and single numbers.
    """

    expr: str
    legend: str
    limit: str = ""
    instant: bool = False
    format: str = "time_series"

    def json(self, letter: str) -> Json:
        return {
            "refId": letter,
            "datasource": DATASOURCE,
            "expr": self.expr,
            "legendFormat": self.legend,
            "format": self.format,
            "instant": self.instant,
            "range": not self.instant,
        }


@dataclass(frozen=True, slots=True)
class DashboardLink:
    """`url` may hold variables: `${__data.fields.alertname}`, `${model}`."""

    title: str
    url: str

    def json(self) -> Json:
        return {"title": self.title, "url": self.url, "targetBlank": False}


@dataclass(frozen=True, slots=True)
class State:
    """What a number stands for, where numbers stand for states."""

    value: int
    text: str
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What every panel has.

    Attributes:
        description: what it tells, and what to do about it.
        unit: Grafana's id of the unit (`s`, `percentunit`, `reqps`, `short` for plain counts).
        width, height: in cells of the grid, which is 24 wide. A cell is 30 pixels high.
        states: numbers that are shown as words and colours.
        links: shown in the panel's corner. value_links: behind each value.
    """

    kind: ClassVar[str]

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str
    width: int = 12
    height: int = 8
    minimum: float | None = None
    maximum: float | None = None
    decimals: int | None = None
    states: tuple[State, ...] = ()
    links: tuple[DashboardLink, ...] = ()
    value_links: tuple[DashboardLink, ...] = ()

    def json(self, number: int, position: Json) -> Json:
        letters = dict(zip(string.ascii_uppercase, self.queries, strict=False))
        defaults: Json = {
            "unit": self.unit,
            "color": self.color(),
            "custom": self.custom(),
            "mappings": [mapping(self.states)] if self.states else [],
            "thresholds": {"mode": "absolute", "steps": self.steps()},
            "links": [link.json() for link in self.value_links],
        }
        chosen = {"min": self.minimum, "max": self.maximum, "decimals": self.decimals}
        defaults |= {name: value for name, value in chosen.items() if value is not None}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "gridPos": position,
            "datasource": DATASOURCE,
            "targets": [query.json(letter) for letter, query in letters.items()],
            "fieldConfig": {"defaults": defaults, "overrides": self.overrides(letters)},
            "options": self.options(),
            "transformations": self.transformations(),
            "links": [link.json() for link in self.links],
        }

    def color(self) -> Json:
        return {"mode": "palette-classic"}

    def steps(self) -> list[Json]:
        """Grafana's own thresholds. Ours are queries: a number here would be a copy of a spec's."""
        return [{"color": "text", "value": None}]

    def custom(self) -> Json:
        return {}

    def options(self) -> Json:
        raise NotImplementedError

    def overrides(self, letters: Mapping[str, Query]) -> list[Json]:
        return []

    def transformations(self) -> list[Json]:
        return []


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, left to right; a panel that does not fit begins a new line below the tallest of the last."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top. `query` is Grafana's `label_values(selector, label)`. `all_of_them`: several, or all, may be chosen."""

    name: str
    label: str
    description: str
    query: str
    all_of_them: bool = False

    def json(self) -> Json:
        everything = {"text": ["All"], "value": ["$__all"]} if self.all_of_them else {}
        return {
            "type": "query",
            "name": self.name,
            "label": self.label,
            "description": self.description,
            "datasource": DATASOURCE,
            "query": {"qryType": 1, "query": self.query, "refId": f"variable-{self.name}"},
            "definition": self.query,
            "refresh": 2,  # whenever the time range changes: versions come and go
            "sort": 7,  # natural: version 10 after version 9
            "multi": self.all_of_them,
            "includeAll": self.all_of_them,
            "allValue": ".+" if self.all_of_them else None,
            "current": everything,
            "options": [],
            "hide": 0,
            "skipUrlSync": False,
        }


@dataclass(frozen=True, slots=True)
class Annotation:
    """Marks on every time axis, where the query has samples that are not 0."""

    name: str
    expr: str
    title: str
    text: str
    color: str

    def json(self) -> Json:
        return {
            "name": self.name,
            "datasource": DATASOURCE,
            "enable": True,
            "hide": False,
            "iconColor": self.color,
            # Twice: some versions of the data source read the query from here, others from `target`.
            "expr": self.expr,
            "step": STEP,
            "target": {"refId": "Anno", "datasource": DATASOURCE, "expr": self.expr, "interval": STEP, "range": True},
            "titleFormat": self.title,
            "textFormat": self.text,
            "tagKeys": "",
            "useValueForTime": False,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """`uid` is the file's name and the address in links: it never changes."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    span: str = "now-1h"
    tags: tuple[str, ...] = ("dojo",)

    def json(self) -> Json:
        others = {
            "type": "dashboards",
            "title": "Dashboards",
            "tags": list(self.tags),
            "asDropdown": False,
            "includeVars": True,
            "keepTime": True,
            "targetBlank": False,
            "icon": "external link",
            "tooltip": "",
            "url": "",
        }
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": list(self.tags),
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,  # a change in the browser would be lost: it belongs here
            "graphTooltip": 1,  # one crosshair on all panels
            "timezone": "utc",
            "refresh": "10s",
            "time": {"from": self.span, "to": "now"},
            "timepicker": {},
            "links": [others],
            "annotations": {"list": [annotation.json() for annotation in self.annotations]},
            "templating": {"list": [variable.json() for variable in self.variables]},
            "panels": list(_laid_out(self.rows)),
        }


def _laid_out(rows: Sequence[Row]) -> Iterator[Json]:
    """Every row's heading and panels with ids and places."""
    number, y = 1, 0
    for row in rows:
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        number, x, y, tallest = number + 1, 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            yield panel.json(number, {"x": x, "y": y, "w": panel.width, "h": panel.height})
            number, x, tallest = number + 1, x + panel.width, max(tallest, panel.height)
        y += tallest


def mapping(states: Sequence[State]) -> Json:
    shown = {str(s.value): {"text": s.text, "color": s.color, "index": i} for i, s in enumerate(states)}
    return {"type": "value", "options": shown}
