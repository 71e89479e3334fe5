"""`dojo alerts`: what people were told."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from rich.markup import escape

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, WatchFlag, out, print_json
from dojo.cli.output import watch as keep_showing
from dojo.core.severity import marked
from dojo.core.state.inbox import (
    KEPT,
    Inbox,
    Message,
    Urgency,
    is_from,
    is_resolved,
)

# An empty inbox is no good news where alerting is off.
NO_MESSAGES = (
    "There are no messages yet. Alerts arrive only where Prometheus and Alertmanager run: dojo"
    " status says whether they do."
)


def alerts(
    urgency: Annotated[
        Urgency | None, typer.Option(help="Only this urgency: read it some time, today, or now.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help=(
                "Only from this part of the platform: alertmanager, alertmanager/pager, rollout,"
                " responder, airflow ..."
            )
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=KEPT, help="Number of newest messages.")] = 20,
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """What people were told, newest last: how urgent, by whom, for whom, what happened, what to do.

    Alerts come from alertmanager/chat and alertmanager/pager, and again as resolved when they end.

    Example: dojo alerts --urgency page --source alertmanager
    """
    filtered = bool(urgency or source)

    def show() -> bool:
        messages = Inbox(here.redis).newest(KEPT if filtered else limit)
        wanted = (
            m
            for m in messages
            if urgency in (None, m.urgency) and (source is None or is_from(m, source))
        )
        chosen = list(islice(wanted, limit))[::-1]
        if as_json:
            print_json(chosen)
        for message in () if as_json else chosen:
            _show(message)
        if not chosen and not as_json:
            out.print(
                "No such message." if messages and filtered else NO_MESSAGES,
                highlight=False,
                soft_wrap=True,
            )
        return True

    with CommandContext() as here:
        keep_showing(show) if watch else show()


def _show(message: Message) -> None:
    when = (
        f"{message.world_time:%Y-%m-%d %H:%M}"
        if message.world_time
        else f"{message.wall_time:%Y-%m-%d %H:%M} (wall)"
    )
    word = "resolved" if is_resolved(message) else message.urgency
    head = (
        f"{when}  {marked(word)}  {escape(message.source)}: {escape(message.model)} ->"
        f" {escape(message.to)}"
    )
    out.print(f"{head}  [bold]{escape(message.title)}[/]", highlight=False, soft_wrap=True)
    for line in message.text.splitlines():
        out.print(f"    {escape(line)}", highlight=False, soft_wrap=True)
