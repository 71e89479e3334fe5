"""The gate's decision for people, as gate.md and gate.html with the same content.

The HTML is one file without external resources.
"""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dojo.core.judging.gaps import MEASURES
from dojo.core.judging.gate.compare import GateJudgement
from dojo.core.judging.gate.decision import (
    BATCH,
    Contender,
    GateDecision,
    Guard,
    Segment,
    TrainingSetChange,
)
from dojo.core.judging.gate.holdout import Candidate, GateHoldout
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import task_of, task_type

MARKDOWN_FILE, HTML_FILE, GAINS_FILE = "gate.md", "gate.html", "gains.png"

HEADLINES = {
    "promote": "The challenger wins and goes on to its rollout",
    "keep": "The champion stays",
    "regression": "The challenger is worse: the champion stays",
    "first": "The first version",
}
COLOURS = {"promote": "#15803d", "keep": "#8a6d00", "regression": "#b91c1c", "first": "#1f5fa8"}
VERDICTS = {"ok": "ok", "veto": "VETO", "insufficient_data": "not judged"}
NOTHING = "–"
SHOWN_FEATURES = 10  # a reader cannot compare more rows by eye

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the report.

    Attributes:
        title: What it shows.
        header: Names of the columns. The first column is text.
        rows: Cells.
        note: A sentence above the table.
        text_columns: Number of text columns at the end.
    """

    title: str
    header: Row
    rows: Sequence[Row]
    note: str = ""
    text_columns: int = 1


def write_report(
    judgement: GateJudgement,
    spec: ModelSpec,
    holdout: GateHoldout,
    candidates: Mapping[str, Candidate],
    directory: Path,
) -> None:
    """Write the plots, gate.md and gate.html into `directory`.

    Args:
        judgement: The decision and the drawn gains.
        spec: The model's spec.
        holdout: The rows on which both were judged.
        candidates: "champion" and "challenger", where both can score the holdout.
        directory: Target directory.
    """
    # Matplotlib takes seconds, and the text needs none.
    from pipelines.release.plots import curve_plot, gains_plot

    decision, task = judgement.decision, task_of(spec)
    plots: dict[str, str] = {}
    period = f"{decision.holdout_start:%Y-%m-%d} to {decision.holdout_end:%Y-%m-%d}"
    if candidates and not task.part_fault(holdout.labels):
        curves = [
            task.curves(holdout.answered(candidate, spec), name)[0]
            for name, candidate in candidates.items()
        ]
        file = f"{curves[0].name}.png"
        curve_plot(
            curves,
            f"{decision.model}: {curves[0].title}\non the holdout, {period}",
            directory / file,
        )
        plots[file] = f"{curves[0].title.capitalize()} of both on the same holdout"
    if judgement.drawn is not None and decision.low is not None and decision.high is not None:
        metric = task.metrics[decision.primary_metric].short
        title = f"{decision.model}: gain in {len(judgement.drawn):,} draws"
        gains_plot(
            judgement.drawn,
            (decision.low, decision.high),
            decision.minimum_gain,
            metric,
            title,
            directory / GAINS_FILE,
        )
        plots[GAINS_FILE] = "The gain in each bootstrap draw"
    (directory / MARKDOWN_FILE).write_text(markdown(decision, plots))
    images = {
        f"data:image/png;base64,{b64encode((directory / name).read_bytes()).decode()}": text
        for name, text in plots.items()
    }
    (directory / HTML_FILE).write_text(html_page(decision, images))


def markdown(decision: GateDecision, images: Mapping[str, str]) -> str:
    """Return the decision as Markdown. images: file -> its content in words."""
    lines = [
        f"# Gate: {decision.model}, trained as of {decision.as_of:%Y-%m-%d %H:%M}",
        "",
        f"**{headline(decision)}.** {decision.reason}",
    ]
    lines += ["", *(f"- {fact}" for fact in facts(decision))]
    for table in tables(decision):
        lines += ["", f"## {table.title}", "", *([table.note, ""] if table.note else [])]
        texts = {0, *range(len(table.header) - table.text_columns, len(table.header))}
        lines.append("| " + " | ".join(table.header) + " |")
        lines.append(
            "|"
            + "|".join("---" if at in texts else "---:" for at in range(len(table.header)))
            + "|"
        )
        lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    for file, text in images.items():
        lines += ["", f"![{text}]({file})"]
    return "\n".join(lines) + "\n"


def html_page(decision: GateDecision, images: Mapping[str, str]) -> str:
    """Return the decision as HTML. images: source (a data URL) -> its content in words."""
    say = html.escape
    body = [
        f"<h1>Gate: {say(decision.model)}, trained as of {decision.as_of:%Y-%m-%d %H:%M}</h1>",
        (
            '<p class="outcome" style="border-color:'
            f' {COLOURS[decision.outcome]}"><strong>{say(headline(decision))}.</strong><br>'
            f"{say(decision.reason)}</p>"
        ),
        "<ul>" + "".join(f"<li>{say(fact)}</li>" for fact in facts(decision)) + "</ul>",
    ]
    for table in tables(decision):
        texts = {0, *range(len(table.header) - table.text_columns, len(table.header))}
        rows = [
            f"<tr{' class=veto' if VERDICTS['veto'] in row else ''}>"
            + "".join(
                f"<td{'' if at in texts else ' class=number'}>{say(cell)}</td>"
                for at, cell in enumerate(row)
            )
            + "</tr>"
            for row in table.rows
        ]
        head = "".join(
            f"<th{'' if at in texts else ' class=number'}>{say(cell)}</th>"
            for at, cell in enumerate(table.header)
        )
        note = f"<p>{say(table.note)}</p>" if table.note else ""
        body.append(
            f"<h2>{say(table.title)}</h2>{note}<div"
            f" class=scroll><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></div>"
        )
    body += [
        f'<figure><img src="{source}" alt="{say(text)}"></figure>'
        for source, text in images.items()
    ]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">\
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gate: {say(decision.model)}</title><style>{STYLE}</style></head>
<body>{"".join(body)}</body></html>
"""


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; \
padding: 0 1rem; color: #1b1f24; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.outcome { border-left: 6px solid; padding: .6rem 1rem; background: #f6f7f9 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100% } \
th, td { padding: .3rem .6rem; border-bottom: 1px solid #e4e6ea; text-align: left }
.number { text-align: right; font-variant-numeric: tabular-nums } tr.veto td { background: #fde8e8 }
img { max-width: 100% } figure { margin: 1.5rem 0 }
"""


def headline(decision: GateDecision) -> str:
    """Return the outcome in a few words."""
    if decision.champion is None and decision.vetoes:
        return f"The first version is kept out (vetoed: {', '.join(decision.vetoes)})"
    if decision.allowed_loss is not None and decision.outcome == "promote":
        return "The smaller version is good enough and goes on to its rollout"
    vetoed = decision.verdict == "improved" and decision.vetoes
    return HEADLINES[decision.outcome] + (
        f" (vetoed: {', '.join(decision.vetoes)})" if vetoed else ""
    )


def facts(decision: GateDecision) -> list[str]:
    """Return the facts of the comparison, one line each."""
    champion = decision.champion
    found = [
        (
            f"verdict {decision.verdict}; the minimum gain is {decision.minimum_gain:.1%} of the"
            " champion's value"
            if decision.allowed_loss is None
            else f"a smaller version of the champion; the interval may reach a loss of"
            f" {decision.allowed_loss:.1%}"
        ),
        (
            f"holdout {decision.holdout_start:%Y-%m-%d} to {decision.holdout_end:%Y-%m-%d} (end"
            f" excluded): {decision.rows:,} rows, {decision.support:,}"
            f" {task_type(decision.task).support_name}"
        ),
        (
            f"champion: version {champion.version}, trained as of {champion.as_of:%Y-%m-%d %H:%M}"
            if champion
            else "champion: none yet"
        ),
    ]
    if decision.parameters:
        changes = "; ".join(
            f"{p.name} {p.champion or NOTHING} -> {p.challenger or NOTHING}"
            for p in decision.parameters
        )
        found.append(
            f"not the data alone: training parameters differ from the champion's: {changes}"
        )
    if decision.gain is not None:
        ways = ", ".join(f"{entity}: {count:,}" for entity, count in decision.clusters.items())
        found.append(
            f"{decision.confidence:.0%} interval from {decision.draws:,} paired draws of whole"
            f" entities ({ways}), seed {decision.seed}"
        )
    if (worth := decision.worth) is not None:
        found.append(f"worth on the holdout: {worth.challenger:,.0f} euro a day")
        if worth.difference is not None:
            found[-1] += (
                f", {worth.difference:+,.0f} against the champion's {worth.champion:,.0f}"
                f" ({decision.confidence:.0%} interval {worth.low:+,.0f} to {worth.high:+,.0f})"
            )
    return found


def tables(decision: GateDecision) -> list[Table]:
    """Return the tables of a decision."""
    champion, challenger = decision.champion, decision.challenger
    task = task_type(decision.task)
    if champion is None:
        rows = [
            (task.metrics[name].title, f"{value:.4f}") for name, value in challenger.metrics.items()
        ]
        alone = Table("The version on its holdout", ("what", "value"), rows, text_columns=0)
        return [alone, *_fairness(decision)]
    beside = [_training_sets(decision.training_sets)] if decision.training_sets else []
    if decision.gain is None:
        return beside
    return [
        Table(
            "Does it win, and what does it cost?",
            ("what", "champion", "challenger", "change", "limit", "verdict", "note"),
            [
                _primary(decision, champion, challenger),
                *(_guard(guard) for guard in decision.guards),
            ],
            text_columns=2,
        ),
        Table(
            f"Segments ({task.metrics[decision.primary_metric].short})",
            ("segment", "rows", task.support_name, "champion", "challenger", "gain", "interval"),
            [_segment(segment) for segment in decision.segments],
            note=decision.segmentation,
            text_columns=0,
        ),
        Table(
            "Every figure on the holdout",
            ("what", "champion", "challenger"),
            [
                (metric.title, *(_figure(of.metrics.get(name)) for of in (champion, challenger)))
                for name, metric in task.metrics.items()
                if name in champion.metrics or name in challenger.metrics
            ],
            text_columns=0,
        ),
        *_cost(champion, challenger),
        *_fairness(decision),
        *beside,
    ]


def _cost(champion: Contender, challenger: Contender) -> list[Table]:
    """Return what scoring takes. Empty in decisions from before it was measured."""
    if not champion.batch_seconds:
        return []
    both = champion, challenger
    rows = [
        ("one row, µs", *(f"{of.latency_seconds * 1e6:.1f}" for of in both)),
        (f"{BATCH} rows at once, µs", *(f"{of.batch_seconds * 1e6:.1f}" for of in both)),
        ("model file, kB", *(f"{of.size_bytes / 1000:.1f}" for of in both)),
    ]
    return [Table("What scoring takes", ("what", "champion", "challenger"), rows, text_columns=0)]


def _fairness(decision: GateDecision) -> list[Table]:
    """Return the challenger's rates by group of the protected attribute."""
    if not decision.fairness:
        return []
    rows = [
        (
            MEASURES[gap.rate],
            one.group,
            f"{one.rows:,}",
            NOTHING if one.value is None else f"{one.value:.1%}",
            f"at most {gap.limit:.1%} apart",
            VERDICTS[gap.verdict],
        )
        for gap in decision.fairness
        for one in gap.groups
    ]
    return [
        Table(
            "Groups of the protected attribute, which is no input",
            ("share", "group", "rows", "challenger", "limit", "verdict"),
            rows,
            text_columns=2,
        )
    ]


def _training_sets(change: TrainingSetChange) -> Table:
    """Return a table of training sets and the largest feature changes. decision.json has all."""
    largest = sorted(change.psi.items(), key=lambda item: -item[1])[:SHOWN_FEATURES]
    rows = [
        ("examples", *(f"{rows:,}" for rows in change.rows), NOTHING),
        ("mean label", *(f"{mean:.4g}" for mean in change.label_mean), NOTHING),
        *(
            (f"no values: {view}", *(f"{share:.2%}" for share in shares), NOTHING)
            for view, shares in change.missing.items()
        ),
        *((f"feature {name}", NOTHING, NOTHING, f"{psi:.3f}") for name, psi in largest),
    ]
    note = (
        f"Of {len(change.psi)} features the {len(largest)} that moved most. PSI over the bins of"
        " the champion's reference profile."
    )
    return Table(
        "What each learned from",
        ("what", "champion", "challenger", "PSI"),
        rows,
        note=note,
        text_columns=0,
    )


def _primary(decision: GateDecision, champion: Contender, challenger: Contender) -> Row:
    name = decision.primary_metric
    return (
        f"{task_type(decision.task).metrics[name].title}; relative gain",
        f"{champion.metrics[name]:.4f}", f"{challenger.metrics[name]:.4f}",
        f"{decision.gain:+.2%}",
        f"at least {decision.minimum_gain:+.2%}"
        if decision.allowed_loss is None
        else f"interval above {-decision.allowed_loss:+.2%}",
        decision.verdict,
        f"interval {decision.low:+.2%} to {decision.high:+.2%}",
    )  # fmt: skip


def _guard(guard: Guard) -> Row:
    if guard.challenger is None or guard.change is None:
        return (
            guard.measures,
            NOTHING,
            NOTHING,
            NOTHING,
            _change(guard, guard.limit),
            VERDICTS[guard.verdict],
            guard.note,
        )
    return (
        guard.measures,
        NOTHING if guard.champion is None else _value(guard, guard.champion),
        _value(guard, guard.challenger), _change(guard, guard.change),
        f"at most {_change(guard, guard.limit)}", VERDICTS[guard.verdict], guard.note,
    )  # fmt: skip


def _value(guard: Guard, value: float) -> str:
    return {"latency": f"{value * 1e6:.1f} µs", "size": f"{value:,.0f}"}.get(
        guard.name, f"{value:.4f}"
    )


def _change(guard: Guard, change: float) -> str:
    if guard.measures.endswith("ratio"):
        return f"{change:.2f} x"
    absolute = guard.measures.endswith(("absolute rise", "absolute loss"))
    return f"{change:+.4f}" if absolute else f"{change:+.2%}"


def _figure(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _segment(segment: Segment) -> Row:
    if segment.champion is None or segment.challenger is None or segment.gain is None:
        return (
            segment.name,
            f"{segment.rows:,}",
            f"{segment.support:,}",
            NOTHING,
            NOTHING,
            NOTHING,
            "too few",
        )
    return (
        segment.name, f"{segment.rows:,}", f"{segment.support:,}",
        f"{segment.champion:.4f}", f"{segment.challenger:.4f}",
        f"{segment.gain:+.2%}", f"{segment.low:+.2%} to {segment.high:+.2%}",
    )  # fmt: skip
