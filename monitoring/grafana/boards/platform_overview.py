"""The platform: does it run, does it serve, and does anything need a person?"""

from __future__ import annotations

from monitoring.grafana.panels import stat, state_timeline, table, text, time_series
from monitoring.grafana.schema import Dashboard, Query, Row
from monitoring.grafana.vocabulary import LIMITS, SEVERITIES, marks, runbook, state, to_dashboard

RATE = "[$__rate_interval]"
FIRING = 'alertstate="firing", severity=~"warning|critical"'

UP = (state(0, "down"), state(1, "up"))

NOW = Row(
    "Now",
    (
        text(
            title="How to read this page",
            content=(
                "This page has two times. Graphs have **wall time** below them. Windows, "
                "ages and SLAs are **world time**, which runs faster (*speed*). Coloured "
                "marks are new versions, rollbacks, actions of the responder and alerts. "
                "Dashed lines are thresholds of the model's spec, as the processes export "
                "them. Every panel's **i** explains its meaning and the next step. Panels "
                "link to the runbooks of their alerts."
            ),
        ),
        stat(
            title="Processes up",
            description=(
                "Share of the scraped processes that answer. Below 100 %, the timeline on "
                "the right names the others. `dojo status` gives the reason."
            ),
            queries=(Query("avg(up)", "up"),),
            unit="percentunit",
        ),
        stat(
            title="Alerts firing",
            description=(
                "Warnings and criticals, as people received them (`dojo alerts`). Each has "
                "a runbook of its name in monitoring/runbooks."
            ),
            queries=(Query(f"count(ALERTS{{{FIRING}}}) or vector(0)", "alerts"),),
            unit="none",
        ),
        stat(
            title="World time",
            description=(
                "World time of the last emitted payment. If it stands still, the world is "
                "paused (`dojo world status`) or the simulator is down."
            ),
            queries=(Query("dojo_world_emitted_until_timestamp_seconds * 1000", "world time"),),
            unit="dateTimeAsIso",
            width=6,
        ),
        stat(
            title="Speed",
            description="World seconds per wall second.",
            queries=(Query(f"deriv(dojo_world_emitted_until_timestamp_seconds{RATE})", "speed"),),
            unit="none",
            decimals=0,
        ),
        stat(
            title="World's delay",
            description=(
                "World seconds that the simulator is behind its clock. If it grows, the "
                "machine is too slow for this speed."
            ),
            queries=(Query("dojo_world_lag_seconds", "behind"),),
            unit="dtdurations",
            width=6,
        ),
        table(
            title="Models",
            description=(
                "Each model's serving version, worst verdict, age of its training data and "
                "traffic. The name leads to the model's dashboard."
            ),
            queries=(
                Query(
                    "max by (model, version) (dojo_model_info)", "", instant=True, format="table"
                ),
                Query("max by (model) (dojo_monitor_severity)", "", instant=True, format="table"),
                Query("max by (model) (dojo_model_age_seconds)", "", instant=True, format="table"),
                Query(
                    "sum by (model) (rate(dojo_gateway_predictions_total[1m]))",
                    "",
                    instant=True,
                    format="table",
                ),
            ),
            unit="short",
            columns={
                "model": "model",
                "version": "version",
                "Value #B": "worst verdict",
                "Value #C": "age of training data",
                "Value #D": "predictions",
            },
            state_columns=("worst verdict",),
            states=SEVERITIES,
            units={"age of training data": "dtdurations", "predictions": "reqps"},
            value_links=(to_dashboard("The model", "dojo-model", model="${__data.fields.model}"),),
        ),
        table(
            title="Alerts that fire",
            description=(
                "The dead-man's switch among them always fires. If it is missing, "
                "Prometheus evaluates no rules, and silence means nothing. Each alert's "
                "runbook explains its meaning and the first step."
            ),
            queries=(Query('ALERTS{alertstate="firing"}', "", instant=True, format="table"),),
            unit="none",
            columns={
                "alertname": "alert",
                "severity": "severity",
                "model": "model",
                "Time": "as of",
            },
            units={"as of": "dateTimeAsIso"},
            value_links=(runbook("${__data.fields.alert}"),),
        ),
        state_timeline(
            title="Processes",
            description=(
                "Answered scrapes. A short gap is a restart by the supervisor. For a long gap, see"
                " `dojo logs NAME`."
            ),
            queries=(Query("min by (job) (up)", "{{job}}"),),
            unit="none",
            states=UP,
            width=24,
            links=(
                runbook("ProcessDown"),
                runbook("GatewayDown"),
            ),
        ),
    ),
)

SERVING = Row(
    "Serving",
    (
        time_series(
            title="Requests by status",
            description=(
                "503 and 504 are shed or late requests. Start with the runbooks of "
                "the serving alerts. 4xx are errors of the callers."
            ),
            queries=(
                Query(f"sum by (code) (rate(dojo_gateway_requests_total{RATE}))", "{{code}}"),
            ),
            unit="reqps",
            stacked=True,
        ),
        time_series(
            title="Failed requests",
            description=(
                "Share of requests answered with 5xx, in total and as seen by callers. "
                "Callers also see connections that never reached the gateway."
            ),
            queries=(
                Query(
                    f'sum(rate(dojo_gateway_requests_total{{code=~"5.."}}{RATE})) /'
                    f" sum(rate(dojo_gateway_requests_total{RATE}))",
                    "gateway",
                ),
                Query(
                    'sum(rate(dojo_world_gateway_answers_total{outcome=~"failed|unreachable|timeout'
                    f'|malformed"}}{RATE})) / sum(rate(dojo_world_gateway_answers_total{RATE}))',
                    "callers",
                ),
                Query(
                    '1 - dojo_gateway_objective_ratio{objective="availability"}',
                    "30 days' budget of {{model}}",
                    limit=LIMITS["critical"],
                ),
            ),
            unit="percentunit",
            minimum=0,
            links=(
                runbook("AvailabilityBudgetBurning"),
                runbook("CallersUnanswered"),
            ),
        ),
        time_series(
            title="Time to answer, 99th percentile",
            description=(
                "By model, against the spec's objective (dashed), and as seen by callers. "
                "If only the callers are slow, look at the network or their machine."
            ),
            queries=(
                Query(
                    "histogram_quantile(0.99, sum by (le, model)"
                    f" (rate(dojo_gateway_request_seconds_bucket{RATE})))",
                    "{{model}}",
                ),
                Query(
                    "histogram_quantile(0.99, sum by (le)"
                    f" (rate(dojo_world_gateway_seconds_bucket{RATE})))",
                    "callers",
                ),
                Query(
                    "dojo_gateway_latency_objective_seconds",
                    "objective of {{model}}",
                    limit=LIMITS["critical"],
                ),
            ),
            unit="s",
            minimum=0,
            links=(runbook("LatencyBudgetBurning"),),
        ),
        time_series(
            title="Degraded answers",
            description=(
                "Share of answers with something missing, by reason. The feature store dashboard"
                " names the view."
            ),
            queries=(
                Query(
                    f"sum by (reason) (rate(dojo_gateway_degraded_total{RATE})) /"
                    f" scalar(sum(rate(dojo_gateway_predictions_total{RATE})))",
                    "{{reason}}",
                ),
            ),
            unit="percentunit",
            minimum=0,
            links=(
                runbook("DegradedAnswers"),
                runbook("FallbackAnswering"),
                to_dashboard("Feature store", "dojo-features"),
            ),
        ),
        time_series(
            title="Load",
            description=(
                "Requests in progress, and requests refused because of overload, by "
                "limit: `share` of a model, `class` of its latency, or `full`. Refusals protect "
                "the requests in progress. Add gateways or reduce the traffic."
            ),
            queries=(
                Query("sum(dojo_gateway_in_flight_requests)", "in flight"),
                Query(
                    f"sum by (reason) (rate(dojo_gateway_shed_requests_total{RATE}))",
                    "refused: {{reason}}",
                ),
            ),
            unit="short",
            minimum=0,
        ),
        time_series(
            title="What the gateway could not do in the background",
            description=(
                "Failed polls of the registry, restarted background tasks and workers, and "
                "versions that failed verification. The gateway still answers from its cache. "
                "Meanwhile no new version arrives. Of several workers (DOJO_GATEWAY_WORKERS), "
                "the others answer."
            ),
            queries=(
                Query(f"sum(rate(dojo_gateway_registry_errors_total{RATE}))", "registry polls"),
                Query(
                    f"sum by (task) (rate(dojo_gateway_background_errors_total{RATE}))",
                    "{{task}} restarted",
                ),
                Query(f"sum(rate(dojo_gateway_model_rejected_total{RATE}))", "versions rejected"),
                Query(
                    f"sum by (reason) (rate(dojo_gateway_worker_restarts_total{RATE}))",
                    "worker {{reason}}",
                ),
            ),
            unit="ops",
            minimum=0,
            links=(runbook("ModelRejected"),),
        ),
    ),
)

SELF = Row(
    "Monitoring itself",
    (
        time_series(
            title="World time not judged yet",
            description=(
                "Time from the end of the newest judged window to the world's now, by "
                "window. An hour or a day, plus the lateness, is normal. Beyond that, the "
                "monitor is down or behind."
            ),
            queries=(
                Query(
                    "scalar(dojo_world_emitted_until_timestamp_seconds) - min by (window)"
                    " (dojo_monitor_judged_until_timestamp_seconds)",
                    "{{window}}",
                ),
            ),
            unit="dtdurations",
            minimum=0,
            links=(
                runbook("MonitorBehind"),
                runbook("MonitorStuck"),
            ),
        ),
        time_series(
            title="Events that monitor and responder have yet to read",
            description=(
                "These numbers must return to 0. If they grow, the process is down, or slower than"
                " the traffic."
            ),
            queries=(
                Query("sum by (stream) (dojo_monitor_lag_messages)", "monitor: {{stream}}"),
                Query("sum by (stream) (dojo_responder_lag_messages)", "responder: {{stream}}"),
            ),
            unit="short",
            minimum=0,
            links=(runbook("EventLogLag"),),
        ),
        time_series(
            title="Since the dead-man's switch last rang",
            description=(
                "Prometheus sends it through Alertmanager for ever. After minutes without "
                "it, alerts do not arrive, and silence means nothing."
            ),
            queries=(Query("time() - dojo_receiver_watchdog_timestamp_seconds", "silence"),),
            unit="s",
            minimum=0,
            links=(runbook("Watchdog"),),
        ),
        time_series(
            title="Alerts that reached people",
            description=(
                "Per second, by receiver (chat for warnings, pager for criticals). Also "
                "shown are alerts that could not be read or stored in the inbox. `dojo "
                "alerts` shows them as they were sent."
            ),
            queries=(
                Query(
                    "sum by (receiver, status)"
                    f' (rate(dojo_receiver_alerts_total{{receiver!="watchdog"}}{RATE}))',
                    "{{receiver}}: {{status}}",
                ),
                Query(
                    f'sum(rate(dojo_dead_letters_total{{job="receiver"}}{RATE}))', "not readable"
                ),
                Query(f"sum(rate(dojo_receiver_undelivered_total{RATE}))", "not delivered yet"),
            ),
            unit="ops",
            minimum=0,
            links=(runbook("NotificationsFailing"),),
        ),
        time_series(
            title="Rounds that failed",
            description=(
                "Failed rounds of monitor and responder, by cause. Each is repeated. "
                "Meanwhile there are no verdicts, or no actions."
            ),
            queries=(
                Query(
                    f"sum by (cause) (rate(dojo_monitor_failures_total{RATE}))",
                    "monitor: {{cause}}",
                ),
                Query(
                    f"sum by (cause) (rate(dojo_responder_failures_total{RATE}))",
                    "responder: {{cause}}",
                ),
            ),
            unit="ops",
            minimum=0,
            links=(runbook("MonitorFailing"), runbook("ResponderFailing")),
        ),
        time_series(
            title="What the responder did",
            description=(
                "Actions in the chosen time, by model and result. The audit trail (`dojo "
                "audit list`) has the evidence for each."
            ),
            queries=(
                Query(
                    "sum by (model, action, outcome) (dojo_responder_actions_total)",
                    "{{model}}: {{action}} {{outcome}}",
                ),
                Query("max(dojo_responder_paused)", "paused"),
            ),
            unit="short",
            minimum=0,
            links=(runbook("ResponderPaused"),),
        ),
    ),
)

MACHINE = Row(
    "Machine",
    (
        time_series(
            title="Memory by process",
            description=(
                "Resident bytes. A line that only climbs is a leak. The supervisor does not restart"
                " for it."
            ),
            queries=(Query("sum by (job) (process_resident_memory_bytes)", "{{job}}"),),
            unit="bytes",
            stacked=True,
        ),
        time_series(
            title="Processor by process",
            description=(
                "Cores in use. The gateway's limit is 1, because one process uses one core."
            ),
            queries=(Query(f"sum by (job) (rate(process_cpu_seconds_total{RATE}))", "{{job}}"),),
            unit="none",
            decimals=2,
            stacked=True,
        ),
    ),
)

BOARD = Dashboard(
    uid="dojo-platform",
    title="Dojo: platform",
    description="Does it run, does it serve, and does anything need a person?",
    annotations=marks('model=~".+"'),
    rows=(NOW, SERVING, SELF, MACHINE),
)
