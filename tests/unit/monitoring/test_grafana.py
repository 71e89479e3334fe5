"""Dashboards equal their code, are valid, name existing metrics, and explain themselves."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from dojo.core.severity import Severity
from monitoring.grafana.__main__ import DIRECTORY, text_of
from monitoring.grafana.boards import BOARDS
from monitoring.grafana.panels import stat
from monitoring.grafana.schema import DATASOURCE, Dashboard, Row, State
from monitoring.grafana.vocabulary import SEVERITIES
from services.rollout.metrics import VERDICTS
from tests.support.dashboards import expressions, filled
from tests.support.promql import labels, metric, selectors

ROOT = Path(__file__).parents[3]
PROVISIONING = DIRECTORY.with_name("provisioning")
NAMES = [board.uid for board in BOARDS]

# Metrics that Prometheus and every process' client library export, with the labels allowed in
# dashboards.
BUILT_IN = {
    "up": set(),
    "ALERTS": {"alertname", "alertstate", "severity", "model"},
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
}
EVERYWHERE = {"job", "instance"}


def panels(board: Dashboard, kinds: bool = False) -> list[dict[str, Any]]:
    return [
        panel for panel in board.json()["panels"] if kinds or panel["type"] not in ("row", "text")
    ]


def documented() -> dict[str, set[str]]:
    """Return every series name of docs/metrics.md with its labels. A histogram has three."""
    rows = re.findall(
        r"^\| `(dojo_\w+)` \| (\w+) \| ([^|]*) \|",
        (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    names: dict[str, set[str]] = {}
    for name, kind, columns in rows:
        known = set(re.findall(r"`(\w+)`", columns))
        if kind == "histogram":
            names |= {
                f"{name}_bucket": known | {"le"},
                f"{name}_sum": known,
                f"{name}_count": known,
            }
        else:
            names[name] = known
    return names


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_the_committed_file_is_what_the_code_writes(board: Dashboard) -> None:
    assert (DIRECTORY / f"{board.uid}.json").read_text(encoding="utf-8") == text_of(board), (
        "run `python -m monitoring.grafana`"
    )


def test_there_is_no_file_without_code() -> None:
    assert sorted(path.name for path in DIRECTORY.iterdir()) == sorted(
        f"{name}.json" for name in NAMES
    )


def test_dashboards_are_told_apart() -> None:
    for key in ("uid", "title"):
        assert [
            value
            for value, times in Counter(getattr(board, key) for board in BOARDS).items()
            if times > 1
        ] == []
    assert all(len(board.uid) <= 40 for board in BOARDS), "Grafana's limit"


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_panels_have_ids_of_their_own_and_titles_that_are_told_apart_in_their_row(
    board: Dashboard,
) -> None:
    everything = panels(board, kinds=True)
    assert len({panel["id"] for panel in everything}) == len(everything)
    for row in board.rows:
        titles = Counter(panel.build().title for panel in row.panels)
        assert max(titles.values()) == 1, titles


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_panels_lie_on_the_grid_and_not_on_each_other(board: Dashboard) -> None:
    def cells(panel: dict[str, Any]) -> Iterator[tuple[int, int]]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        return itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )

    taken = Counter(cell for panel in panels(board, kinds=True) for cell in cells(panel))
    assert max(taken.values()) == 1


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_every_panel_explains_itself(board: Dashboard) -> None:
    for panel in panels(board):
        assert len(panel["description"]) >= 10, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["legendFormat"] or target["format"] == "table", panel["title"]


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_numbers_come_from_the_provisioned_data_source(board: Dashboard) -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert {"type": source["type"], "uid": source["uid"]} == DATASOURCE
    made = board.json()
    asked = [
        *(panel["datasource"] for panel in panels(board)),
        *(target["datasource"] for panel in panels(board) for target in panel["targets"]),
        *(variable["datasource"] for variable in made["templating"]["list"]),
        *(mark["datasource"] for mark in made["annotations"]["list"]),
    ]
    assert all(one == DATASOURCE for one in asked)


def test_rates_look_back_over_the_scrapes_that_there_are() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    scraped = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text())[
        "global"
    ]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped


def test_the_provisioned_folder_is_told_where_the_files_are() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "dojo.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == "$DASHBOARDS_PATH"
    page = (ROOT / "docs" / "dashboards.md").read_text()
    assert all(name in page for name in ("DASHBOARDS_PATH", "PROMETHEUS_URL", *NAMES))


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_every_variable_in_use_is_there_and_every_variable_is_used(board: Dashboard) -> None:
    used = set(
        re.findall(r"\$\{?(\w+)", " ".join(expression.text for expression in expressions(board)))
    )
    defined = {variable.name for variable in board.variables}
    assert {name for name in used if not name.startswith("__")} == defined
    assert {name for name in used if name.startswith("__")} <= {"__rate_interval", "__range"}


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_every_metric_is_documented_and_has_the_labels_that_are_asked_for(board: Dashboard) -> None:
    known = documented() | BUILT_IN
    for expression in expressions(board):
        for selector in selectors(filled(expression.text)):
            assert metric(selector) in known, f"{expression.where}: {selector}"
            assert labels(selector) <= known[metric(selector)] | EVERYWHERE, (
                f"{expression.where}: {selector}"
            )


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_legends_name_labels_that_the_metrics_have_and_the_query_keeps(board: Dashboard) -> None:
    known = documented() | BUILT_IN
    for panel in panels(board):
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            there = EVERYWHERE.union(
                *(known.get(metric(s), set()) for s in selectors(filled(target["expr"])))
            )
            kept = re.findall(r"\b(?:sum|max|min|avg|count) by \(([\w, ]*)\)", target["expr"])
            assert named <= there, f"{panel['title']}: {target['legendFormat']}"
            assert all(named <= set(names.split(", ")) for names in kept), (
                f"{panel['title']}: {target['legendFormat']}"
            )


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_marks_ask_at_a_step_and_say_what_happened(board: Dashboard) -> None:
    for mark in board.json()["annotations"]["list"]:
        assert mark["titleFormat"], mark["name"]
        assert mark["textFormat"], mark["name"]
        assert (mark["step"], mark["target"]["expr"]) == (mark["target"]["interval"], mark["expr"])


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_a_limit_is_a_dashed_line_in_its_own_colour(board: Dashboard) -> None:
    for panel in panels(board):
        for override in panel["fieldConfig"]["overrides"]:
            if override["matcher"]["id"] == "byFrameRefID":
                assert override["matcher"]["options"] in {
                    target["refId"] for target in panel["targets"]
                }, panel["title"]
                chosen = {one["id"]: one["value"] for one in override["properties"]}
                assert chosen["custom.lineStyle"] == {"fill": "dash", "dash": [10, 10]}, panel[
                    "title"
                ]
                assert chosen["color"]["mode"] == "fixed", panel["title"]


def test_a_panel_that_does_not_fit_begins_a_new_line() -> None:
    row = Row(
        "row",
        (stat(title="a", width=8), stat(title="b", width=8, height=6), stat(title="c", width=12)),
    )
    made = Dashboard(uid="x", title="x", description="x", rows=(row, row)).json()["panels"]
    places = [(panel["id"], panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in made]
    assert places == [
        (1, 0, 0),
        (2, 0, 1),
        (3, 8, 1),
        (4, 0, 7),
        (5, 0, 11),
        (6, 0, 12),
        (7, 8, 12),
        (8, 0, 18),
    ]


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_links_to_dashboards_lead_to_dashboards_and_their_variables(board: Dashboard) -> None:
    variables = {other.uid: {variable.name for variable in other.variables} for other in BOARDS}
    for panel in panels(board):
        for link in [*panel["links"], *panel["fieldConfig"]["defaults"]["links"]]:
            if link["url"].startswith("/d/"):
                uid = re.findall(r"^/d/([\w-]+)", link["url"])[0]
                assert uid in variables, link
                assert set(re.findall(r"var-(\w+)=", link["url"])) <= variables[uid], link


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_links_to_runbooks_lead_to_runbooks(board: Dashboard) -> None:
    """Grafana serves them from the mount described in docs/dashboards.md."""
    assert (
        "/monitoring/runbooks:/usr/share/grafana/public/runbooks"
        in (ROOT / "docs" / "dashboards.md").read_text()
    )
    for panel in panels(board):
        for link in [*panel["links"], *panel["fieldConfig"]["defaults"]["links"]]:
            for alert in re.findall(r"^/public/runbooks/(\w+)\.md$", link["url"]):
                assert (ROOT / "monitoring" / "runbooks" / f"{alert}.md").is_file(), (
                    f"{panel['title']}: {alert}"
                )
            shown = [
                heading
                for step in panel["transformations"]
                for heading in step["options"].get("renameByName", {}).values()
            ]
            assert set(re.findall(r"__data\.fields\.(\w+)", link["url"])) <= set(shown), (
                f"{panel['title']}: {link['url']}"
            )


@pytest.mark.parametrize("board", BOARDS, ids=NAMES)
def test_no_panel_has_a_copy_of_a_threshold(board: Dashboard) -> None:
    """Grafana's own thresholds are at most 1, the share of a limit. This is no number of a spec."""
    for panel in panels(board):
        steps = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        assert steps in ([None], [None, 1]), panel["title"]


def test_severities_are_shown_as_the_monitor_numbers_them() -> None:
    assert {words(state): state.value for state in SEVERITIES} == {
        name: n for n, name in enumerate(get_args(Severity), start=-1)
    }


def test_verdicts_of_a_rollout_are_shown_as_its_controller_numbers_them() -> None:
    from monitoring.grafana.boards.rollout import VERDICTS as SHOWN

    assert {words(state): state.value for state in SHOWN} == VERDICTS


def words(state: State) -> str:
    """Return a state's name without its glyph."""
    return state.text.partition(" ")[2].replace(" ", "_")


def test_every_promised_dashboard_is_there() -> None:
    assert set(NAMES) == {
        "dojo-platform",
        "dojo-model",
        "dojo-drift",
        "dojo-rollout",
        "dojo-features",
        "dojo-pipelines",
    }
