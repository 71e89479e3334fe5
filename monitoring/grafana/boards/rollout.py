"""Rollout: a challenger's stage, its measurements and limits, and the evidence against it."""

from __future__ import annotations

from monitoring.grafana.panels import share_of_limit, stat, state_timeline, time_series
from monitoring.grafana.schema import Dashboard, Query, Row, State
from monitoring.grafana.vocabulary import LIMITS, MODEL, marks, runbook, state, to_dashboard

THIS = '{model="$model"}'
RATE = "[$__rate_interval]"

# The numbers of dojo_rollout_check (services/rollout/metrics.py: VERDICTS).
VERDICTS = (state(-1, "failed"), state(0, "insufficient_data"), state(1, "ok"))

JOURNEY = Row(
    "The journey",
    (
        state_timeline(
            title="Stage",
            description=(
                "Stage of the latest rollout. If `promoting` or `rolling_back` lasts "
                "longer than a moment, the rollout waits for the registry. `dojo rollout "
                "show` gives the reason."
            ),
            queries=(Query(f"dojo_rollout_stage{THIS}", "{{stage}}"),),
            unit="none",
            states=(State(0, " ", "transparent"), State(1, "here", "blue")),
            width=16,
            height=9,
        ),
        stat(
            title="In this stage for",
            description="World time since traffic followed the stage's route.",
            queries=(Query(f"dojo_rollout_stage_age_seconds{THIS}", "stage age"),),
            unit="dtdurations",
            height=3,
        ),
        stat(
            title="Of the planned time",
            description=(
                "The stage's age divided by the spec's planned time. Empty for stages "
                "without a plan. Far beyond 100 %, a check waits for data (see below)."
            ),
            queries=(
                Query(
                    f"dojo_rollout_stage_age_seconds{THIS} / on (model) (max by (model)"
                    f" (dojo_rollout_stage_time_seconds{THIS} and on (model, stage)"
                    f" (dojo_rollout_stage{THIS} == 1)))",
                    "of the plan",
                ),
            ),
            unit="percentunit",
            height=3,
            links=(runbook("RolloutStuck"),),
        ),
        stat(
            title="Rollouts started",
            description="Number in the chosen time.",
            queries=(Query(f"increase(dojo_rollout_started_total{THIS}[$__range])", "started"),),
            unit="none",
            decimals=0,
            height=3,
        ),
        stat(
            title="Rolled back",
            description=(
                "Number in the chosen time. `dojo rollout show` has the reason for each. Each paged"
                " the owner."
            ),
            queries=(
                Query(f"increase(dojo_rollout_rolled_back_total{THIS}[$__range])", "rolled back"),
            ),
            unit="none",
            decimals=0,
            height=3,
            links=(runbook("RolloutRolledBack"),),
        ),
        time_series(
            title="Traffic by arm",
            description=(
                "Shares of live traffic by the serving route. A shadow has 0 and gets copies."
            ),
            queries=(Query(f"dojo_gateway_arm_weight{THIS}", "{{arm}}: version {{version}}"),),
            unit="percentunit",
            minimum=0,
            maximum=1,
            width=24,
            height=6,
            links=(to_dashboard("The model", "dojo-model", model="${model}"),),
        ),
    ),
)

CHECKS = Row(
    "Checks of the running stage",
    (
        state_timeline(
            title="Verdicts",
            description=(
                "Every check at every look. When all are green and the stage's time is "
                "over, the next stage begins. Grey is insufficient data, which never "
                "promotes. Red rolls back at that look."
            ),
            queries=(Query(f"dojo_rollout_check{THIS}", "{{check}}"),),
            unit="none",
            states=VERDICTS,
            width=24,
            height=9,
        ),
        share_of_limit(
            title="Evidence against the challenger",
            description=(
                "Each sequential check's e-value as a share of the e-value for a rollback. "
                "Any number of looks is valid. An equally good challenger fills a bar with "
                "the spec's `false_alarm` probability at most."
            ),
            queries=(Query(f"dojo_rollout_check_evidence{THIS}", "{{check}}"),),
            height=9,
        ),
        share_of_limit(
            title="Measured values, of their limits",
            description=(
                "The measurements divided by their limits. A full bar without evidence on "
                "the left means too few requests to be sure."
            ),
            queries=(
                Query(
                    f"dojo_rollout_check_value{THIS} / (dojo_rollout_check_limit{THIS} > 0)",
                    "{{check}}",
                ),
            ),
            height=9,
        ),
        time_series(
            title="Evidence over time",
            description=(
                "If it climbs steadily, the challenger is worse and will be rolled back. "
                "Ups and downs below 1 are chance."
            ),
            queries=(
                Query(f"dojo_rollout_check_evidence{THIS}", "{{check}}"),
                Query("vector(1)", "rolls back", limit=LIMITS["critical"]),
            ),
            unit="percentunit",
            minimum=0,
        ),
        time_series(
            title="Requests behind each check",
            description=(
                "Requests of the challenger. A flat line means no traffic for it. Look at "
                "its arm above and at the gateway's route."
            ),
            queries=(Query(f"dojo_rollout_check_requests{THIS}", "{{check}}"),),
            unit="short",
            minimum=0,
        ),
    ),
)

CHALLENGER = Row(
    "The challenger's process",
    (
        time_series(
            title="Shadow copies",
            description=(
                "Mirrored requests answered by the shadow, waiting, and lost. Lost copies "
                "delay no request, but reduce the evidence. The shadow is slower than the "
                "traffic, or Redis was away."
            ),
            queries=(
                Query(f"rate(dojo_gateway_shadow_written_total{THIS}{RATE})", "answered"),
                Query(
                    f"sum by (reason) (rate(dojo_gateway_shadow_dropped_total{THIS}{RATE}))",
                    "lost: {{reason}}",
                ),
                Query(f"dojo_gateway_shadow_buffered{THIS}", "waiting (a count)"),
            ),
            unit="reqps",
            minimum=0,
        ),
        time_series(
            title="Failures that another arm answered for",
            description=(
                "Instances that an arm could not score in time, by reason. The caller got "
                "the champion's answer, or the fallback's."
            ),
            queries=(
                Query(
                    f"sum by (arm, reason) (rate(dojo_gateway_arm_failed_total{THIS}{RATE}))",
                    "{{arm}}: {{reason}}",
                ),
                Query(
                    f"sum by (reason) (rate(dojo_gateway_sandbox_restarts_total{THIS}{RATE}))",
                    "process restarted: {{reason}}",
                ),
            ),
            unit="reqps",
            minimum=0,
        ),
        time_series(
            title="The controller",
            description=(
                "Time of one look, and rounds that failed, by cause. Failed rounds are "
                "repeated. Meanwhile no challenger is judged."
            ),
            queries=(
                Query(
                    "histogram_quantile(0.99, sum by (le)"
                    f" (rate(dojo_rollout_look_seconds_bucket{RATE})))",
                    "p99 of a look",
                ),
            ),
            unit="s",
            minimum=0,
        ),
        stat(
            title="Generation of the route",
            description=(
                "Generation of the gateway's serving route. 0 is the registry's champion. "
                "If `dojo routes show` has another number, the gateway could not serve the "
                "newer route."
            ),
            queries=(Query(f"max(dojo_route_generation{THIS})", "generation"),),
            unit="none",
            links=(runbook("ChampionWithoutTraffic"),),
        ),
        time_series(
            title="Routes that could not be served",
            description=(
                "Failed attempts, malformed routes and rejected versions. After any of "
                "these, the gateway still serves the old route. Its log names the version."
            ),
            queries=(
                Query(f"rate(dojo_gateway_route_failures_total{THIS}{RATE})", "failed"),
                Query(f"rate(dojo_gateway_routes_refused_total{THIS}{RATE})", "malformed"),
                Query(f"rate(dojo_gateway_model_rejected_total{THIS}{RATE})", "version rejected"),
                Query(
                    f"sum by (cause) (rate(dojo_rollout_errors_total{THIS}{RATE}))",
                    "controller's round: {{cause}}",
                ),
            ),
            unit="ops",
            minimum=0,
            links=(runbook("ModelRejected"),),
        ),
    ),
)

BANDIT = Row(
    "The bandit",
    (
        time_series(
            title="Shares of the arms",
            description=(
                "Shares by the last update. A share at its floor belongs to an arm that looks "
                "worse. A share of 0 belongs to a broken one. `dojo bandit show` has the figures."
            ),
            queries=(Query(f"dojo_bandit_share{THIS}", "{{arm}}: version {{version}}"),),
            unit="percentunit",
            minimum=0,
            maximum=1,
        ),
        time_series(
            title="Reward of an answer, euro",
            description=(
                "Mean of the known rewards since the start. Lines that come together mean that the "
                "arms are equally good."
            ),
            queries=(Query(f"dojo_bandit_reward_euro{THIS}", "{{arm}}: version {{version}}"),),
            unit="none",
        ),
        time_series(
            title="Answers without a known reward",
            description=(
                "Answers whose label may still come. If they pile up, labels are late, and the "
                "shares rest on old rewards."
            ),
            queries=(Query(f"dojo_bandit_pending_answers{THIS}", "{{arm}}: version {{version}}"),),
            unit="short",
            minimum=0,
        ),
    ),
)

BOARD = Dashboard(
    uid="dojo-rollout",
    title="Dojo: rollout",
    description=(
        "Where a challenger is, what was measured against which limit, and how strong the evidence"
        " against it is."
    ),
    variables=(MODEL,),
    annotations=marks('model="$model"'),
    rows=(JOURNEY, CHECKS, CHALLENGER, BANDIT),
)
