"""What Prometheus and Alertmanager read, put together from monitoring/ and the settings.

<home>/prometheus/prometheus.yml, rules/           as in monitoring/prometheus
<home>/prometheus/targets/processes.json           who is scraped; the process' name is its `job`
<home>/prometheus/targets/alertmanagers.json       who is told
<home>/prometheus/generated/owners.yml             model -> team, from the specs
<home>/alertmanager/alertmanager.yml               as in monitoring/alertmanager, with the receiver where the settings have it
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from dojo.core.settings import Settings
from dojo.core.spec.schema import ModelSpec

MONITORING = Path(__file__).parents[3] / "monitoring"

# Where monitoring/alertmanager/alertmanager.yml has the receiver: the settings' default.
DEFAULT_RECEIVER = f"http://127.0.0.1:{Settings.model_fields['receiver_port'].default}/"

# The recorded series that says who owns a model; alert rules join it for the label `team`.
OWNERS = "model:team:info"


def prepare_prometheus(
    settings: Settings, targets: Mapping[str, int], specs: Mapping[str, ModelSpec]
) -> Path:
    """Write what Prometheus reads.

    Args:
        targets: process -> port of its /metrics.

    Returns:
        Its home.
    """
    home = (settings.home / "prometheus").resolve()
    shutil.rmtree(home / "rules", ignore_errors=True)  # a rule that was deleted is gone
    shutil.copytree(MONITORING / "prometheus" / "rules", home / "rules")
    shutil.copy(MONITORING / "prometheus" / "prometheus.yml", home)
    processes = [
        {"targets": [f"{settings.peer(name)}:{port}"], "labels": {"job": name}}
        for name, port in targets.items()
    ]
    _write_json(home / "targets" / "processes.json", processes)
    _write_json(
        home / "targets" / "alertmanagers.json",
        [{"targets": [f"{settings.peer('alertmanager')}:{settings.alertmanager_port}"]}],
    )
    (home / "generated").mkdir(exist_ok=True)
    (home / "generated" / "owners.yml").write_text(yaml.safe_dump(owners(specs), sort_keys=False))
    return home


def owners(specs: Mapping[str, ModelSpec]) -> dict[str, object]:
    """A rule group that records, for each model, the team that owns it. As a rule and not as a process' metric: whatever is down, alerts
    have their addressee."""
    rules = [
        {"record": OWNERS, "expr": "vector(1)", "labels": {"model": name, "team": spec.owner}}
        for name, spec in specs.items()
    ]
    return {"groups": [{"name": "owners", "rules": rules}]}


def prepare_alertmanager(settings: Settings) -> Path:
    """Write what Alertmanager reads. Returns its home.

    Raises:
        ValueError: the configuration does not name the receiver as expected, so its address could not be set.
    """
    home = (settings.home / "alertmanager").resolve()
    home.mkdir(parents=True, exist_ok=True)
    text = (MONITORING / "alertmanager" / "alertmanager.yml").read_text()
    if DEFAULT_RECEIVER not in text:
        raise ValueError(f"alertmanager.yml: no webhook at {DEFAULT_RECEIVER}")
    receiver = f"{settings.url_of('receiver')}/"
    (home / "alertmanager.yml").write_text(text.replace(DEFAULT_RECEIVER, receiver))
    return home


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
