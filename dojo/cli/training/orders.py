"""`dojo orders`: open work orders, and what a person can do about a waiting retraining."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import typer
from rich.markup import escape

from dojo.cli.context import CommandContext, Who, Why
from dojo.cli.naming import ModelArgument
from dojo.cli.output import JsonFlag, errors_become_messages, fail, out, print_json

if TYPE_CHECKING:
    from services.trainer.airflow_client import AirflowClient, RunState

app = typer.Typer(no_args_is_help=True)

NEXT = "dojo status shows whether Airflow runs, dojo logs airflow what it says"


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """Orders that have not ended, the oldest first, and why one waits.

    Example: dojo orders list
    """
    from rich.table import Table

    from dojo.core.state.clock import wall_now
    from dojo.core.state.work_orders import WorkOrders

    with CommandContext() as here:
        works = WorkOrders(here.redis).open()
        deadline = here.settings.order_deadline_seconds
    if as_json:
        print_json([{"deadline_seconds": deadline, "work": work} for work in works])
        return
    if not works:
        out.print(
            "No order is open. A retraining by hand is no order: dojo retrain shows it, and"
            " Airflow's page.",
            highlight=False,
        )
        return
    table = Table("order", "model", "kind", "state", "waited", "why it waits", title_justify="left")
    for work in works:
        minutes = (wall_now() - work.placed_at).total_seconds() / 60
        waits = str(work.notes.get("waits", ""))
        row = (
            work.order.id,
            work.order.model,
            work.order.kind,
            work.state,
            f"{minutes:.0f} of {deadline / 60:g} min",
            waits,
        )
        table.add_row(*map(escape, row))
    out.print(table)


@app.command()
def cancel(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Give up a model's waiting retraining: its order, and its run in Airflow. A running one stays.


    Afterwards `dojo retrain MODEL --in-process` is possible.

    Example: dojo orders cancel fraud_detection --why "its DAG is paused"
    """
    from dojo.actions.desk import reason
    from dojo.core.state.work_orders import WorkOrders
    from services.trainer.airflow_client import AirflowError

    with CommandContext() as here, errors_become_messages(AirflowError, next_step=NEXT):
        here.require_model(model)
        reason(why)
        orders, client = WorkOrders(here.redis), _client(here)
        run = _unfinished(client, model) if client else None
        if run is not None and not run.waits:
            raise fail(
                f"{model}: its retraining runs in Airflow: {run.url}",
                "Wait for its end, or stop it on that page.",
            )
        open_orders = [work for work in orders.open(model) if work.order.kind == "retrain"]
        # Without Airflow a running order is a process of the trainer.
        open_orders = [work for work in open_orders if client or work.state == "pending"]
        if run is None and not open_orders:
            raise fail(f"{model}: no retraining waits", "dojo orders list shows every open order")
        cancelled = []
        if client and run is not None:
            client.give_up(run.dag_id, run.run_id)
            cancelled.append(run.run_id)
        for work in open_orders:
            orders.end(work.order.id, "failed", {"error": f"cancelled by {who}: {why}"})
            cancelled.append(work.order.id)
        cancelled = list(dict.fromkeys(cancelled))
        _record(
            here, model, f"cancelled the retraining that waited: {', '.join(cancelled)}", who, why
        )
    if as_json:
        print_json({"model": model, "cancelled": cancelled})
        return
    out.print(
        f"{escape(model)}: cancelled {escape(', '.join(cancelled))}",
        highlight=False,
        soft_wrap=True,
    )
    out.print(f"[bold]next[/]  dojo retrain {escape(model)} --in-process", highlight=False)


@app.command()
def unpause(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Let Airflow run a model's retrainings again, after its DAG was paused there.

    A waiting run begins then.


    Example: dojo orders unpause fraud_detection --why "the feed is as before"
    """
    from dojo.actions.desk import reason
    from services.trainer.airflow import dag_id
    from services.trainer.airflow_client import AirflowError

    with CommandContext() as here, errors_become_messages(AirflowError, next_step=NEXT):
        here.require_model(model)
        reason(why)
        client, dag = _client(here), dag_id(model)
        if client is None:
            raise fail(
                "the stack runs without Airflow: retrainings run in the trainer",
                f"dojo retrain {model}",
            )
        paused = client.paused(dag)
        if paused:
            client.unpause(dag)
            _record(here, model, f"unpaused {dag} in Airflow", who, why)
    if as_json:
        print_json({"dag": dag, "unpaused": paused})
    else:
        out.print(f"{dag} is unpaused{'' if paused else ' already'}", highlight=False)


def _client(here: CommandContext) -> AirflowClient | None:
    from services.trainer.airflow import airflow_client

    return airflow_client(here.settings)


def _unfinished(client: AirflowClient, model: str) -> RunState | None:
    """The model's run that has not ended, with whether its DAG is paused."""
    from services.trainer.airflow import active_run

    found = active_run(client, model)
    return None if found is None else client.run(found.dag_id, found.run_id)


def _record(here: CommandContext, model: str, what: str, who: str, why: str) -> None:
    here.audit.append(
        entry_id=f"orders:{uuid4().hex}",
        kind="retraining",
        model=model,
        who=who,
        what=what,
        why=why,
        world_time=here.now_if_set(),
    )
