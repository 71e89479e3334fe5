"""Alert rules, promtool tests, runbooks and metrics agree with each other and with the code."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from dojo.core.events.types import Check
from dojo.stack.observability.files import OWNERS
from monitoring.grafana.boards import BOARDS
from tests.support.commands import every_command
from tests.support.dashboards import expressions, filled
from tests.support.installed import installed
from tests.support.promql import labels, metric, selectors, tokens
from tests.support.runbooks import RUNBOOKS, looks, quoted

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "monitoring"
RULES = sorted((MONITORING / "prometheus" / "rules").glob("*.yml"))
TESTS = sorted((MONITORING / "prometheus" / "tests").glob("*.yml"))
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "False positives"]

# Metrics that Prometheus and Alertmanager export about themselves and each target.
BUILT_IN = re.compile(r"up|ALERTS|(process|prometheus|alertmanager)_\w+")
# Labels added by a scrape.
OF_THE_SCRAPE = {"job", "instance"}


@dataclass(frozen=True)
class Alert:
    name: str
    severity: str
    area: str
    expr: str
    rule: Any

    def __str__(self) -> str:
        return f"{self.name}-{self.severity}"


def rules(path: Path) -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(path.read_text())["groups"]:
        yield from group["rules"]


def without_comments(expr: str) -> str:
    return re.sub(r"#.*", "", expr)


ALL = [rule for path in RULES for rule in rules(path)]
ALERTS = [
    Alert(
        rule["alert"], rule["labels"]["severity"], path.stem, without_comments(rule["expr"]), rule
    )
    for path in RULES
    for rule in rules(path)
    if "alert" in rule
]
RECORDED = {rule["record"] for rule in ALL if "record" in rule} | {OWNERS}


@cache
def documented() -> dict[str, set[str]]:
    """Return metric -> its labels, from docs/metrics.md.

    Histograms also have the names under which they are scraped.
    """
    found = {}
    page = (ROOT / "docs" / "metrics.md").read_text()
    for name, kind, given in re.findall(
        r"^\| `(dojo_\w+)` \| (\w+) \| ([^|]*) \|", page, re.MULTILINE
    ):
        own = set(re.findall(r"`(\w+)`", given))
        found[name] = own
        if kind == "histogram":
            found |= {f"{name}_bucket": own | {"le"}, f"{name}_sum": own, f"{name}_count": own}
    return found


@pytest.mark.parametrize("alert", ALERTS, ids=str)
def test_an_alert_says_how_urgent_whose_what_and_what_to_do(alert: Alert) -> None:
    notes, marks = alert.rule["annotations"], alert.rule["labels"]
    assert alert.severity in ({"none"} if alert.name == "Watchdog" else {"warning", "critical"})
    assert marks["area"] == alert.area
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert "$value" in notes["summary"] + notes["description"], "it says what was measured"
    assert notes["runbook_url"] == f"monitoring/runbooks/{alert.name}.md"
    # The alert names the platform's team, or gets the team from the model.
    assert ("team" in marks) != (f"group_left (team) {OWNERS}" in alert.expr), (
        "exactly one way to a team"
    )
    assert marks.get("team", "ml-platform") == "ml-platform"


def test_no_alert_is_written_twice_for_one_severity_but_for_another_cause() -> None:
    seen = {(alert.name, alert.severity, alert.expr) for alert in ALERTS}
    assert len(seen) == len(ALERTS)
    areas = defaultdict(set)
    for alert in ALERTS:
        areas[alert.name].add(alert.area)
    assert not {name: found for name, found in areas.items() if len(found) > 1}


@pytest.mark.parametrize(
    "rule",
    ALL,
    ids=lambda r: f"{r.get('alert', r.get('record'))}-{r.get('labels', {}).get('severity', '')}",
)
def test_every_metric_of_a_rule_exists_with_the_labels_asked_for(rule: dict[str, Any]) -> None:
    known = documented()
    for selector in selectors(without_comments(rule["expr"])):
        name = metric(selector)
        if name in RECORDED or BUILT_IN.fullmatch(name):
            continue
        assert name in known, f"{name} is not in docs/metrics.md"
        assert labels(selector) <= known[name] | OF_THE_SCRAPE, (
            f"{selector}: {name} has {sorted(known[name])}"
        )


def test_rules_of_models_hold_no_threshold() -> None:
    """Numbers in rules are 0 and 1 for yes and no, and 2 for twice the spec's plan.

    Thresholds are in the specs and come as gauges.
    """
    for rule in rules(MONITORING / "prometheus" / "rules" / "models.yml"):
        found = {
            token.text for token in tokens(without_comments(rule["expr"])) if token.kind == "number"
        }
        assert found <= {"0", "1", "2"}, f"{rule.get('alert', rule.get('record'))}: {found}"


# Metrics without an alert and a panel, with the reason for each.
UNSEEN: dict[str, str] = {}


def test_every_metric_is_in_an_alert_or_a_panel() -> None:
    """A metric in no alert or panel has no reader. A fault that only it shows stays unseen."""
    asked = {
        metric(selector) for rule in ALL for selector in selectors(without_comments(rule["expr"]))
    }
    asked |= {
        metric(s) for board in BOARDS for e in expressions(board) for s in selectors(filled(e.text))
    }
    page = (ROOT / "docs" / "metrics.md").read_text()
    names = set(re.findall(r"^\| `(dojo_\w+)` \|", page, re.MULTILINE))
    seen = {
        name for name in names if {name, f"{name}_bucket", f"{name}_sum", f"{name}_count"} & asked
    }
    assert names - seen == set(UNSEEN)


def test_every_check_of_the_monitor_has_an_alert() -> None:
    asked = {check for alert in ALERTS for check in re.findall(r'check="(\w+)"', alert.expr)}
    # Freshness alerts compare the ages themselves. They work without a monitor's verdict.
    assert asked | {"feature_freshness", "model_freshness"} == set(Check.__args__)
    assert {"FeatureViewStale", "ModelStale"} <= {alert.name for alert in ALERTS}


# ---- promtool


@cache
def unit_tests() -> list[tuple[str, dict[str, Any]]]:
    """Return the unit tests as pairs of area and case."""
    tests = [
        (path.stem, test) for path in TESTS for test in yaml.safe_load(path.read_text())["tests"]
    ]
    return [(area, one) for area, test in tests for one in test.get("alert_rule_test", [])]


@pytest.mark.parametrize("alert", ALERTS, ids=str)
def test_every_alert_has_a_case_of_firing_and_one_of_silence(alert: Alert) -> None:
    fires = silent = False
    for area, one in unit_tests():
        if (area, one["alertname"]) == (alert.area, alert.name):
            expected = {alert_["exp_labels"]["severity"] for alert_ in one.get("exp_alerts") or []}
            fires |= alert.severity in expected
            silent |= alert.severity not in expected
    assert fires, "no case in which it fires"
    assert silent or alert.name == "Watchdog", "no case in which it is silent"


def test_the_cases_pass() -> None:
    done = subprocess.run(
        [installed("promtool"), "test", "rules", *TESTS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_and_alertmanager_accept_their_configuration() -> None:
    for command in (
        (installed("promtool"), "check", "rules", "--lint=all", "--lint-fatal", *RULES),
        (installed("promtool"), "check", "config", MONITORING / "prometheus" / "prometheus.yml"),
        (installed("amtool"), "check-config", MONITORING / "alertmanager" / "alertmanager.yml"),
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "receiver"),
    [
        ("severity=critical team=payments-risk", "pager"),
        ("severity=warning team=ml-platform", "chat"),
        ("severity=unheard-of", "chat"),
        ("alertname=Watchdog severity=none", "watchdog"),
    ],
)
def test_severity_decides_the_channel(given: str, receiver: str) -> None:
    configuration = MONITORING / "alertmanager" / "alertmanager.yml"
    command = [
        installed("amtool"),
        "config",
        "routes",
        "test",
        f"--config.file={configuration}",
        *given.split(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == receiver


# ---- runbooks


def test_every_alert_has_a_runbook_and_no_runbook_is_an_orphan() -> None:
    assert {path.stem for path in RUNBOOKS} == {alert.name for alert in ALERTS}


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_has_its_sections_and_leads_somewhere(runbook: Path) -> None:
    text = runbook.read_text()
    assert text.startswith(f"# {runbook.stem}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    for section in SECTIONS:
        assert text.split(f"## {section}\n")[1].split("\n## ")[0].strip(), f"{section} is empty"
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (runbook.parent / target).exists(), target


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_names_commands_processes_and_metrics_that_exist(runbook: Path) -> None:
    text = runbook.read_text()
    known = every_command()
    for command in (q for q in quoted(text) if q.startswith("dojo ")):
        words = command.split()
        assert {" ".join(words[:count]) for count in (2, 3, 4)} & known, command
    for name in re.findall(r"dojo_\w+", text):
        stem = name.rstrip("_")
        assert any(one.startswith(stem) for one in documented()), name


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_works_beside_processes_of_this_machine_and_beside_containers(
    runbook: Path,
) -> None:
    """It uses no unpublished port, no Redis without password, and no pid known only in one mode."""
    text = runbook.read_text()
    for command in quoted(text):
        assert not re.match(r"curl|redis-cli|kill -9|ls |cat |tail ", command), (
            f"{command}: there is a dojo command for it"
        )
        if command.startswith(("df ", "amtool ", "kill ")):
            assert "in containers" in text, f"{command}: and in containers?"


def test_most_commands_of_runbooks_look_and_change_nothing() -> None:
    """These commands are run on real stacks (tests/e2e, tests/deploy)."""
    found = [" ".join(words) for words in looks()]
    assert {
        "status",
        "drift show fraud_detection",
        "metrics gateway requests_total",
        "audit list --limit 10",
    } <= set(found)
    assert not [words for words in found if words.startswith(("restart", "world pause", "retrain"))]


def test_the_receiver_is_where_the_rendered_configuration_says(tmp_path: Path) -> None:
    """The one address in alertmanager.yml is replaced everywhere."""
    from dojo.core.settings import load_settings
    from dojo.stack.observability.files import prepare_alertmanager, prepare_prometheus

    settings = load_settings(home=tmp_path, receiver_port=4321, alertmanager_port=4322)
    home = prepare_alertmanager(settings)
    urls = re.findall(r"url: (\S+)", (home / "alertmanager.yml").read_text())
    assert urls == [f"http://127.0.0.1:4321/{name}" for name in ("chat", "pager", "watchdog")]

    home = prepare_prometheus(
        settings, {"gateway": 8000, "recorder": 8102}, {"fraud_detection": "payments-risk"}
    )
    targets = msgspec.json.decode((home / "targets" / "processes.json").read_bytes())
    assert targets == [
        {"targets": ["127.0.0.1:8000"], "labels": {"job": "gateway"}},
        {"targets": ["127.0.0.1:8102"], "labels": {"job": "recorder"}},
    ]
    owners = yaml.safe_load((home / "generated" / "owners.yml").read_text())["groups"][0]["rules"]
    assert owners == [
        {
            "record": OWNERS,
            "expr": "vector(1)",
            "labels": {"model": "fraud_detection", "team": "payments-risk"},
        }
    ]
    done = subprocess.run(
        [installed("promtool"), "check", "config", home / "prometheus.yml"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
