"""Drift: which features differ from the version's training data, since when, and is it more than chance?"""

from __future__ import annotations

from monitoring.grafana.panels import stat, state_timeline, table, time_series
from monitoring.grafana.schema import Dashboard, Query, Row
from monitoring.grafana.vocabulary import (
    CHANCE,
    LIMITS,
    MODEL,
    SEVERITIES,
    WINDOW,
    marks,
    runbook,
    severity_steps,
    to_dashboard,
)

THIS = 'model="$model", window="$window"'
PSI = f"max by (model, feature, window) (dojo_drift_psi{{{THIS}}})"
NOISE = f"max by (model, feature, window) (dojo_drift_noise{{{THIS}}})"
THRESHOLD = 'dojo_drift_threshold{model="$model", %s}'

# A window's finding: the thresholds it is beyond, and 0 where chance alone reaches as far. The k-of-n confirmation is the verdict's.
FINDING = f"({severity_steps(PSI, THRESHOLD, 'model')}) * on (model, feature, window) ({PSI} > bool {NOISE})"

NOW = Row(
    "Verdicts",
    (
        stat(
            title="Input drift",
            description="The newest verdict on the features: beyond a threshold, beyond chance, and confirmed in several windows. "
            "Severe or critical: `dojo drift show` names the features and links the report; the responder has acted already.",
            queries=(
                Query('max(dojo_monitor_severity{model="$model", check="input_drift", window="$window"})', "input drift"),
            ),
            unit="none",
            states=SEVERITIES,
            width=5,
            links=(runbook("InputDrift"),),
        ),
        stat(
            title="Score drift",
            description="The newest verdict on the scores. Alone, without input drift, look at the features' joint distribution and at the "
            "version itself: was it just rolled out?",
            queries=(
                Query('max(dojo_monitor_severity{model="$model", check="prediction_drift", window="$window"})', "scores"),
            ),
            unit="none",
            states=SEVERITIES,
            width=5,
            links=(runbook("PredictionDrift"),),
        ),
        stat(
            title="Features beyond warning and chance",
            description="In the newest window. One feature is a data problem to look up at its source; many at once are a changed world, a "
            "changed pipeline, or another kind of traffic.",
            queries=(Query(f"sum({FINDING} > bool 0)", "features"),),
            unit="none",
            width=5,
        ),
        stat(
            title="Predictions in the window",
            description="What the newest window rests on. Below the spec's `drift.minimum_rows` the verdict is insufficient data.",
            queries=(Query(f"max(dojo_monitor_rows{{{THIS}}})", "rows"),),
            unit="short",
            width=5,
            links=(runbook("MonitoringBlind"),),
        ),
        stat(
            title="Judged until",
            description="World time up to which windows are judged. Hours behind the world's time (platform dashboard): the monitor is down or "
            "behind, and this page shows the past.",
            queries=(Query('dojo_monitor_judged_until_timestamp_seconds{window="$window"} * 1000', "judged until"),),
            unit="dateTimeAsIso",
            links=(runbook("MonitorBehind"),),
        ),
    ),
)

HEAT_MAP = Row(
    "Features over time",
    (
        state_timeline(
            title="Each feature's PSI against the thresholds",
            description="One row per feature; the colour is the highest threshold that the window's PSI is beyond, ok where chance alone "
            "reaches as far. One severe cell is an accident; a row that stays severe from one moment is sudden drift (a unit, a null, a new client); "
            "rows that go from warning to severe over days are gradual. Gaps: no window was judged.",
            queries=(Query(FINDING, "{{feature}}"),),
            unit="none",
            states=tuple(state for state in SEVERITIES if state.value >= 0),
            width=24,
            height=26,
            links=(to_dashboard("Where do the features come from?", "dojo-features"),),
        ),
        time_series(
            title="Drift that somebody caused",
            description="What `dojo world drift start` put into the world: the truth that the monitor is measured by, and does not see. Compare when it "
            "rises with when the rows above change colour.",
            queries=(Query("max by (cause) (dojo_world_drift_intensity)", "{{cause}}"),),
            unit="percentunit",
            minimum=0,
            maximum=1,
            width=24,
            height=6,
        ),
        time_series(
            title="PSI of the ten worst features",
            description="How far, in the unit of the thresholds (dashed, from the model's spec). Rising slowly: compare with the day window. "
            "A step: compare its time with the marks of rollouts.",
            queries=(
                Query(f"topk(10, {PSI})", "{{feature}}"),
                *(Query(THRESHOLD % f'severity="{name}"', name, limit=color) for name, color in LIMITS.items()),
            ),
            unit="short",
            decimals=3,
            minimum=0,
            height=10,
        ),
        time_series(
            title="PSI as a multiple of what chance reaches",
            description="Above 1 (dashed) a feature differs by more than its rows explain. High here and low on the left: a real but small "
            "change, which the thresholds tolerate.",
            queries=(
                Query(f"topk(10, {PSI} / ({NOISE} > 0))", "{{feature}}"),
                Query("vector(1)", "chance", limit=CHANCE),
            ),
            unit="short",
            decimals=2,
            minimum=0,
            height=10,
        ),
    ),
)

JUDGES = Row(
    "The monitor's work",
    (
        time_series(
            title="Verdicts that were told, and read",
            description="Since the processes started, by severity: written by the monitor, read by the responder. Fewer read than written: "
            "the responder is behind or down.",
            queries=(
                Query('sum by (severity) (dojo_monitor_verdicts_total{model="$model"})', "written: {{severity}}"),
                Query('sum by (severity) (dojo_responder_verdicts_total{model="$model"})', "read: {{severity}}"),
            ),
            unit="short",
            minimum=0,
            links=(runbook("EventLogLag"),),
        ),
        time_series(
            title="Time of one look",
            description="Median and 99th percentile of judging the windows that were due, wall time. Beyond a world hour the monitor falls behind.",
            queries=tuple(
                Query(f"histogram_quantile({q}, sum by (le) (rate(dojo_monitor_look_seconds_bucket[$__rate_interval])))", name)
                for q, name in ((0.5, "median"), (0.99, "p99"))
            ),
            unit="s",
            minimum=0,
            links=(runbook("MonitorBehind"),),
        ),
    ),
)

TABLE = Row(
    "The newest window",
    (
        table(
            title="Features, the worst first",
            description="PSI, what chance alone reaches for these rows, and the threshold it is beyond. Start with the first feature and its "
            "view's source in `dojo features catalog`.",
            queries=(
                Query(PSI, "", instant=True, format="table"),
                Query(NOISE, "", instant=True, format="table"),
                Query(FINDING, "", instant=True, format="table"),
            ),
            unit="short",
            decimals=3,
            columns={"feature": "feature", "Value #A": "PSI", "Value #B": "by chance", "Value #C": "beyond"},
            sort_by="PSI",
            state_columns=("beyond",),
            states=SEVERITIES,
            height=12,
        ),
        table(
            title="Every other check",
            description="What the monitor measured beside PSI, and the threshold of a warning: missing values per view, flagged payments, label "
            "delay, served against offline features, performance. `dojo drift show` has the evidence.",
            queries=(
                Query('max by (check, window, subject) (dojo_monitor_value{model="$model"})', "", instant=True, format="table"),
                Query(
                    'max by (check, window, subject) (dojo_monitor_value{model="$model"} * 0 + on (check) group_left () '
                    'max by (check) (dojo_monitor_threshold{model="$model", severity="warning"}))',
                    "",
                    instant=True,
                    format="table",
                ),
            ),
            unit="short",
            decimals=3,
            columns={
                "check": "check",
                "window": "window",
                "subject": "subject",
                "Value #A": "measured",
                "Value #B": "warning at",
            },
            height=12,
        ),
    ),
)

BOARD = Dashboard(
    uid="dojo-drift",
    title="Dojo: drift",
    description="Which features differ from the version's training data, since when, and is it more than chance?",
    variables=(MODEL, WINDOW),
    annotations=marks('model="$model"'),
    rows=(NOW, HEAT_MAP, TABLE, JUDGES),
)
