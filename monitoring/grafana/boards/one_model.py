"""One model: the answering version, its speed, its quality, and the monitor's verdicts."""

from __future__ import annotations

from monitoring.grafana.panels import heatmap, share_of_limit, stat, state_timeline, time_series
from monitoring.grafana.schema import Dashboard, Panel, Query, Row
from monitoring.grafana.vocabulary import (
    LIMITS,
    MODEL,
    SEVERITIES,
    VERSION,
    marks,
    runbook,
    to_dashboard,
)

VERSIONS = 'model="$model", version=~"$version"'
RATE = "[$__rate_interval]"

NOW = Row(
    "Now",
    (
        stat(
            title="Serving version",
            description=(
                "The version with most of the traffic. If it is unexpected, the rollout dashboard"
                " shows what happened."
            ),
            queries=(Query('dojo_model_info{model="$model"}', "{{version}}"),),
            unit="none",
            name_only=True,
            links=(to_dashboard("Rollout", "dojo-rollout", model="${model}"),),
        ),
        stat(
            title="Worst verdict",
            description=(
                "The worst verdict over all checks and windows. The timeline below shows "
                "which. Grey means not enough data."
            ),
            queries=(Query('max(dojo_monitor_severity{model="$model"})', "worst"),),
            unit="none",
            states=SEVERITIES,
            links=(to_dashboard("Drift", "dojo-drift", model="${model}"),),
        ),
        share_of_limit(
            title="Age of the training data, of what the spec allows",
            description=(
                "World time since the champion's training data ended, as a share of the "
                "age at which each severity begins. A full bar means that retraining does "
                "not win or does not run. Look at the pipelines dashboard and `dojo gate "
                "show`."
            ),
            queries=(
                Query(
                    'scalar(max(dojo_model_age_seconds{model="$model"})) /'
                    ' dojo_model_maximum_age_seconds{model="$model"}',
                    "{{severity}}",
                ),
            ),
            width=8,
            height=4,
            links=(runbook("ModelStale"),),
        ),
        stat(
            title="Age of the training data",
            description="World time since the champion's training data ended.",
            queries=(Query('max(dojo_model_age_seconds{model="$model"})', "age"),),
            unit="dtdurations",
        ),
        stat(
            title="Predictions per second",
            description="Instances answered per second of wall time.",
            queries=(
                Query(
                    f'sum(rate(dojo_gateway_predictions_total{{model="$model"}}{RATE}))',
                    "predictions",
                ),
            ),
            unit="reqps",
            trend=True,
        ),
        state_timeline(
            title="Verdicts",
            description=(
                "Each check in each window of world time. A warning tells the owner. After "
                "severe, the champion is evaluated. After critical, the responder acts at "
                "once. The marks show its actions."
            ),
            queries=(
                Query(
                    'max by (check, window) (dojo_monitor_severity{model="$model"})',
                    "{{check}} ({{window}})",
                ),
            ),
            unit="none",
            states=SEVERITIES,
            width=24,
            height=10,
            links=(to_dashboard("Drift by feature", "dojo-drift", model="${model}"),),
        ),
    ),
)

TRAFFIC = Row(
    "Traffic",
    (
        time_series(
            title="Predictions by version",
            description=(
                "The versions that answered. Two versions mean a canary or an A/B test. "
                "Version 0 is the spec's fallback, because no version could answer. Look "
                "at the gateway's log and the registry."
            ),
            queries=(
                Query(
                    f"sum by (version) (rate(dojo_gateway_predictions_total{{{VERSIONS}}}{RATE}))",
                    "version {{version}}",
                ),
            ),
            unit="reqps",
            stacked=True,
        ),
        time_series(
            title="Traffic by arm, as the route says",
            description=(
                "Shares of live traffic. Shadows and warm standbys have 0. If it differs "
                "from the panel beside it, the arm fails and another one answers for it."
            ),
            queries=(
                Query('dojo_gateway_arm_weight{model="$model"}', "{{arm}}: version {{version}}"),
            ),
            unit="percentunit",
            minimum=0,
            maximum=1,
        ),
        time_series(
            title="Time to answer",
            description=(
                "Wall time from a request's arrival to its answer. The lines are the "
                "median, the 99th percentile and the spec's objective (dashed). If only "
                "p99 is beyond the objective, look at the online store (feature store "
                "dashboard). If both are, look at the machine, or at too much traffic."
            ),
            queries=(
                *(
                    Query(
                        f"histogram_quantile({q}, sum by (le)"
                        f' (rate(dojo_gateway_request_seconds_bucket{{model="$model"}}{RATE})))',
                        name,
                    )
                    for q, name in ((0.5, "median"), (0.99, "p99"))
                ),
                Query(
                    'dojo_gateway_latency_objective_seconds{model="$model"}',
                    "objective",
                    limit=LIMITS["critical"],
                ),
            ),
            unit="s",
            minimum=0,
        ),
        time_series(
            title="Where an answer's time goes",
            description=(
                "Mean wall time of each layer. decode makes checked instances of bytes, lookup "
                "reads stored features, score makes input vectors and runs the model. log makes, "
                "counts and logs the answers. The rest of the time to answer is waiting for a "
                "turn, and HTTP."
            ),
            queries=(
                Query(
                    "sum by (layer)"
                    f' (rate(dojo_gateway_layer_seconds_sum{{model="$model"}}{RATE}))'
                    " / sum by (layer)"
                    f' (rate(dojo_gateway_layer_seconds_count{{model="$model"}}{RATE}))',
                    "{{layer}}",
                ),
            ),
            unit="s",
            stacked=True,
            minimum=0,
        ),
        time_series(
            title="Instances in a batch",
            description=(
                "Mean number of instances that shared a feature lookup and a run. A spec with "
                "`serving.batching` wants many. At 1 its requests wait for nothing."
            ),
            queries=(
                Query(
                    f'sum(rate(dojo_gateway_batch_rows_sum{{model="$model"}}{RATE}))'
                    f' / sum(rate(dojo_gateway_batch_rows_count{{model="$model"}}{RATE}))',
                    "instances",
                ),
            ),
            unit="short",
            minimum=0,
        ),
        time_series(
            title="Requests answered by an earlier result",
            description=(
                "Share of the requests that an equal request's result answered. It falls to zero "
                "when the route changes. Empty for a model without a `result_cache`."
            ),
            queries=(
                Query(
                    'sum(rate(dojo_gateway_result_cache_requests_total{model="$model",'
                    f' outcome="hit"}}{RATE})) / sum(rate('
                    f'dojo_gateway_result_cache_requests_total{{model="$model"}}{RATE}))',
                    "repeated",
                ),
            ),
            unit="percentunit",
            minimum=0,
            maximum=1,
        ),
        time_series(
            title="Kept results",
            description=(
                "Instances with a kept result, and the results per second that no longer "
                "answer. `expired` is normal. Many of `full` mean that `result_cache.rows` is "
                "too small for the traffic. `route` means that other versions answer now."
            ),
            queries=(
                Query('dojo_gateway_result_cache_rows{model="$model"}', "instances"),
                Query(
                    "sum by (reason)"
                    f' (rate(dojo_gateway_result_cache_removed_total{{model="$model"}}{RATE}))',
                    "{{reason}}",
                ),
            ),
            unit="short",
            minimum=0,
        ),
        time_series(
            title="Answers with something missing",
            description=(
                "Share of answers by what was missing. `cold_start` means new customers "
                "and is normal. `features_last_known` and `features_default` point to the "
                "online store. `arm_failed` means that a version failed and another one "
                "answered. `model_unavailable` means that only the spec's fallback could "
                "answer."
            ),
            queries=(
                Query(
                    f'sum by (reason) (rate(dojo_gateway_degraded_total{{model="$model"}}{RATE})) /'
                    f' scalar(sum(rate(dojo_gateway_predictions_total{{model="$model"}}{RATE})))',
                    "{{reason}}",
                ),
            ),
            unit="percentunit",
            minimum=0,
        ),
    ),
)


def _measure(title: str, description: str, measures: dict[str, str]) -> Panel:
    return time_series(
        title=title,
        description=description,
        queries=tuple(
            Query(
                f'dojo_performance{{{VERSIONS}, measure="{measure}"}}',
                f"{name}, version {{{{version}}}}",
            )
            for measure, name in measures.items()
        ),
        unit="percentunit",
        minimum=0,
        maximum=1,
    )


QUALITY = Row(
    "Quality",
    (
        heatmap(
            title="Scores",
            description=(
                "Number of answers in each range of scores. A band that moves or splits is "
                "prediction drift. Look at input drift first, then at the version's own "
                "rollout."
            ),
            queries=(
                Query(
                    f"sum by (le) (increase(dojo_prediction_score_bucket{{{VERSIONS}}}{RATE}))",
                    "{{le}}",
                    format="heatmap",
                ),
            ),
            unit="short",
        ),
        time_series(
            title="Flagged payments",
            description=(
                "Share of answers above the version's threshold. This is the reviewers' "
                "load, and the first proxy of performance before labels arrive. A doubled "
                "share means fraud, or a feature in the wrong unit."
            ),
            queries=(
                Query(
                    f"sum by (version) (rate(dojo_gateway_flagged_total{{{VERSIONS}}}{RATE})) / "
                    f"sum by (version) (rate(dojo_gateway_predictions_total{{{VERSIONS}}}{RATE}))",
                    "version {{version}}",
                ),
            ),
            unit="percentunit",
            minimum=0,
            links=(runbook("FlaggedRateShift"),),
        ),
        _measure(
            "Positives caught",
            "Share of labelled positives that were flagged, against the holdout's. The newest days"
            " hold only early labels. Empty for a model without flags.",
            {"catch_rate": "live", "holdout_catch_rate": "holdout"},
        ),
        _measure(
            "PR-AUC",
            "Measured on labelled predictions, expected from the scores alone, and the holdout's."
            " The expected value falls first. A measured value below it is concept drift. The world"
            " then changed while the inputs look the same.",
            {"pr_auc": "measured", "expected_pr_auc": "expected", "holdout_pr_auc": "holdout"},
        ),
        _measure(
            "Negatives flagged",
            "False positives as a share of labelled negatives. They fill the reviewers' day. Empty"
            " for a model without flags.",
            {"false_positive_rate": "live"},
        ),
        time_series(
            title="Every figure of labelled answers",
            description=(
                "The measures of the model's task in their own units, with the holdout's. "
                "A binary model has rates, a regression has errors, a ranking has NDCG."
            ),
            queries=(Query(f"dojo_performance{{{VERSIONS}}}", "{{measure}}, version {{version}}"),),
            unit="short",
        ),
        time_series(
            title="Euros that decisions gain",
            description=(
                "Gained minus lost euros a minute of wall time, against a shop without the model."
                " Counted when the truth is due. Below zero the model costs money. Empty while"
                " nothing acts on the answers. `dojo value` has the sums."
            ),
            queries=(
                Query(
                    "60 * (sum by (version)"
                    f" (rate(dojo_value_gained_euro_total{{{VERSIONS}}}{RATE}))"
                    f" - sum by (version) (rate(dojo_value_lost_euro_total{{{VERSIONS}}}{RATE})))",
                    "version {{version}}",
                ),
            ),
            unit="currencyEUR",
            links=(runbook("ModelLosesMoney"),),
        ),
        time_series(
            title="Decisions about flagged requests",
            description=(
                "Decisions a minute of wall time. A declined or reviewed request gets no label. A"
                " released one stands for all flagged ones. Without released ones, nothing tells"
                " whether flags are right."
            ),
            queries=(Query(f"60 * rate(dojo_world_decisions_total{RATE})", "{{action}}"),),
            unit="short",
        ),
        share_of_limit(
            title="Every check, of what is a warning",
            description=(
                "The monitor's measurements divided by the spec's warning threshold. A "
                "full bar is a warning once confirmed. `dojo drift show` has value, "
                "threshold and rows."
            ),
            queries=(
                Query(
                    'max by (check, window, subject) (dojo_monitor_value{model="$model"} / on'
                    ' (model, check) group_left () dojo_monitor_threshold{model="$model",'
                    ' severity="warning"})',
                    "{{check}}: {{subject}} ({{window}})",
                ),
            ),
        ),
    ),
)

BOARD = Dashboard(
    uid="dojo-model",
    title="Dojo: one model",
    description="Who answers, how fast, how well, and what the monitor makes of it.",
    variables=(MODEL, VERSION),
    annotations=marks('model="$model"'),
    rows=(NOW, TRAFFIC, QUALITY),
)
