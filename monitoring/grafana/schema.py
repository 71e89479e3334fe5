"""The parts of our dashboards. grafana-foundation-sdk knows Grafana's JSON and types it.

The kinds of panels are in `panels.py`. Panels state their content. Ids, reference letters and the
grid follow from their order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

COLUMNS = 24  # of Grafana's grid
STEP = "15s"  # between two looks for marks; a marked change stays visible for a minute or more

DATASOURCE = {
    "type": "prometheus",
    "uid": "dojo-prometheus",
}  # provisioning/datasources/prometheus.yml
SOURCE = model.DataSourceRef(DATASOURCE["type"], DATASOURCE["uid"])

Json = dict[str, Any]
Panel = Builder[model.Panel]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query of a panel.

    Attributes:
        legend: Grafana's pattern for a series' name, `{{label}}`.
        limit: Colour of a dashed line. Set for a query that other queries are compared with.
        instant: Only the newest value, for tables and single numbers.
    """

    expr: str
    legend: str
    limit: str = ""
    instant: bool = False
    format: str = "time_series"

    def builder(self, letter: str) -> prometheus.Dataquery:
        made = (
            prometheus.Dataquery()
            .ref_id(letter)
            .datasource(SOURCE)
            .expr(self.expr)
            .legend_format(self.legend)
        )
        made.format(PromQueryFormat(self.format))
        return made.instant() if self.instant else made.range()


@dataclass(frozen=True, slots=True)
class State:
    """The text and colour of a number that stands for a state."""

    value: int
    text: str
    color: str


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, left to right.

    A panel that does not fit begins a new line below the tallest of the last.
    """

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard.

    Attributes:
        query: Grafana's `label_values(selector, label)`.
        all_of_them: Whether several values, or all, can be chosen.
    """

    name: str
    label: str
    description: str
    query: str
    all_of_them: bool = False

    def builder(self) -> build.QueryVariable:
        made = (
            build.QueryVariable(self.name)
            .label(self.label)
            .description(self.description)
            .datasource(SOURCE)
            .query({"qryType": 1, "query": self.query, "refId": f"variable-{self.name}"})
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)  # versions come and go
            .sort(model.VariableSort.NATURAL_ASC)  # version 10 after version 9
            .hide(model.VariableHide.DONT_HIDE)
            .options([])
        )
        if self.all_of_them:
            made.multi(True).include_all(True).all_value(".+")
            made.current(model.VariableOption(text=["All"], value=["$__all"]))
        return made


@dataclass(frozen=True, slots=True)
class Annotation:
    """Marks on every time axis, where the query has samples other than 0."""

    name: str
    expr: str
    title: str
    text: str
    color: str

    def json(self) -> Json:
        """Build the JSON by hand, because the library lacks the marks' texts and the step."""
        return {
            "name": self.name,
            "datasource": DATASOURCE,
            "enable": True,
            "hide": False,
            "iconColor": self.color,
            # Twice, because some data source versions read it here, others from `target`.
            "expr": self.expr,
            "step": STEP,
            "target": {
                "refId": "Anno",
                "datasource": DATASOURCE,
                "expr": self.expr,
                "interval": STEP,
                "range": True,
            },
            "titleFormat": self.title,
            "textFormat": self.text,
            "tagKeys": "",
            "useValueForTime": False,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard.

    Attributes:
        uid: The file's name and the address in links. It never changes.
    """

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    span: str = "now-1h"
    tags: tuple[str, ...] = ("dojo",)

    def json(self) -> Json:
        others = (
            build.DashboardLink("Dashboards")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(list(self.tags))
        )
        made = (
            build.Dashboard(self.title)
            .uid(self.uid)
            .description(self.description)
            .tags(list(self.tags))
            .version(1)
            .readonly()  # a change in the browser would be lost, so change this code
            .tooltip(model.DashboardCursorSync.CROSSHAIR)
            .timezone("utc")
            .refresh("10s")
            .time(self.span, "now")
            .link(others.include_vars(True).keep_time(True).icon("external link").url(""))
            .variables([variable.builder() for variable in self.variables])
        )
        for row in self.rows:
            made.with_row(build.Row(row.title))
            for panel in row.panels:
                made.with_panel(panel)
        page: Json = json.loads(json.dumps(made.build(), cls=JSONEncoder))
        page["annotations"] = {"list": [annotation.json() for annotation in self.annotations]}
        _lay_out(page["panels"])
        return page


def _lay_out(panels: Sequence[Json]) -> None:
    """Give headings and panels ids and places.

    The library would let a panel stick out on the right if it does not fit.
    """
    x = y = tallest = 0
    for number, panel in enumerate(panels, start=1):
        place = panel["gridPos"]
        if panel["type"] == "row" or x + place["w"] > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        panel["id"], place["x"], place["y"] = number, x, y
        x, tallest = x + place["w"], max(tallest, place["h"])


def mapping(states: Sequence[State]) -> model.ValueMap:
    return model.ValueMap(
        {
            str(s.value): model.ValueMappingResult(text=s.text, color=s.color, index=i)
            for i, s in enumerate(states)
        }
    )
