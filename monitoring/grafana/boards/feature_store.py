"""Feature store: fresh values, lookups in time, and the same values in serving and training."""

from __future__ import annotations

from monitoring.grafana.panels import share_of_limit, stat, state_timeline, time_series
from monitoring.grafana.schema import Dashboard, Query, Row
from monitoring.grafana.vocabulary import LIMITS, MODEL, marks, runbook, state

RATE = "[$__rate_interval]"

FRESHNESS = Row(
    "Freshness",
    (
        share_of_limit(
            title="Age of each view, of its SLA",
            description=(
                "World time since the view's values were complete, as a share of its "
                "freshness SLA (`dojo features catalog`). A full bar is stale. Batch views "
                "wait for the materializer, streaming views for the streamer. Both are "
                "below."
            ),
            queries=(
                Query(
                    "max by (view) (dojo_feature_age_seconds) / max by (view)"
                    " (dojo_feature_sla_seconds)",
                    "{{view}}",
                ),
            ),
            links=(
                runbook("FeatureViewStale"),
                runbook("MaterializationLate"),
            ),
        ),
        time_series(
            title="Age of each view",
            description=(
                "World time. Batch views rise for a day and fall when the night's values "
                "arrive. Streaming views stay low."
            ),
            queries=(Query("max by (view) (dojo_feature_age_seconds)", "{{view}}"),),
            unit="dtdurations",
            minimum=0,
        ),
        time_series(
            title="Values served beyond their SLA",
            description=(
                "Per second, by view. The gateway answers with old values and notes it in the"
                " prediction log."
            ),
            queries=(
                Query(f"sum by (view) (rate(dojo_gateway_stale_features_total{RATE}))", "{{view}}"),
            ),
            unit="ops",
            minimum=0,
        ),
        time_series(
            title="Requests without a view's values",
            description=(
                "Rise of the share of requests without values, by view, against the spec's "
                "thresholds (dashed). The reference already contains new customers. A rise "
                "beyond it means that values were lost or never written."
            ),
            queries=(
                Query(
                    'max by (window, subject) (dojo_monitor_value{model="$model",'
                    ' check="data_quality"})',
                    "{{subject}} ({{window}})",
                ),
                *(
                    Query(
                        'max(dojo_monitor_threshold{model="$model", check="data_quality",'
                        f' severity="{name}"}})',
                        name,
                        limit=color,
                    )
                    for name, color in LIMITS.items()
                ),
            ),
            unit="percentunit",
            links=(runbook("DataQualityProblem"),),
        ),
    ),
)

LOOKUPS = Row(
    "Lookups",
    (
        time_series(
            title="Time of a lookup",
            description=(
                "Wall time of one request's feature lookup, also of failed ones. Healthy "
                "lookups take less than 5 ms. A flat line at the spec's feature_timeout "
                "means that the store hangs. The breaker then opens."
            ),
            queries=(
                *(
                    Query(
                        f"histogram_quantile({q}, sum by (le)"
                        f' (rate(dojo_gateway_layer_seconds_bucket{{layer="lookup"}}{RATE})))',
                        name,
                    )
                    for q, name in ((0.5, "median"), (0.99, "p99"))
                ),
                Query(
                    'dojo_gateway_feature_timeout_seconds{model="$model"}',
                    "given up after",
                    limit=LIMITS["critical"],
                ),
            ),
            unit="s",
            minimum=0,
            links=(runbook("OnlineStoreSlow"),),
        ),
        time_series(
            title="Answers with features missing",
            description=(
                "Per second, by reason. `cold_start` is a new customer or merchant. The "
                "other reasons lie in the store."
            ),
            queries=(
                Query(f"sum by (reason) (rate(dojo_gateway_degraded_total{RATE}))", "{{reason}}"),
            ),
            unit="ops",
            minimum=0,
        ),
        state_timeline(
            title="Circuit breaker",
            description=(
                "Open after repeated failures of the online store. The gateway then skips "
                "lookups for a moment and answers with last known or default values."
            ),
            queries=(Query("max(dojo_gateway_breaker_open)", "online store"),),
            unit="none",
            states=(state(0, "closed"), state(1, "open")),
            height=4,
            links=(runbook("BreakerOpen"),),
        ),
        stat(
            title="Malformed rows",
            description=(
                "Rows in the online store that were written for other features, in the chosen "
                "time. One of the writers has another release, or is another program."
            ),
            queries=(Query("sum(increase(dojo_gateway_malformed_rows_total[$__range]))", "rows"),),
            unit="none",
            decimals=0,
            width=6,
            links=(runbook("StoredRowsUnreadable"),),
        ),
        stat(
            title="Breaker opened",
            description="Number of times in the chosen time.",
            queries=(Query("sum(increase(dojo_gateway_breaker_opened_total[$__range]))", "times"),),
            unit="none",
            decimals=0,
            width=6,
        ),
    ),
)

SKEW = Row(
    "Training against serving",
    (
        time_series(
            title="Requests served with features that training would not see",
            description=(
                "Share of a day's sampled requests whose logged features differ from the "
                "offline point-in-time values. Dashed lines are the spec's thresholds. A "
                "rise after a deployment means two definitions of one feature. A small "
                "constant share is the streamer's delay."
            ),
            queries=(
                Query(
                    'max by (subject) (dojo_monitor_value{model="$model", check="skew"})',
                    "{{subject}}",
                ),
                *(
                    Query(
                        'max(dojo_monitor_threshold{model="$model", check="skew",'
                        f' severity="{name}"}})',
                        name,
                        limit=color,
                    )
                    for name, color in LIMITS.items()
                ),
            ),
            unit="percentunit",
            minimum=0,
            width=12,
            links=(runbook("TrainingServingSkew"),),
        ),
        time_series(
            title="Measuring it",
            description=(
                "Mean wall time of one measurement, and failed measurements since the "
                "process started. If all fail, skew is unknown, and the alert "
                "MonitoringBlind fires."
            ),
            queries=(
                Query(
                    "sum(increase(dojo_materializer_skew_seconds_sum[$__range])) /"
                    " sum(increase(dojo_materializer_skew_seconds_count[$__range]))",
                    "seconds",
                ),
                Query(
                    'sum by (cause) (dojo_materializer_skew_failures_total{model="$model"})',
                    "failed: {{cause}}",
                ),
            ),
            unit="short",
            minimum=0,
            links=(runbook("MonitoringBlind"),),
        ),
    ),
)

WRITERS = Row(
    "Who writes",
    (
        time_series(
            title="Streamer's delay",
            description=(
                "World seconds between now and the time up to which the streaming views are"
                " complete."
            ),
            queries=(Query("max(dojo_streamer_freshness_seconds)", "delay"),),
            unit="dtdurations",
            minimum=0,
        ),
        time_series(
            title="Streamer's queue",
            description=(
                "Transactions not yet acknowledged, and applied per second. The queue must return"
                " to 0."
            ),
            queries=(
                Query("sum(dojo_streamer_lag_messages)", "waiting"),
                Query(f"sum(rate(dojo_streamer_events_total{RATE}))", "applied per second"),
            ),
            unit="short",
            minimum=0,
        ),
        time_series(
            title="Writing online",
            description=(
                "Wall time of writing one batch's rows (99th percentile), and of one"
                " materialisation (mean)."
            ),
            queries=(
                Query(
                    "histogram_quantile(0.99, sum by (le)"
                    f" (rate(dojo_streamer_write_seconds_bucket{RATE})))",
                    "streamed rows",
                ),
                Query(
                    "sum(increase(dojo_materializer_run_seconds_sum[$__range])) /"
                    " sum(increase(dojo_materializer_run_seconds_count[$__range]))",
                    "materialisation",
                ),
            ),
            unit="s",
            minimum=0,
        ),
        time_series(
            title="Materialisations",
            description=(
                "Successful runs, and failed and repeated ones, since the process started. "
                "One per world day is normal. If none comes while the age of batch views "
                "rises, see `dojo logs materializer`."
            ),
            queries=(
                Query("sum(dojo_materializer_runs_total)", "ended well"),
                Query("sum(dojo_materializer_errors_total)", "failed"),
                Query("sum(dojo_materializer_store_losses_total)", "store found empty"),
                Query("sum(dojo_streamer_errors_total)", "streamer's rounds that failed"),
                Query(
                    'sum(dojo_dead_letters_total{job="streamer"})',
                    "malformed transactions set aside",
                ),
            ),
            unit="short",
            minimum=0,
            links=(
                runbook("MaterializationFailing"),
                runbook("OnlineStoreEmptied"),
            ),
        ),
    ),
)

BOARD = Dashboard(
    uid="dojo-features",
    title="Dojo: feature store",
    description=(
        "Are the values fresh, do lookups arrive in time, and does serving see what training saw?"
    ),
    variables=(MODEL,),
    annotations=marks('model="$model"'),
    rows=(FRESHNESS, LOOKUPS, SKEW, WRITERS),
)
