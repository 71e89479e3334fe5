"""Prometheus and Alertmanager as command lines."""

from __future__ import annotations

from pathlib import Path

from dojo.core.settings import Settings


def prometheus_command(binary: str, settings: Settings, home: Path) -> list[str]:
    """Prometheus, to be started in `home`.

    Prometheus takes its configuration's directory as part of file patterns, so brackets in an
    absolute path would match nothing.

    Args:
        home: Directory that `files.prepare_prometheus` wrote.
    """
    return [
        binary,
        "--config.file=prometheus.yml",
        f"--storage.tsdb.path={home / 'data'}",
        # A wall week is 14 world months at the default speed. Alerts look back 6 h, people some
        # days.
        "--storage.tsdb.retention.time=7d",
        # An upper bound for a laptop. About 2,500 series every 5 s are 100 MB a day.
        "--storage.tsdb.retention.size=2GB",
        # Alertmanager ends an alert that is not sent again for four times this long. With the
        # default (1 min) a dead Prometheus would keep its watchdog alert active for 4 min.
        "--rules.alert.resend-delay=15s",
        f"--web.listen-address={settings.host}:{settings.prometheus_port}",
        f"--web.external-url=http://{settings.own_host}:{settings.prometheus_port}/",
        "--no-web.enable-lifecycle",  # no caller on the network may reload or end it
        "--log.level=warn",
        "--log.format=json",
    ]


def alertmanager_command(binary: str, settings: Settings, home: Path) -> list[str]:
    """Alertmanager.

    Args:
        home: Directory that `files.prepare_alertmanager` wrote.
    """
    return [
        binary,
        f"--config.file={home / 'alertmanager.yml'}",
        f"--storage.path={home / 'data'}",
        "--data.retention=168h",  # silences and sent alerts: as long as Prometheus remembers
        f"--web.listen-address={settings.host}:{settings.alertmanager_port}",
        f"--web.external-url=http://{settings.own_host}:{settings.alertmanager_port}/",
        "--cluster.listen-address=",  # a single instance needs no peers and no second port
        "--log.level=warn",
        "--log.format=json",
    ]
