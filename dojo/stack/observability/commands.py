"""Prometheus and Alertmanager as command lines."""

from __future__ import annotations

from pathlib import Path

from dojo.core.settings import Settings


def prometheus_command(binary: str, settings: Settings, home: Path) -> list[str]:
    """Prometheus, to be started in `home`.

    It takes its configuration's directory for a part of patterns, so that brackets in it match nothing.

    Args:
        home: what `files.prepare_prometheus` wrote.
    """
    return [
        binary,
        "--config.file=prometheus.yml",
        f"--storage.tsdb.path={home / 'data'}",
        "--storage.tsdb.retention.time=7d",  # a wall week is 14 world months at the default speed; alerts look back 6 h, people some days
        "--storage.tsdb.retention.size=2GB",  # about 2,500 series every 5 s are 100 MB a day: an upper bound for a laptop, not the rule
        # An alert that is not sent again for four times this long is over for Alertmanager: with the default (1 min) a dead Prometheus
        # would keep its watchdog barking for 4 min.
        "--rules.alert.resend-delay=15s",
        f"--web.listen-address={settings.host}:{settings.prometheus_port}",
        f"--web.external-url=http://{settings.own_host}:{settings.prometheus_port}/",
        "--no-web.enable-lifecycle",  # nobody on the network reloads or ends it
        "--log.level=warn",
        "--log.format=json",
    ]


def alertmanager_command(binary: str, settings: Settings, home: Path) -> list[str]:
    """Args:
    home: what `files.prepare_alertmanager` wrote.
    """
    return [
        binary,
        f"--config.file={home / 'alertmanager.yml'}",
        f"--storage.path={home / 'data'}",
        "--data.retention=168h",  # silences and what was sent: as long as Prometheus remembers
        f"--web.listen-address={settings.host}:{settings.alertmanager_port}",
        f"--web.external-url=http://{settings.own_host}:{settings.alertmanager_port}/",
        "--cluster.listen-address=",  # one of its kind: nothing to gossip with, and no second port
        "--log.level=warn",
        "--log.format=json",
    ]
