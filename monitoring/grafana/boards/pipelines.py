"""Pipelines: events into the lake, arriving labels, retrainings, and losses on the way."""

from __future__ import annotations

from monitoring.grafana.panels import stat, time_series
from monitoring.grafana.schema import Dashboard, Query, Row
from monitoring.grafana.vocabulary import LIMITS, MODEL, marks, runbook, to_dashboard

RATE = "[$__rate_interval]"

EVENTS = Row(
    "From the world to the lake",
    (
        time_series(
            title="Events written to the lake",
            description=(
                "Per second, by stream. Outcomes follow transactions by days of world "
                "time. If a stream is at 0 while the world runs, look at its producer."
            ),
            queries=(
                Query(f"sum by (stream) (rate(dojo_recorder_events_total{RATE}))", "{{stream}}"),
            ),
            unit="ops",
            minimum=0,
        ),
        time_series(
            title="Messages not yet in the lake",
            description=(
                "This number must stay small. Beyond the dashed line the log drops the "
                "oldest messages, and they are lost."
            ),
            queries=(
                Query("sum by (stream) (dojo_recorder_lag_messages)", "{{stream}}"),
                Query(
                    "max(dojo_recorder_stream_limit_messages)",
                    "what the log keeps",
                    limit=LIMITS["critical"],
                ),
            ),
            logarithmic=True,
            unit="short",
            minimum=0,
            links=(runbook("EventLogLag"),),
        ),
        time_series(
            title="Newest event in the lake, behind the world",
            description=(
                "World time, by stream. Predictions may stand still without requests. Transactions"
                " may not."
            ),
            queries=(
                Query(
                    "scalar(dojo_world_emitted_until_timestamp_seconds) - max by (stream)"
                    " (dojo_recorder_newest_world_timestamp_seconds)",
                    "{{stream}}",
                ),
            ),
            unit="dtdurations",
        ),
        time_series(
            title="Messages set aside, seen twice, not written",
            description=(
                "Messages that are no events come from a faulty producer (`dojo "
                "dead-letters` shows them). Duplicates are normal after a restart. Also shown "
                "are rounds that failed and were repeated."
            ),
            queries=(
                Query(
                    'sum by (stream) (dojo_dead_letters_total{job="recorder"})',
                    "set aside: {{stream}}",
                ),
                Query("sum by (stream) (dojo_recorder_duplicates_total)", "duplicates: {{stream}}"),
                Query("sum by (cause) (dojo_recorder_failures_total)", "failed: {{cause}}"),
            ),
            unit="short",
            minimum=0,
            links=(
                runbook("EventsRejected"),
                runbook("RecorderFailing"),
            ),
        ),
        time_series(
            title="Time to write a file",
            description=(
                "99th percentile by stream, fsync included. Values beyond a second point to the"
                " disk."
            ),
            queries=(
                Query(
                    "histogram_quantile(0.99, sum by (le, stream)"
                    f" (rate(dojo_recorder_write_seconds_bucket{RATE})))",
                    "{{stream}}",
                ),
            ),
            unit="s",
            minimum=0,
        ),
        time_series(
            title="The gateway's prediction log",
            description=(
                "Events waiting in memory, and events lost. They wait while Redis is away "
                "or slow. They are lost when the spool on disk is full too. Lost "
                "predictions can never be explained."
            ),
            queries=(
                Query("sum(dojo_prediction_log_buffered_events)", "waiting"),
                Query("sum(dojo_prediction_log_dropped_total)", "lost"),
                Query("sum(dojo_prediction_log_written_total)", "written since its start"),
            ),
            unit="short",
            minimum=0,
            links=(runbook("PredictionLogDropping"),),
        ),
        time_series(
            title="The gateway's spool",
            description=(
                "Prediction events on disk while Redis is away. At the dashed line events are lost."
            ),
            queries=(
                Query("sum(dojo_prediction_log_spooled_bytes)", "on disk"),
                Query(
                    "sum(dojo_prediction_log_spool_limit_bytes)",
                    "room for",
                    limit=LIMITS["critical"],
                ),
            ),
            unit="bytes",
            minimum=0,
            links=(runbook("SpoolFilling"),),
        ),
        time_series(
            title="Events and labels of the world",
            description="Events appended per second, and attempts that failed and were repeated.",
            queries=(
                Query(f"rate(dojo_world_events_total{RATE})", "{{stream}}"),
                Query(f"rate(dojo_world_outcomes_total{RATE})", "labels"),
                Query(f"rate(dojo_world_append_failures_total{RATE})", "failed attempts"),
            ),
            unit="ops",
            minimum=0,
        ),
    ),
)

LABELS = Row(
    "Labels",
    (
        time_series(
            title="Delay of labels",
            description=(
                "Median delay of arriving labels divided by the spec's expected delay, "
                "against its thresholds (dashed). As it grows, performance is judged later "
                "and retraining sees less. Ask the team that writes outcomes."
            ),
            queries=(
                Query(
                    'max by (window, subject) (dojo_monitor_value{model="$model",'
                    ' check="label_delay"})',
                    "{{subject}} ({{window}})",
                ),
                *(
                    Query(
                        'max(dojo_monitor_threshold{model="$model", check="label_delay",'
                        f' severity="{name}"}})',
                        name,
                        limit=color,
                    )
                    for name, color in LIMITS.items()
                ),
            ),
            unit="short",
            minimum=0,
            links=(runbook("LabelsLate"),),
        ),
        time_series(
            title="Events that the monitor counted",
            description=(
                "Per second, by stream. Also shown are messages set aside as no events, "
                "duplicates, and events for a closed day."
            ),
            queries=(
                Query(f"sum by (stream) (rate(dojo_monitor_events_total{RATE}))", "{{stream}}"),
                Query(
                    f'sum by (stream) (rate(dojo_dead_letters_total{{job="monitor"}}{RATE}))',
                    "set aside: {{stream}}",
                ),
                Query(
                    f"sum by (stream) (rate(dojo_monitor_duplicates_total{RATE}))",
                    "seen before: {{stream}}",
                ),
                Query(
                    f"sum by (stream) (rate(dojo_monitor_too_late_total{RATE}))",
                    "too late: {{stream}}",
                ),
            ),
            unit="ops",
            minimum=0,
        ),
    ),
)

RETRAINING = Row(
    "Retraining",
    (
        time_series(
            title="Retrainings by how they ended",
            description=(
                "Number since the trainer started. `failed` and `refused` told the owner, "
                "with the step's own message. `busy` is tried again."
            ),
            queries=(
                Query('sum by (outcome) (dojo_trainer_runs_total{model="$model"})', "{{outcome}}"),
            ),
            unit="short",
            minimum=0,
            links=(
                runbook("RetrainingFailed"),
                to_dashboard("Rollout", "dojo-rollout", model="${model}"),
            ),
        ),
        time_series(
            title="Since the latest retraining was asked for, and since one ended",
            description=(
                "World time, against the spec's schedule (dashed). If the last request is "
                "too old, the trainer is down. If a request has no end, it waits in "
                "Airflow."
            ),
            queries=(
                Query('max(dojo_trainer_last_age_seconds{model="$model"})', "asked for"),
                Query('max(dojo_trainer_finished_age_seconds{model="$model"})', "ended"),
                Query(
                    'max(dojo_trainer_schedule_seconds{model="$model"})',
                    "schedule",
                    limit=LIMITS["critical"],
                ),
            ),
            unit="dtdurations",
            minimum=0,
            links=(runbook("RetrainingOverdue"),),
        ),
        time_series(
            title="DAG runs that failed for good",
            description=(
                "Number in this world, by DAG, after the runs' own retries. Each told the "
                "owner. Airflow's page of the run has the step's log."
            ),
            queries=(Query("max by (dag) (dojo_dag_failed_runs)", "{{dag}}"),),
            unit="none",
            minimum=0,
            links=(runbook("DagFailed"),),
        ),
        time_series(
            title="Age of the champion's training data",
            description=(
                "World time, against the ages for warning, severe and critical in the spec "
                "(dashed). It falls when a challenger wins. A straight line across weekly "
                "retrainings means that none wins. See `dojo gate show`."
            ),
            queries=(
                Query('max(dojo_model_age_seconds{model="$model"})', "age"),
                *(
                    Query(
                        f'max(dojo_model_maximum_age_seconds{{model="$model", severity="{name}"}})',
                        name,
                        limit=color,
                    )
                    for name, color in LIMITS.items()
                ),
            ),
            unit="dtdurations",
            minimum=0,
            links=(runbook("ModelStale"),),
        ),
        time_series(
            title="Work orders",
            description=(
                "Evaluations, retrainings and drift reports that others ordered from the "
                "trainer, by result, since it started."
            ),
            queries=(
                Query(
                    'sum by (task, outcome) (dojo_trainer_orders_total{model="$model"})',
                    "{{task}}: {{outcome}}",
                ),
            ),
            unit="short",
            minimum=0,
        ),
        time_series(
            title="What the responder asked for",
            description="Actions by result, since the responder started.",
            queries=(
                Query(
                    'sum by (action, outcome) (dojo_responder_actions_total{model="$model"})',
                    "{{action}}: {{outcome}}",
                ),
            ),
            unit="short",
            minimum=0,
        ),
        stat(
            title="Action in flight",
            description=(
                "1 while one of the responder's actions runs for this model. There is never a"
                " second one."
            ),
            queries=(Query('max(dojo_responder_in_flight{model="$model"})', "in flight"),),
            unit="none",
            width=6,
        ),
        stat(
            title="Rollouts started",
            description="Number in the chosen time.",
            queries=(
                Query(
                    'sum(increase(dojo_rollout_started_total{model="$model"}[$__range]))', "started"
                ),
            ),
            unit="none",
            decimals=0,
            width=6,
        ),
    ),
)

BOARD = Dashboard(
    uid="dojo-pipelines",
    title="Dojo: pipelines",
    description=(
        "Do events reach the lake, do labels arrive, do retrainings run, and what is lost on the"
        " way?"
    ),
    variables=(MODEL,),
    annotations=marks('model="$model"'),
    rows=(EVENTS, LABELS, RETRAINING),
)
