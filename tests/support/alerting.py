"""Real Prometheus, Alertmanager and receiver with shortened times, over a test's own metrics."""

from __future__ import annotations

import json
import re
import sys
import threading
import urllib.parse
import urllib.request
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dojo.core.connections import connect_redis
from dojo.core.settings import Settings, load_settings
from dojo.core.state.clock import wall_now
from dojo.core.state.inbox import Inbox, Message
from dojo.stack.observability.commands import alertmanager_command, prometheus_command
from dojo.stack.observability.files import prepare_alertmanager, prepare_prometheus
from tests.support.installed import installed
from tests.support.paths import STRANGE_NAME
from tests.support.servers import RedisServer, Server, free_port, http_ok, wait_until

# Only times are shortened, so that a test waits for seconds. The rules stay unchanged.
IN_A_HURRY = {
    "prometheus/prometheus.yml": {
        r"scrape_interval: 5s": "scrape_interval: 1s",
        r"scrape_timeout: 4s": "scrape_timeout: 1s",
        r"evaluation_interval: 5s": "evaluation_interval: 500ms",
    },
    "prometheus/rules/*.yml": {r"\bfor: \d+[sm]": "for: 2s"},
    "alertmanager/alertmanager.yml": {
        r"group_wait: 5s": "group_wait: 1s",
        r"group_interval: 30s": "group_interval: 1s",
        r"group_interval: 15s": "group_interval: 500ms",
        r"repeat_interval: 30s": "repeat_interval: 500ms",
    },
}


def hurry(home: Path) -> None:
    """Shorten the times in the rendered files. Fails when a file lacks a time to shorten."""
    for pattern, changes in IN_A_HURRY.items():
        for path in home.glob(pattern):
            text = path.read_text()
            for before, after in changes.items():
                text, count = re.subn(before, after, text)
                assert count or path.parent.name == "rules", f"{path}: no {before}"
            path.write_text(text)


class Exporter:
    """/metrics of a process that does not exist, with the values set by a test."""

    def __init__(self) -> None:
        self.port = free_port()
        self._lines: dict[str, float] = {}
        self._server: ThreadingHTTPServer | None = None

    def set(self, series: str, value: float) -> None:
        self._lines[series] = value

    def up(self) -> None:
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = "".join(
                    f"{series} {value}\n" for series, value in dict(exporter._lines).items()
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class Alerting:
    """The whole way from a gauge to a message.

    Args:
        directory: Directory of the servers.
        watchdog_port: Port that gets the watchdog instead of the receiver.
    """

    def __init__(self, directory: Path, watchdog_port: int) -> None:
        self.directory = directory
        self.redis_server = RedisServer(directory)
        ports = {f"{name}_port": free_port() for name in ("receiver", "prometheus", "alertmanager")}
        self.settings: Settings = load_settings(
            home=directory / STRANGE_NAME, redis_port=self.redis_server.port, **ports
        )
        self.gateway, self.monitor = Exporter(), Exporter()
        environment = {
            "DOJO_HOME": str(self.settings.home),
            "DOJO_REDIS_PORT": str(self.redis_server.port),
            "DOJO_RECEIVER_PORT": str(self.settings.receiver_port),
            "DOJO_ALERTMANAGER_PORT": str(self.settings.alertmanager_port),
        }
        self.receiver = Server(
            "receiver", [sys.executable, "-m", "services.receiver"], directory, environment
        )
        targets = {"gateway": self.gateway.port, "monitor": self.monitor.port}
        targets |= {name: self.settings.port_of(name) for name in ("alertmanager", "receiver")}
        prometheus_home = prepare_prometheus(
            self.settings, targets, {"fraud_detection": "payments-risk"}
        )
        alertmanager_home = prepare_alertmanager(self.settings)
        hurry(self.settings.home)
        configuration = alertmanager_home / "alertmanager.yml"
        receivers_own = f":{self.settings.receiver_port}/watchdog"
        text = configuration.read_text()
        assert receivers_own in text
        configuration.write_text(text.replace(receivers_own, f":{watchdog_port}/watchdog"))
        command = prometheus_command(installed("prometheus"), self.settings, prometheus_home)
        resend = "--rules.alert.resend-delay=15s"
        assert resend in command
        command[command.index(resend)] = "--rules.alert.resend-delay=500ms"
        self.prometheus = Server("prometheus", command, directory, cwd=prometheus_home)
        command = alertmanager_command(
            installed("prometheus-alertmanager", "alertmanager"), self.settings, alertmanager_home
        )
        self.alertmanager = Server("alertmanager", command, directory)

    def start(self) -> None:
        self.redis_server.start()
        self.gateway.up()
        self.monitor.up()
        # Prometheus knows its targets after up to 5 s, which is longer than `for` here. So the
        # receiver starts later, and absent targets raise no message.
        self._start(self.prometheus, f"http://127.0.0.1:{self.settings.prometheus_port}/-/ready")
        wait_until(
            lambda: self.value('up{job="gateway"}') == 1 and not self.firing("GatewayDown"),
            30,
            "targets are seen",
            0.1,
        )
        self._start(self.receiver, f"http://127.0.0.1:{self.settings.receiver_port}/healthz")
        self._start(
            self.alertmanager, f"http://127.0.0.1:{self.settings.alertmanager_port}/-/ready"
        )

    def _start(self, server: Server, url: str) -> None:
        server.start()
        wait_until(
            lambda: http_ok(url),
            30,
            f"{server.name} is ready; its log ends:\n{server.tail()}",
            every=0.1,
        )

    def stop(self) -> None:
        for server in (self.prometheus, self.alertmanager, self.receiver, self.redis_server):
            server.stop()
        self.gateway.down()
        self.monitor.down()

    def verdict(self, check: str, severity: float, window: str = "hour") -> None:
        """Set the monitor's severity of the model from now on."""
        self.monitor.set(
            f'dojo_monitor_severity{{model="fraud_detection",check="{check}",window="{window}"}}',
            severity,
        )

    def told(self, text: str) -> list[Message]:
        """Return messages with `text` in title or text, oldest first."""
        inbox = Inbox(connect_redis(self.redis_server.url))
        return [m for m in inbox.newest(1000) if text in m.title or text in m.text][::-1]

    def wait_for(self, text: str, count: int = 1, within: float = 20) -> list[Message]:
        wait_until(
            lambda: len(self.told(text)) >= count,
            within,
            f"{count} messages about {text}",
            every=0.1,
        )
        return self.told(text)

    def alerts(self, name: str) -> list[dict[str, Any]]:
        """Return Alertmanager's alerts of a name."""
        return [
            a
            for a in self._ask("alertmanager", "/api/v2/alerts")
            if a["labels"]["alertname"] == name
        ]

    def silence(self, **labels: str) -> str:
        """Silence alerts with these labels for an hour. Returns the silence's id."""
        now = wall_now()
        matchers = [
            {"name": name, "value": value, "isRegex": False} for name, value in labels.items()
        ]
        ends = (now + timedelta(hours=1)).isoformat()
        body = {
            "matchers": matchers,
            "startsAt": now.isoformat(),
            "endsAt": ends,
            "createdBy": "a test",
            "comment": "a test",
        }
        return str(
            self._ask("alertmanager", "/api/v2/silences", json.dumps(body).encode())["silenceID"]
        )

    def end_silence(self, silence: str) -> None:
        port = self.settings.alertmanager_port
        url = f"http://127.0.0.1:{port}/api/v2/silence/{silence}"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=5).close()

    def value(self, expr: str) -> float | None:
        """Return the value of the first series that an expression finds."""
        found = self._ask("prometheus", f"/api/v1/query?{urllib.parse.urlencode({'query': expr})}")[
            "data"
        ]["result"]
        return float(found[0]["value"][1]) if found else None

    def firing(self, alert: str) -> bool:
        return self.value(f'ALERTS{{alertname="{alert}",alertstate="firing"}}') is not None

    def _ask(self, server: str, path: str, body: bytes | None = None) -> Any:
        url = f"http://127.0.0.1:{self.settings.port_of(server)}{path}"
        request = urllib.request.Request(
            url, body, {"Content-Type": "application/json"} if body else {}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def notifications(self, channel: str) -> list[dict[str, Any]]:
        """Return the receiver's log of a channel, one entry per notification."""
        lines = [
            json.loads(line)
            for line in self.receiver.log.read_text().splitlines()
            if line.startswith("{")
        ]
        return [
            line for line in lines if line.get("event") == "told" and line["channel"] == channel
        ]

    def metric(self, port: int, name: str) -> float:
        """Return the sum of a metric's series at a /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[{{ ]", line)
        )
