"""`dojo retrain` and `dojo gate show`.

Heavy imports happen inside the commands, so `dojo --help` stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from dojo.actions.desk import reason
from dojo.cli.context import CommandContext, Who, Why
from dojo.cli.naming import ModelArgument
from dojo.cli.output import JsonFlag, errors_become_messages, fail, out, print_json
from dojo.cli.training.terminal import parse_time, quiet_libraries, say
from dojo.cli.world.past import wait_for_past

if TYPE_CHECKING:
    from pipelines.training.job import SmallerKind
    from services.trainer.airflow_client import AirflowClient

SABOTAGES = ("slow_by_night",)
KINDS = ("pruned", "distilled")  # pipelines/training/job.py: SmallerKind

MEANINGS = {
    "promote": "the challenger's rollout begins (dojo rollout show {model})",
    "first": "the model's first version: it is the champion",
    "waits": (
        "the model's first version: another person approves it with dojo models promote"
        " {model}@{version}"
    ),
    "kept_out": "the first version was kept out, and the fallback answers; its owner was told",
    "keep": "the champion stays; its owner was told",
    "regression": "the challenger is worse, the champion stays; its owner was paged",
}


def _meaning(answer: Mapping[str, Any]) -> str:
    """Return the key of MEANINGS for a retraining's answer."""
    if answer.get("waits"):
        return "waits"
    is_first = "champion" in answer and answer["champion"] is None
    return "kept_out" if is_first and answer["outcome"] == "keep" else str(answer["outcome"])


class Asker(NamedTuple):
    """Who asks for a retraining, and why. Both go into the audit trail."""

    who: str
    why: str


gate_app = typer.Typer(no_args_is_help=True)


def retrain(
    model: ModelArgument,
    why: Why,
    who: Who = "",
    as_of: Annotated[
        str,
        typer.Option(
            help="World time to train at, e.g. 2018-06-24T00:00 (UTC). The default is now.",
            metavar="TIME",
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Stop after the gate's verdict; register nothing.")
    ] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Run here, even where Airflow runs.")
    ] = False,
    sabotage: Annotated[
        str,
        typer.Option(
            help=f"For drills: spoil the challenger ({', '.join(SABOTAGES)}); needs --in-process.",
            metavar="KIND",
        ),
    ] = "",
    smaller: Annotated[
        str,
        typer.Option(
            help=f"Make a smaller version of the champion ({', '.join(KINDS)}); needs"
            " --in-process.",
            metavar="KIND",
        ),
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Retrain a model, compare it with its champion, and roll the winner out.

    This is the guarded way to a new version. It runs in Airflow where the stack has one, else here.
    The command waits for the gate. A rollout then goes on by itself. A smaller version need not win
    (training.smaller in the spec).

    Example: dojo retrain fraud_detection --why "drift in merchant_risk_7d"
    """
    from rich.table import Table

    from services.trainer.airflow import airflow_client
    from services.trainer.airflow_client import AirflowError

    if sabotage and (sabotage not in SABOTAGES or not in_process):
        raise fail(
            f"--sabotage: expected one of {', '.join(SABOTAGES)}, together with --in-process, got"
            f" {sabotage!r}",
            code=2,
        )
    if smaller and (smaller not in KINDS or not in_process or sabotage):
        raise fail(
            f"--smaller: expected one of {', '.join(KINDS)}, together with --in-process, got"
            f" {smaller!r}",
            code=2,
        )
    quiet_libraries()
    moment = parse_time(as_of) if as_of else None
    with (
        CommandContext() as here,
        errors_become_messages(
            AirflowError, next_step="dojo logs airflow, or --in-process without it"
        ),  # nothing was begun
    ):
        here.spec(model)
        wait_for_past(here.settings)
        asker = Asker(who, reason(why))
        client = None if in_process else airflow_client(here.settings)
        answer = (
            _in_airflow(here, client, model, asker, moment, dry_run)
            if client
            else _here(here, model, asker, moment, dry_run, sabotage, smaller)
        )
    if as_json:
        print_json(answer)
        return
    good_enough = smaller and answer["outcome"] == "promote"
    found = "good enough" if good_enough else answer["verdict"]
    table = Table(title=f"{model}: {found}", title_justify="left", show_header=False)
    for name in ("version", "champion", "rollout", "stage", "run", "url", "run_id"):
        if answer.get(name):
            table.add_row(name, str(answer[name]))
    table.add_row(
        "seconds", ", ".join(f"{step} {seconds:g}" for step, seconds in answer["seconds"].items())
    )
    out.print(table)
    what = (
        "a dry run: nothing was registered"
        if dry_run
        else MEANINGS[_meaning(answer)].format(model=model, version=answer.get("version"))
    )
    out.print(
        f"{answer['reason']}\n{what[0].upper()}{what[1:]}. Report: dojo gate show {model}",
        highlight=False,
        soft_wrap=True,
    )


def _in_airflow(
    here: CommandContext,
    client: AirflowClient,
    model: str,
    asker: Asker,
    moment: datetime | None,
    dry_run: bool,
) -> dict[str, Any]:
    from pipelines.dags.failure_notes import failure_note
    from services.trainer.airflow import RetrainingFailedError, ask, unpause_command, wait
    from services.trainer.airflow_client import AirflowError, DagPausedError

    asked = {
        "as_of": moment.isoformat() if moment else None,
        "reason": asker.why,
        "who": asker.who,
        "dry_run": dry_run,
    }
    way_out = (
        f"{unpause_command(model)}, then retrain again; or here and now: dojo retrain {model}"
        " --in-process"
    )
    with errors_become_messages(DagPausedError, next_step=way_out):
        run = ask(client, model, asked)
    say(f"in Airflow: {run.url}", 0.0)
    note = failure_note(here.settings.home, run.dag_id, run.run_id)
    with (
        errors_become_messages(
            RetrainingFailedError,
            next_step=(
                f"The champion stays. Mend what is named, then clear the failed task: {run.url}"
            ),
        ),
        errors_become_messages(
            AirflowError,
            next_step=f"Run {run.run_id} may go on: {run.url}; dojo status, dojo gate show {model}",
        ),
    ):
        return {**wait(client, run, say, note), "dry_run": dry_run}


def _here(
    here: CommandContext,
    model: str,
    asker: Asker,
    moment: datetime | None,
    dry_run: bool,
    sabotage: str,
    smaller: str,
) -> dict[str, Any]:
    from dojo.core.registry.versions import CHAMPION, ModelRegistry
    from pipelines.training.job import Job, key_by_hand
    from services.trainer.airflow import active_run, airflow_client, cancel_command

    client = airflow_client(here.settings)
    if client and (run := active_run(client, model)):
        if client.run(run.dag_id, run.run_id).waits:
            raise fail(
                f"{model}: a retraining of it waits in Airflow: {run.url}",
                f"{cancel_command(model)}, then repeat this. DOJO_ORDER_DEADLINE_SECONDS ends one"
                " that a service ordered.",
            )
        raise fail(
            f"{model}: Airflow is retraining it: {run.url}",
            "Wait for its end, or retrain without --in-process.",
        )

    # After the question: importing all of training takes seconds.
    from pipelines.retraining import run_retraining
    from pipelines.tasks import REFUSALS
    from pipelines.training.sabotage import slow_by_night

    when = moment or here.now()
    champion = ModelRegistry.of(here.settings).by_alias(model, CHAMPION)
    spec = (here.settings.models_dir / f"{model}.yaml").read_bytes()
    kinds = [kind for kind in (sabotage, smaller, "dry-run" if dry_run else "") if kind]
    key = key_by_hand(when, spec, champion.version if champion else None, *kinds)
    job = Job(
        model=model,
        key=key,
        as_of=when,
        reason=asker.why,
        who=asker.who,
        dry_run=dry_run,
        smaller=cast("SmallerKind", smaller) if smaller else None,
    )
    with errors_become_messages(
        *REFUSALS, next_step="The champion stays. Mend what is named, then retrain again."
    ):
        return run_retraining(job, here.settings, say, slow_by_night if sabotage else None)


@gate_app.command()
def show(
    version: Annotated[
        str,
        typer.Argument(
            help="MODEL for its newest decision, or MODEL@VERSION.", metavar="MODEL[@VERSION]"
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """The gate's report: both models on the same holdout, the guards, and the decision.

    Example: dojo gate show fraud_detection@2
    """
    from rich.markdown import Markdown

    from dojo.core.registry.versions import ModelRegistry
    from pipelines.gate.report import markdown
    from pipelines.release.job_runs import logged_decision, newest_judged_run

    model, _, number = version.partition("@")
    if not model:
        raise fail(f"expected MODEL or MODEL@VERSION, such as my_model@2, got {version!r}", code=2)
    quiet_libraries()
    with CommandContext() as here:
        registry = ModelRegistry.of(here.settings)
        if number:
            run_id = registry.get(model, number).run_id
        else:
            newest = newest_judged_run(registry, model)
            if newest is None:
                raise fail(
                    f"{model}: the gate has decided about nothing yet", f"dojo retrain {model}"
                )
            run_id = newest
        decision = logged_decision(registry, model, run_id)
    if as_json:
        print_json(decision)
        return
    out.print(Markdown(markdown(decision, {})))
    out.print(
        f"With pictures: {registry.url}/#/experiments, run {run_id}, artifacts, gate/gate.html",
        highlight=False,
        soft_wrap=True,
    )
