"""The files of Prometheus and Alertmanager, put together from monitoring/ and the settings.

    <home>/prometheus/prometheus.yml, rules/           as in monitoring/prometheus
    <home>/prometheus/targets/processes.json           scraped processes; the name is the `job`
    <home>/prometheus/targets/alertmanagers.json       where alerts go
    <home>/prometheus/generated/owners.yml             model -> team, from the specs
    <home>/alertmanager/alertmanager.yml               as in monitoring/alertmanager, with the
                                                       receiver's address from the settings

Every start writes them anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from dojo.core.settings import Settings

MONITORING = Path(__file__).parents[3] / "monitoring"

# The receiver's address in monitoring/alertmanager/alertmanager.yml: the settings' default.
DEFAULT_RECEIVER = f"http://127.0.0.1:{Settings.model_fields['receiver_port'].default}/"

# The recorded series with each model's owner. Alert rules join it for the label `team`.
OWNERS = "model:team:info"


def prepare_prometheus(
    settings: Settings, targets: Mapping[str, int], teams: Mapping[str, str]
) -> Path:
    """Write the files that Prometheus reads.

    Args:
        targets: Port of each process' /metrics.
        teams: Model -> its owner.

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
    (home / "generated" / "owners.yml").write_text(yaml.safe_dump(owners(teams), sort_keys=False))
    return home


def owners(teams: Mapping[str, str]) -> dict[str, object]:
    """A rule group that records, for each model, the team that owns it.

    A rule needs no process. So alerts have their addressee even while every process is down.
    """
    rules = [
        {"record": OWNERS, "expr": "vector(1)", "labels": {"model": name, "team": team}}
        for name, team in teams.items()
    ]
    return {"groups": [{"name": "owners", "rules": rules}]}


def prepare_alertmanager(settings: Settings) -> Path:
    """Write the file that Alertmanager reads. Returns its home.

    Raises:
        ValueError: The configuration does not name the default receiver, so its address could not
            be set.
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
