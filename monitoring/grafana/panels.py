"""The kinds of panels our dashboards use, with the options that Grafana needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from monitoring.grafana.schema import COLUMNS, Json, Panel, Query, mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSeries(Panel):
    """Lines. Queries with a `limit` are dashed lines across them; `stacked` areas add up."""

    kind: ClassVar[str] = "timeseries"
    stacked: bool = False
    logarithmic: bool = False

    def custom(self) -> Json:
        return {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if self.stacked else 5,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            "scaleDistribution": {"type": "log", "log": 10} if self.logarithmic else {"type": "linear"},
            "thresholdsStyle": {"mode": "off"},
        }

    def options(self) -> Json:
        return {
            "legend": {"showLegend": True, "displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }

    def overrides(self, letters: Mapping[str, Query]) -> list[Json]:
        dashed = {"fill": "dash", "dash": [10, 10]}
        return [
            {
                "matcher": {"id": "byFrameRefID", "options": letter},
                "properties": [
                    {"id": "color", "value": {"mode": "fixed", "fixedColor": query.limit}},
                    {"id": "custom.lineStyle", "value": dashed},
                    {"id": "custom.fillOpacity", "value": 0},
                    {"id": "custom.stacking", "value": {"mode": "none", "group": "B"}},
                ],
            }
            for letter, query in letters.items()
            if query.limit
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTimeline(Panel):
    """A row per series, coloured by state over time."""

    kind: ClassVar[str] = "state-timeline"
    show_values: bool = False
    rows_a_page: int = 50

    def color(self) -> Json:
        return {"mode": "fixed", "fixedColor": "text"}  # the states' own colours win

    def custom(self) -> Json:
        return {"lineWidth": 0, "fillOpacity": 80}

    def options(self) -> Json:
        return {
            "showValue": "auto" if self.show_values else "never",
            "rowHeight": 0.9,
            "mergeValues": True,
            "alignValue": "left",
            "perPage": self.rows_a_page,
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "single", "sort": "none"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Panel):
    """Single numbers or words, one per series. `named`: each with its series' name. `name_only`: the name is the news."""

    kind: ClassVar[str] = "stat"
    width: int = 4
    height: int = 4
    named: bool = False
    name_only: bool = False
    trend: bool = False

    def color(self) -> Json:
        return {"mode": "fixed", "fixedColor": "text"}

    def options(self) -> Json:
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background" if self.states else "value",
            "graphMode": "area" if self.trend else "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "name" if self.name_only else "value_and_name" if self.named else "value",
            "wideLayout": True,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareOfLimit(Panel):
    """Bars of values divided by their own limits: full, and red, at 1, which is the limit by definition."""

    kind: ClassVar[str] = "bargauge"
    unit: str = "percentunit"
    minimum: float | None = 0
    maximum: float | None = 1

    def color(self) -> Json:
        return {"mode": "thresholds"}

    def steps(self) -> list[Json]:
        return [{"color": "green", "value": None}, {"color": "red", "value": 1}]

    def options(self) -> Json:
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "orientation": "horizontal",
            "displayMode": "basic",
            "valueMode": "color",
            "namePlacement": "auto",
            "showUnfilled": True,
            "sizing": "auto",
            "minVizWidth": 8,
            "minVizHeight": 16,
            "maxVizHeight": 300,
            "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap(Panel):
    """How a histogram's buckets fill over time. One query, of `..._bucket` summed by `le`, with `format="heatmap"`."""

    kind: ClassVar[str] = "heatmap"

    def custom(self) -> Json:
        return {"hideFrom": {"legend": False, "tooltip": False, "viz": False}, "scaleDistribution": {"type": "linear"}}

    def options(self) -> Json:
        return {
            "calculate": False,
            "cellGap": 1,
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "scale": "exponential",
                "exponent": 0.5,
                "steps": 64,
                "reverse": False,
            },
            "filterValues": {"le": 1e-9},
            "rowsFrame": {"layout": "auto"},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.unit},
            "legend": {"show": True},
            "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePanel(Panel):
    """Series as rows, their labels as columns: the newest value of each query in a column of its own, joined on all labels.

    Attributes:
        columns: label or `Value #A` -> heading, in order; what is not named is not shown.
        sort_by: a heading, largest first.
        state_columns: headings whose numbers are states.
        units: heading -> unit, where it is not the panel's.
    """

    kind: ClassVar[str] = "table"
    columns: Mapping[str, str] = field(default_factory=dict)
    sort_by: str = ""
    state_columns: Sequence[str] = ()
    units: Mapping[str, str] = field(default_factory=dict)

    def json(self, number: int, position: Json) -> Json:
        made = Panel.json(self, number, position)
        if self.state_columns:
            made["fieldConfig"]["defaults"]["mappings"] = []
        return made

    def options(self) -> Json:
        sort = [{"displayName": self.sort_by, "desc": True}] if self.sort_by else []
        return {"showHeader": True, "cellHeight": "sm", "frameIndex": 0, "sortBy": sort}

    def overrides(self, letters: Mapping[str, Query]) -> list[Json]:
        colored = {"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}}
        of_states = [
            {
                "matcher": {"id": "byName", "options": heading},
                "properties": [{"id": "mappings", "value": [mapping(self.states)]}, colored],
            }
            for heading in self.state_columns
        ]
        of_units = [
            {"matcher": {"id": "byName", "options": heading}, "properties": [{"id": "unit", "value": unit}]}
            for heading, unit in self.units.items()
        ]
        return of_states + of_units

    def transformations(self) -> list[Json]:
        places = {name: place for place, name in enumerate(self.columns)}
        return [
            {"id": "merge", "options": {}},
            {"id": "filterFieldsByName", "options": {"include": {"names": list(self.columns)}}},
            {"id": "organize", "options": {"excludeByName": {}, "indexByName": places, "renameByName": dict(self.columns)}},
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Panel):
    """Markdown for whoever opens the dashboard for the first time."""

    kind: ClassVar[str] = "text"
    content: str
    queries: tuple[Query, ...] = ()
    unit: str = ""
    description: str = ""
    width: int = COLUMNS
    height: int = 3

    def options(self) -> Json:
        return {"mode": "markdown", "content": self.content}
