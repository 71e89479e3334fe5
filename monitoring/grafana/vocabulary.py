"""The parts that our dashboards share: choices, marks on the time axis, colours, links."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

from dojo.core.severity import APPEARANCES, ORDER, appearance_of, drawn
from monitoring.grafana.schema import Annotation, State, Variable


def state(value: int, word: str) -> State:
    """Return a number's state, shown with the state's glyph, word and colour."""
    return State(value, drawn(word).replace("_", " "), appearance_of(word).colour)


# The numbers of dojo_monitor_severity. They are also exported as dojo_monitor_severity_level.
SEVERITIES: Final = tuple(state(value, word) for value, word in enumerate(ORDER, start=-1))

# The colours of dashed lines, for thresholds by severity and for chance alone.
LIMITS: Final = {word: APPEARANCES[word].colour for word in ORDER[2:]}
CHANCE: Final = APPEARANCES["insufficient_data"].colour

MODEL: Final = Variable(
    "model", "Model", "A model that the gateway serves.", "label_values(dojo_model_info, model)"
)
VERSION: Final = Variable(
    "version",
    "Version",
    "Versions that answered in the chosen time.",
    'label_values(dojo_gateway_predictions_total{model="$model"}, version)',
    all_of_them=True,
)
WINDOW: Final = Variable(
    "window",
    "Window",
    "Windows of world time: an hour shows sudden drift, a day gradual drift.",
    'label_values(dojo_drift_psi{model="$model"}, window)',
)


def marks(models: str) -> tuple[Annotation, ...]:
    """Return marks for events that change a model's numbers.

    Args:
        models: A matcher of the label `model`.
    """
    return (
        Annotation(
            "New versions",
            # A version that served most of the traffic at no time in the two minutes before. It was
            # promoted, or rolled back to.
            f"dojo_model_info{{{models}}} unless on (model, version)"
            f" max_over_time(dojo_model_info{{{models}}}[2m] offset 30s)",
            "Version {{version}} serves",
            "{{model}}",
            "blue",
        ),
        Annotation(
            "Rollbacks",
            f"increase(dojo_rollout_rolled_back_total{{{models}}}[1m]) > 0",
            "Rollout taken back",
            "{{model}}",
            "red",
        ),
        Annotation(
            "Actions of the responder",
            "sum by (model, action, outcome)"
            f" (increase(dojo_responder_actions_total{{{models}}}[1m])) > 0",
            "Responder: {{action}}",
            "{{model}}: {{outcome}}",
            "purple",
        ),
        Annotation(
            "Alerts",
            'ALERTS{alertstate="firing", severity=~"warning|critical"}',
            "{{alertname}}",
            "{{severity}} {{model}}",
            "orange",
        ),
    )


def to_dashboard(title: str, uid: str, **variables: str) -> DashboardLink:
    """Return a link to another dashboard.

    Args:
        variables: The dashboard opens with these values.
    """
    chosen = "".join(f"&var-{name}={value}" for name, value in variables.items())
    return _link(title, f"/d/{uid}?${{__url_time_range}}{chosen}")


def runbook(alert: str) -> DashboardLink:
    """Return a link to the runbook of an alert.

    Grafana serves runbooks to the browser from their mount in docs/dashboards.md.
    """
    return _link(f"Runbook: {alert}", f"/public/runbooks/{alert}.md")


def _link(title: str, url: str) -> DashboardLink:
    """Return a link. `url` may hold variables: `${__data.fields.alertname}`, `${model}`."""
    return DashboardLink(title).type(DashboardLinkType.LINK).url(url)


def severity_steps(value: str, threshold: str, match: str) -> str:
    """Return PromQL for the severity of each series of `value`.

    Its number is the number of thresholds below the value.

    Args:
        threshold: Selector of the exported thresholds, with room for one more matcher, such as
            `dojo_drift_threshold{model="$model", %s}`.
        match: Labels that both have.
    """
    selectors = [threshold % f'severity="{severity}"' for severity in LIMITS]
    return " + ".join(
        f"({value} > bool on ({match}) group_left () {selector})" for selector in selectors
    )
