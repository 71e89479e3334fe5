"""`dojo demo`: start everything, build history, train, serve, and watch a few world days go by."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import typer
from redis import Redis
from rich.console import Console
from rich.live import Live

from dojo.cli.output import JsonFlag, err, errors_become_messages, fail, out, print_json
from dojo.clock import ClockNotSetError, RedisWorldClock
from dojo.connections import connect_redis
from dojo.freshness import read_freshness
from dojo.settings import Settings, load_settings

MODEL = "fraud_detection"

# World seconds per wall second while somebody watches: a world day in 36 s, about 270 payments a second.
DEMO_SPEED = 2400.0

# Frames per second: enough to look alive, cheap enough to leave the cores to the stack.
FRAMES_PER_SECOND = 2.0

# Without a terminal (CI, a pipe), a line this often instead of frames, seconds.
LINE_EVERY_SECONDS = 5.0


def demo(
    transactions: Annotated[
        Path | None,
        typer.Option(help="Replay this Parquet or CSV file of real transactions instead of the synthetic world.", exists=True),
    ] = None,
    days: Annotated[float, typer.Option(min=0.05, max=365, help="World days of live traffic to watch.")] = 3.0,
    speed: Annotated[float, typer.Option(min=1, max=86400, help="World seconds per wall second while watching.")] = DEMO_SPEED,
    as_json: JsonFlag = False,
) -> None:
    """The whole loop in one command: history, features, training, serving, live traffic, late outcomes, measured performance.

    Leaves the stack up, at the everyday speed (DOJO_SPEED). Run again, it goes on with the same world.

    Examples:
      dojo demo
      dojo demo --transactions transactions.parquet --days 2
    """
    from dojo.demo.steps import StepFailedError, Steps

    settings = load_settings()
    console = err if as_json else out
    steps = Steps(console)
    try:
        trained = _prepare(steps, settings, transactions)
        result = _watch(settings, console, steps, trained, timedelta(days=days), speed)
    except StepFailedError as error:
        raise fail(str(error)) from error
    if as_json:
        print_json(result)


def _prepare(steps: Any, settings: Settings, transactions: Path | None) -> dict[str, Any]:
    """Everything up to a served champion. Returns its version, metrics and as_of."""
    up = ["up", *(["--transactions", str(transactions)] if transactions else [])]
    steps.run("Start the stack", up, lambda r: f"{len(r['processes'])} processes healthy")
    redis = connect_redis(settings.redis)
    clock = RedisWorldClock(redis)
    steps.wait(
        "Build the world's history",
        lambda: f"history ends {clock.now():%Y-%m-%d %H:%M}" if clock.is_set() else None,
        within=300,
    )
    steps.wait("Bring features online (the materializer does)", lambda: _features_online(redis, settings), within=300)
    listed = steps.run("Ask the registry for a champion", ["models", "list"], lambda r: f"{len(r)} version(s)")
    champion = next((v for v in listed if v["model"] == MODEL and "champion" in v["aliases"]), None)
    if champion is None:
        champion = steps.run(
            "Train the first version",
            ["train", MODEL],
            lambda r: f"version {r['version']}: PR-AUC {r['metrics']['pr_auc']:.3f} on a holdout it never saw",
        )
    steps.wait("Serve it", lambda: f"version {champion['version']} answers" if _ready(settings) else None, within=60)
    return dict(champion)


def _watch(
    settings: Settings, console: Console, steps: Any, champion: dict[str, Any], length: timedelta, speed: float
) -> dict[str, Any]:
    from datetime import datetime

    from dojo.demo.view import line, render, summary
    from dojo.demo.watch import Watcher

    redis = connect_redis(settings.redis)
    clock = RedisWorldClock(redis)
    with errors_become_messages(ClockNotSetError):
        watcher = Watcher(redis, clock, datetime.fromisoformat(champion["as_of"]), clock.now() + length)
    console.print(
        f"[bold cyan]▸[/] {length.total_seconds() / 86400:g} world days of live traffic  [dim]ctrl-c ends the watching, not the stack[/]"
    )
    clock.set_speed(speed)
    look = watcher.look()
    try:
        if console.is_terminal:
            with Live(render(look), console=console, refresh_per_second=FRAMES_PER_SECOND, transient=False) as live:
                while look.world < watcher.end:
                    time.sleep(1 / FRAMES_PER_SECOND)
                    look = watcher.look()
                    live.update(render(look))
        else:
            printed = time.monotonic()
            while look.world < watcher.end:
                time.sleep(1 / FRAMES_PER_SECOND)
                look = watcher.look()
                if time.monotonic() - printed >= LINE_EVERY_SECONDS:
                    printed = time.monotonic()
                    console.print(line(look), highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print("watching ended")
    finally:
        clock.set_speed(settings.speed)
    tally = watcher.tally.snapshot()
    console.print(summary(tally, steps.seconds, f"{MODEL} version {champion['version']}", champion["metrics"]))
    console.print(
        f"The stack stays up at {settings.speed:g} world seconds per second. Look at:\n"
        f"  gateway   {settings.gateway_url}/docs\n"
        f"  metrics   {settings.gateway_url}/metrics\n"
        f"  MLflow    {settings.mlflow}\n"
        "Then: dojo status, dojo performance fraud_detection, dojo features catalog, dojo reproduce fraud_detection@1; dojo down ends it.",
        highlight=False,
    )
    return {"champion": champion, "live": asdict(tally), "steps_seconds": steps.seconds, "world": look.world.isoformat()}


def _features_online(redis: Redis, settings: Settings) -> str | None:
    """What to say once the materializer has nothing left to do."""
    status, details = _get_json(f"http://{settings.host}:{settings.materializer_port}/healthz")
    if status != HTTPStatus.OK or not str(details.get("state", "")).startswith("waiting for the next midnight"):
        return None
    return ", ".join(f"{name} as of {view.as_of:%m-%d %H:%M}" for name, view in sorted(read_freshness(redis).items()))


def _ready(settings: Settings) -> bool:
    status, _ = _get_json(f"{settings.gateway_url}/readyz")
    return status == HTTPStatus.OK


def _get_json(url: str) -> tuple[int, dict[str, Any]]:
    """Status and body; status 0 when nobody answers within 2 s, who may still be starting."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status), dict(json.load(answer))
    except urllib.error.HTTPError as error:
        return error.code, {}
    except (OSError, ValueError):
        return 0, {}
