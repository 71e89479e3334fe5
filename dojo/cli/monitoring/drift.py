"""`dojo drift`: the monitor's verdicts on a model, and a person's judgement of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from dojo.cli.context import CommandContext, Who, Why
from dojo.cli.naming import ModelArgument, RequiredModel, VersionArgument, model_version
from dojo.cli.output import JsonFlag, WatchFlag, errors_become_messages, fail, out, print_json
from dojo.cli.output import watch as keep_showing

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dojo.core.events.types import Check, Verdict
    from services.monitor.judging.records import MonitorRecords

app = typer.Typer(no_args_is_help=True)


WINDOWS = ["hour", "day", "now"]


def _complete_check(incomplete: str) -> list[str]:
    from dojo.core.events.types import Check

    return [check for check in get_args(Check) if check.startswith(incomplete)]


@app.command()
def show(
    model: ModelArgument,
    check: Annotated[
        str,
        typer.Option(
            help="One check with all its findings, e.g. input_drift.",
            autocompletion=_complete_check,
        ),
    ] = "",
    window: Annotated[
        str, typer.Option(help="hour, day or now.", autocompletion=lambda: WINDOWS)
    ] = "",
    version: Annotated[str, typer.Option(help="One version.")] = "",
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Each check's latest verdict: value, rows, threshold, level of chance, and since when.

    Example: dojo drift show fraud_detection --check input_drift --window hour
    """
    _require(check, window)
    with CommandContext() as here:
        records = _records(here, model)
        if as_json and not watch:
            print_json(
                {"model": model, "verdicts": _chosen(records, model, check, window, version)}
            )
            return

        def rendered() -> bool:
            out.print(_rendered(here, records, model, check, window, version))
            return True

        keep_showing(rendered) if watch else rendered()


@app.command()
def mark(
    model: RequiredModel,
    verdict_id: Annotated[
        str,
        typer.Argument(
            help="The verdict's id, as `dojo drift show --check ...` prints it.", metavar="VERDICT"
        ),
    ],
    why: Why,
    who: Who = "",
    false_alarm: Annotated[bool, typer.Option("--false-alarm", help="Nothing was wrong.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say that a verdict was a false alarm. The verdict itself stays as it is.

    `dojo drift tune` learns from it.

    Example: dojo drift mark fraud_detection
    verdict-fraud_detection-3-input_drift-day-20250112T0000-warning --false-alarm --why "bank
    holiday"
    """
    from dojo.actions.verdicts import mark_false_alarm

    if not false_alarm:
        raise fail("say what the verdict was: --false-alarm", code=2)
    with CommandContext() as here:
        marked = mark_false_alarm(here, model, verdict_id, who, why)
    if as_json:
        print_json(marked)
        return
    out.print(f"marked: {marked.verdict.summary}", highlight=False)
    out.print(f"next: dojo drift tune {model}", highlight=False)


@app.command()
def report(
    version: VersionArgument,
    start: Annotated[
        str, typer.Argument(help="World time, as 2018-06-24T00:00 (UTC).", metavar="START")
    ],
    end: Annotated[
        str, typer.Argument(help="World time; the window ends before it.", metavar="END")
    ],
    last: Annotated[str, typer.Argument(hidden=True)] = "",
    as_json: JsonFlag = False,
) -> None:
    """Draw a window's predictions beside the version's reference rows, as a page in MLflow.

    It takes about 15 seconds.

    Example: dojo drift report fraud_detection@3 2025-01-12T00:00 2025-01-12T06:00
    """
    from dojo.cli.training.terminal import parse_time
    from pipelines.drift_report import EmptyWindowError, NoReferenceError, build

    if last:  # MODEL VERSION START END, an earlier form of the call
        (model, number), start, end = model_version(version, start), end, last
    else:
        model, number = model_version(version)
    begins, ends = parse_time(start), parse_time(end)
    with (
        CommandContext() as here,
        errors_become_messages(NoReferenceError, EmptyWindowError, ValueError),
    ):
        drawn = build(here.settings, here.require_model(model), number, begins, ends)
    if as_json:
        print_json(drawn)
        return
    moved = ", ".join(drawn.drifted) or "none"
    out.print(drawn.url, highlight=False, soft_wrap=True)
    out.print(
        f"drifted: {moved} ({drawn.current_rows} rows against {drawn.reference_rows})",
        highlight=False,
    )


@app.command()
def tune(model: ModelArgument, as_json: JsonFlag = False) -> None:
    """Propose thresholds from marked false alarms and from the values of quiet windows.

    It prints a part of the spec and changes nothing.

    Example: dojo drift tune fraud_detection
    """
    from dojo.core.state.verdict_marks import VerdictMarks
    from services.monitor.judging.tuning import propose, snippet
    from services.monitor.showing.gauges import windows_of
    from services.monitor.showing.view import proposals

    with CommandContext() as here:
        spec, records = here.spec(model), _records(here, model)
        marks = list(VerdictMarks(here.redis).all(model).values())
        history = {
            (check, window): records.history(model, check, window)
            for check, windows in windows_of(spec).items()
            for window in windows
        }
    found = propose(spec, marks, history)
    if as_json:
        print_json({"model": model, "marks": marks, "proposals": found, "yaml": snippet(found)})
        return
    out.print(proposals(model, found, marks))
    if found:
        out.print(
            f"\nFor {here.settings.models_dir / f'{model}.yaml'}, if its team agrees:\n",
            markup=False,
            highlight=False,
        )
        out.print(snippet(found), highlight=False)


def _records(here: CommandContext, model: str) -> MonitorRecords:
    from services.monitor.judging.records import MonitorRecords

    here.require_model(model)
    return MonitorRecords(here.redis, here.settings.stream_max_length)


def _require(check: str, window: str) -> None:
    from dojo.core.events.types import Check

    if check and check not in get_args(Check):
        raise fail(f"no check {check}; there are {', '.join(get_args(Check))}", code=2)
    if window and window not in WINDOWS:
        raise fail(f"no window {window}; there are {', '.join(WINDOWS)}", code=2)


def _chosen(
    records: MonitorRecords, model: str, check: str, window: str, version: str
) -> list[Verdict]:
    return [
        verdict
        for (of, over, by), verdict in sorted(records.latest(model).items())
        if check in ("", of) and window in ("", over) and version in ("", by)
    ]


def _rendered(
    here: CommandContext, records: MonitorRecords, model: str, check: str, window: str, version: str
) -> RenderableType:
    from rich.console import Group

    from dojo.core.state.drift_reports import drift_report
    from dojo.core.state.verdict_marks import VerdictMarks
    from services.monitor.showing.view import (
        LINE,
        course,
        details,
        overview,
        sparkline,
        worst,
    )

    found = _chosen(records, model, check, window, version)
    if not found:
        return (
            "nothing was judged yet: an hour of world time and its lateness must be over (dojo"
            " status)"
        )
    # A window may be judged again, and several versions share a history. So it holds more rows than
    # points, and twice as many are read.
    history = {
        (v.check, v.window): records.history(model, v.check, v.window, 4 * LINE) for v in found
    }
    if not check:
        lines = {}
        for v in found:
            if (finding := worst(v.findings)) is not None:
                values = course(history[v.check, v.window], finding.subject, v.version)
                lines[v.event_id] = sparkline(values, finding.threshold)
        return overview(model, found, lines)
    marks = VerdictMarks(here.redis).all(model)
    parts = []
    for verdict in found:
        report = drift_report(here.redis, model, verdict.version).get()
        url = report.url if report is not None else None
        parts.append(
            details(
                verdict,
                history[cast("Check", check), verdict.window],
                marks.get(verdict.event_id),
                url,
            )
        )
    return Group(*parts)
