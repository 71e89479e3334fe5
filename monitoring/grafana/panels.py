"""The kinds of panels in our dashboards.

Each function sets all differences from Grafana's defaults. It also sets values that must stay when
Grafana changes a default.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any, Required, TypedDict, TypeVar, Unpack

from grafana_foundation_sdk.builders import bargauge, common, dashboard, statetimeline, timeseries
from grafana_foundation_sdk.builders import heatmap as heatmaps
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders import text as texts
from grafana_foundation_sdk.models import common as value
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.text import TextMode

from dojo.core.severity import APPEARANCES
from monitoring.grafana.schema import COLUMNS, SOURCE, Query, State, mapping

AnyPanel = TypeVar("AnyPanel")


class PanelOptions(TypedDict, total=False):
    """Options of every panel.

    Attributes:
        description: The panel's meaning, and the reader's next step.
        unit: Grafana's id of the unit (`s`, `percentunit`, `reqps`, `short` for plain counts).
        width: Width in cells of the grid, 24 for the whole page.
        height: Height in cells of the grid. A cell is 30 pixels high.
        states: Numbers with words and colours in their place.
        links: Links in the panel's corner.
        value_links: Links behind each value.
    """

    title: Required[str]
    description: str
    queries: tuple[Query, ...]
    unit: str
    width: int
    height: int
    minimum: float
    maximum: float
    decimals: int
    states: tuple[State, ...]
    links: tuple[dashboard.DashboardLink, ...]
    value_links: tuple[dashboard.DashboardLink, ...]


def time_series(
    *, stacked: bool = False, logarithmic: bool = False, **chosen: Unpack[PanelOptions]
) -> timeseries.Panel:
    """Lines. Queries with a `limit` are dashed lines across them. `stacked` areas add up."""
    mode = value.StackingMode.NORMAL if stacked else value.StackingMode.NONE
    linear = common.ScaleDistributionConfig().type(value.ScaleDistribution.LINEAR)
    legend = common.VizLegendOptions().show_legend(True).display_mode(value.LegendDisplayMode.TABLE)
    made = (
        _described(timeseries.Panel(), chosen)
        .draw_style(value.GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(40 if stacked else 5)
        .show_points(value.VisibilityMode.NEVER)
        .span_nulls(False)
        .stacking(common.StackingConfig().mode(mode).group("A"))
        .scale_distribution(
            linear.type(value.ScaleDistribution.LOG).log(10) if logarithmic else linear
        )
        .thresholds_style(
            common.GraphThresholdsStyleConfig().mode(value.GraphThresholdsStyleMode.OFF)
        )
        .legend(legend.placement(value.LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"]))
        .tooltip(
            common.VizTooltipOptions()
            .mode(value.TooltipDisplayMode.MULTI)
            .sort(value.SortOrder.DESCENDING)
        )
    )
    for letter, query in _lettered(chosen):
        if query.limit:
            made.override_by_query(
                letter,
                [
                    model.DynamicConfigValue(
                        "color", model.FieldColor(model.FieldColorModeId.FIXED, query.limit)
                    ),
                    model.DynamicConfigValue("custom.lineStyle", value.LineStyle("dash", [10, 10])),
                    model.DynamicConfigValue("custom.fillOpacity", 0),
                    model.DynamicConfigValue(
                        "custom.stacking", value.StackingConfig(value.StackingMode.NONE, "B")
                    ),
                ],
            )
    return made


def state_timeline(
    *, show_values: bool = False, rows_a_page: int = 50, **chosen: Unpack[PanelOptions]
) -> statetimeline.Panel:
    """A row per series, coloured by state over time. The states' own colours win."""
    return (
        _described(statetimeline.Panel(), chosen, model.FieldColorModeId.FIXED)
        .line_width(0)
        .fill_opacity(80)
        .show_value(value.VisibilityMode.AUTO if show_values else value.VisibilityMode.NEVER)
        .row_height(0.9)
        .merge_values(True)
        .align_value(value.TimelineValueAlignment.LEFT)
        .per_page(rows_a_page)
        .legend(common.VizLegendOptions().show_legend(True))
        .tooltip(
            common.VizTooltipOptions()
            .mode(value.TooltipDisplayMode.SINGLE)
            .sort(value.SortOrder.NONE)
        )
    )


def stat(
    *,
    named: bool = False,
    name_only: bool = False,
    trend: bool = False,
    **chosen: Unpack[PanelOptions],
) -> stats.Panel:
    """Single numbers or words, one per series.

    Args:
        named: Show each value with its series' name.
        name_only: Show only the series' name.
        trend: Draw the values' course behind them.
    """
    shown = value.BigValueTextMode
    return (
        _described(stats.Panel(), {"width": 4, "height": 4, **chosen}, model.FieldColorModeId.FIXED)
        .reduce_options(_latest())
        .color_mode(
            value.BigValueColorMode.BACKGROUND
            if chosen.get("states")
            else value.BigValueColorMode.VALUE
        )
        .graph_mode(value.BigValueGraphMode.AREA if trend else value.BigValueGraphMode.NONE)
        .justify_mode(value.BigValueJustifyMode.AUTO)
        .orientation(value.VizOrientation.AUTO)
        .text_mode(shown.NAME if name_only else shown.VALUE_AND_NAME if named else shown.VALUE)
    )


def share_of_limit(**chosen: Unpack[PanelOptions]) -> bargauge.Panel:
    """Bars of values divided by their limits. At the limit, 1, a bar is full and changes colour."""
    filled: PanelOptions = {"unit": "percentunit", "minimum": 0, "maximum": 1, **chosen}
    return (
        _described(bargauge.Panel(), filled, model.FieldColorModeId.THRESHOLDS)
        .thresholds(
            _steps(
                model.Threshold(color=APPEARANCES["ok"].colour),
                model.Threshold(1, APPEARANCES["critical"].colour),
            )
        )
        .reduce_options(_latest())
        .orientation(value.VizOrientation.HORIZONTAL)
        .display_mode(value.BarGaugeDisplayMode.BASIC)
        .value_mode(value.BarGaugeValueMode.COLOR)
        .name_placement(value.BarGaugeNamePlacement.AUTO)
        .sizing(value.BarGaugeSizing.AUTO)
        .legend(common.VizLegendOptions().show_legend(False))
    )


def heatmap(**chosen: Unpack[PanelOptions]) -> heatmaps.Panel:
    """A histogram's buckets over time.

    Needs one query for `..._bucket`, summed by `le`, with `format="heatmap"`.
    """
    oranges = (
        heatmaps.HeatmapColorOptions()
        .mode(HeatmapColorMode.SCHEME)
        .scheme("Oranges")
        .exponent(0.5)
        .steps(64)
    )
    return (
        _described(heatmaps.Panel(), chosen)
        .scale_distribution(common.ScaleDistributionConfig().type(value.ScaleDistribution.LINEAR))
        .hide_from(common.HideSeriesConfig())
        .color(oranges.scale(HeatmapColorScale.EXPONENTIAL))
        .filter_values(heatmaps.FilterValueRange().le(1e-9))
        .rows_frame(heatmaps.RowsHeatmapOptions().layout(value.HeatmapCellLayout.AUTO))
        .y_axis(
            heatmaps.YAxisConfig()
            .axis_placement(value.AxisPlacement.LEFT)
            .reverse(False)
            .unit(chosen["unit"])
        )
        .show_legend()
        .mode(value.TooltipDisplayMode.SINGLE)
        .show_color_scale(False)
        .hide_y_histogram()
    )


def table(
    *,
    columns: Mapping[str, str],
    sort_by: str = "",
    state_columns: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
    **chosen: Unpack[PanelOptions],
) -> tables.Panel:
    """Series as rows and labels as columns.

    The newest value of each query has its own column. Rows are joined on all labels.

    Args:
        columns: Label or `Value #A` -> heading, in order. Other columns are hidden.
        sort_by: Heading of the column to sort by, largest first.
        state_columns: Headings of columns with states as numbers.
        units: Heading -> unit, where it differs from the panel's.
    """
    made = _described(tables.Panel(), chosen).cell_height(value.TableCellHeight.SM)
    made.sort_by(
        [common.TableSortByFieldState().display_name(sort_by).desc(True)] if sort_by else []
    )
    if state_columns:
        made.mappings([])
    colored = value.TableColoredBackgroundCellOptions(value.TableCellBackgroundDisplayMode.BASIC)
    for heading in state_columns:
        words = model.DynamicConfigValue("mappings", [mapping(chosen["states"])])
        made.override_by_name(
            heading, [words, model.DynamicConfigValue("custom.cellOptions", colored)]
        )
    for heading, unit in (units or {}).items():
        made.override_by_name(heading, [model.DynamicConfigValue("unit", unit)])
    places = {name: place for place, name in enumerate(columns)}
    order = {"excludeByName": {}, "indexByName": places, "renameByName": dict(columns)}
    return made.transformations(
        [
            model.DataTransformerConfig("merge", options={}),
            model.DataTransformerConfig(
                "filterFieldsByName", options={"include": {"names": list(columns)}}
            ),
            model.DataTransformerConfig("organize", options=order),
        ]
    )


def text(content: str, **chosen: Unpack[PanelOptions]) -> texts.Panel:
    """Markdown for a reader who opens the dashboard for the first time."""
    made = _described(texts.Panel(), {"width": COLUMNS, "height": 3, **chosen})
    return made.mode(TextMode.MARKDOWN).content(content)


def _described(
    panel: AnyPanel,
    chosen: PanelOptions,
    color: model.FieldColorModeId = model.FieldColorModeId.PALETTE_CLASSIC,
) -> AnyPanel:
    """Set the common options. All panels have these methods, but no class declares them."""
    made: Any = panel
    made.title(chosen["title"]).description(chosen.get("description", "")).unit(
        chosen.get("unit", "")
    ).datasource(SOURCE)
    made.span(chosen.get("width", 12)).height(chosen.get("height", 8))
    made.targets([query.builder(letter) for letter, query in _lettered(chosen)])
    if "minimum" in chosen:
        made.min(chosen["minimum"])
    if "maximum" in chosen:
        made.max(chosen["maximum"])
    if "decimals" in chosen:
        made.decimals(chosen["decimals"])
    shade = dashboard.FieldColor().mode(color)
    made.color_scheme(shade.fixed_color("text") if color is model.FieldColorModeId.FIXED else shade)
    # Our thresholds are queries, because a number here would be a copy of a spec's.
    made.thresholds(_steps(model.Threshold(color="text")))
    made.mappings([mapping(chosen["states"])] if chosen.get("states") else [])
    made.links(list(chosen.get("links", ()))).data_links(
        list(chosen.get("value_links", ()))
    ).transformations([]).overrides([])
    return panel


def _lettered(chosen: PanelOptions) -> list[tuple[str, Query]]:
    return list(zip(string.ascii_uppercase, chosen.get("queries", ()), strict=False))


def _steps(*steps: model.Threshold) -> dashboard.ThresholdsConfig:
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(list(steps))


def _latest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)
