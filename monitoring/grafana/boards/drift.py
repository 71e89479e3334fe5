"""Drift: which features differ from the training data, since when, and is it more than chance?"""

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

# A window's finding: the number of thresholds below its PSI, and 0 where chance alone reaches as
# far. Only the verdict applies the k-of-n confirmation.
FINDING = (
    f"({severity_steps(PSI, THRESHOLD, 'model')}) * on (model, feature, window) ({PSI} > bool"
    f" {NOISE})"
)

NOW = Row(
    "Verdicts",
    (
        stat(
            title="Input drift",
            description=(
                "The newest verdict on the features. They are beyond a threshold, beyond "
                "chance, and confirmed in several windows. When it is severe or critical, "
                "the responder has already acted. `dojo drift show` names the features and "
                "links the report."
            ),
            queries=(
                Query(
                    'max(dojo_monitor_severity{model="$model", check="input_drift",'
                    ' window="$window"})',
                    "input drift",
                ),
            ),
            unit="none",
            states=SEVERITIES,
            width=5,
            links=(runbook("InputDrift"),),
        ),
        stat(
            title="Score drift",
            description=(
                "The newest verdict on the scores. If they drift without input drift, look "
                "at the features' joint distribution and at the version itself. It may be "
                "newly rolled out."
            ),
            queries=(
                Query(
                    'max(dojo_monitor_severity{model="$model", check="prediction_drift",'
                    ' window="$window"})',
                    "scores",
                ),
            ),
            unit="none",
            states=SEVERITIES,
            width=5,
            links=(runbook("PredictionDrift"),),
        ),
        stat(
            title="Features beyond warning and chance",
            description=(
                "Number in the newest window. One feature is a data problem, so look at "
                "its source. Many at once mean a changed world, a changed pipeline, or "
                "another kind of traffic."
            ),
            queries=(Query(f"sum({FINDING} > bool 0)", "features"),),
            unit="none",
            width=5,
        ),
        stat(
            title="Predictions in the window",
            description=(
                "Number of predictions behind the newest window. Below the spec's "
                "`drift.minimum_rows` the verdict is insufficient data."
            ),
            queries=(Query(f"max(dojo_monitor_rows{{{THIS}}})", "rows"),),
            unit="short",
            width=5,
            links=(runbook("MonitoringBlind"),),
        ),
        stat(
            title="Judged until",
            description=(
                "World time up to which windows are judged. If it is hours behind the "
                "world's time (platform dashboard), the monitor is down or behind. This "
                "page then shows the past."
            ),
            queries=(
                Query(
                    'dojo_monitor_judged_until_timestamp_seconds{window="$window"} * 1000',
                    "judged until",
                ),
            ),
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
            description=(
                "One row per feature. The colour is the highest threshold below the "
                "window's PSI. It is ok where chance alone reaches as far. One severe cell "
                "is an accident. A row that stays severe from one moment is sudden drift, "
                "such as a wrong unit, nulls or a new client. Rows that go from warning to "
                "severe over days are gradual drift. In a gap, no window was judged."
            ),
            queries=(Query(FINDING, "{{feature}}"),),
            unit="none",
            states=tuple(state for state in SEVERITIES if state.value >= 0),
            width=24,
            height=26,
            links=(to_dashboard("Where do the features come from?", "dojo-features"),),
        ),
        time_series(
            title="Drift that somebody caused",
            description=(
                "Drift from `dojo world drift start`. This is the truth that the monitor "
                "does not see and is measured by. Compare its rise with the change of "
                "colour in the rows above."
            ),
            queries=(Query("max by (cause) (dojo_world_drift_intensity)", "{{cause}}"),),
            unit="percentunit",
            minimum=0,
            maximum=1,
            width=24,
            height=6,
        ),
        time_series(
            title="PSI of the ten worst features",
            description=(
                "PSI, the unit of the thresholds (dashed, from the model's spec). If it "
                "rises slowly, compare with the day window. If it jumps, compare the time "
                "with the marks of rollouts."
            ),
            queries=(
                Query(f"topk(10, {PSI})", "{{feature}}"),
                *(
                    Query(THRESHOLD % f'severity="{name}"', name, limit=color)
                    for name, color in LIMITS.items()
                ),
            ),
            unit="short",
            decimals=3,
            minimum=0,
            height=10,
        ),
        time_series(
            title="PSI as a multiple of what chance reaches",
            description=(
                "Above 1 (dashed), chance cannot explain a feature's difference for this "
                "number of rows. A value high here and low on the left is a real but small "
                "change. The thresholds tolerate it."
            ),
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
            description=(
                "Verdicts by severity since the processes started, written by the monitor "
                "and read by the responder. If fewer are read than written, the responder "
                "is behind or down."
            ),
            queries=(
                Query(
                    'sum by (severity) (dojo_monitor_verdicts_total{model="$model"})',
                    "written: {{severity}}",
                ),
                Query(
                    'sum by (severity) (dojo_responder_verdicts_total{model="$model"})',
                    "read: {{severity}}",
                ),
            ),
            unit="short",
            minimum=0,
            links=(runbook("EventLogLag"),),
        ),
        time_series(
            title="Time of one look",
            description=(
                "Median and 99th percentile of the wall time for judging the due windows. "
                "Beyond a world hour the monitor falls behind."
            ),
            queries=tuple(
                Query(
                    f"histogram_quantile({q}, sum by (le)"
                    " (rate(dojo_monitor_look_seconds_bucket[$__rate_interval])))",
                    name,
                )
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
            description=(
                "PSI, the value that chance alone reaches for these rows, and the highest "
                "threshold below the PSI. Start with the first feature. `dojo features "
                "catalog` shows its view's source."
            ),
            queries=(
                Query(PSI, "", instant=True, format="table"),
                Query(NOISE, "", instant=True, format="table"),
                Query(FINDING, "", instant=True, format="table"),
            ),
            unit="short",
            decimals=3,
            columns={
                "feature": "feature",
                "Value #A": "PSI",
                "Value #B": "by chance",
                "Value #C": "beyond",
            },
            sort_by="PSI",
            state_columns=("beyond",),
            states=SEVERITIES,
            height=12,
        ),
        table(
            title="Every other check",
            description=(
                "The monitor's other measurements, with the threshold of a warning. They "
                "are missing values per view, flagged payments, label delay, served "
                "against offline features, and performance. `dojo drift show` has the "
                "evidence."
            ),
            queries=(
                Query(
                    'max by (check, window, subject) (dojo_monitor_value{model="$model"})',
                    "",
                    instant=True,
                    format="table",
                ),
                Query(
                    'max by (check, window, subject) (dojo_monitor_value{model="$model"} * 0 + on'
                    ' (check) group_left () max by (check) (dojo_monitor_threshold{model="$model",'
                    ' severity="warning"}))',
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
    description=(
        "Which features differ from the version's training data, since when, and is it more than"
        " chance?"
    ),
    variables=(MODEL, WINDOW),
    annotations=marks('model="$model"'),
    rows=(NOW, HEAT_MAP, TABLE, JUDGES),
)
