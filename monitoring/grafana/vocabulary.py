"""What our dashboards share: choices at the top, marks on the time axis, the colours of severities, where links lead."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

from dojo.core.severity import APPEARANCES, ORDER, appearance_of, drawn
from monitoring.grafana.schema import Annotation, State, Variable


def state(value: int, word: str) -> State:
    """A number that stands for a state, shown with the state's glyph, word and colour."""
    return State(value, drawn(word).replace("_", " "), appearance_of(word).colour)


# The numbers of dojo_monitor_severity, which exports them as dojo_monitor_severity_level too.
SEVERITIES: Final = tuple(state(value, word) for value, word in enumerate(ORDER, start=-1))

# The colours of dashed lines: thresholds by severity, and what chance alone reaches.
LIMITS: Final = {word: APPEARANCES[word].colour for word in ORDER[2:]}
CHANCE: Final = APPEARANCES["insufficient_data"].colour

MODEL: Final = Variable("model", "Model", "A model that the gateway serves.", "label_values(dojo_model_info, model)")
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
    """Marks for what changes a model's numbers. `models`: a matcher of the label `model`."""
    return (
        Annotation(
            "New versions",
            # A version that did not serve most of the traffic at any time in the two minutes before: promoted, or rolled back to.
            f"dojo_model_info{{{models}}} unless on (model, version) max_over_time(dojo_model_info{{{models}}}[2m] offset 30s)",
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
            f"sum by (model, action, outcome) (increase(dojo_responder_actions_total{{{models}}}[1m])) > 0",
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
    """A link to another dashboard; `variables` are what it is opened with."""
    chosen = "".join(f"&var-{name}={value}" for name, value in variables.items())
    return _link(title, f"/d/{uid}?${{__url_time_range}}{chosen}")


def runbook(alert: str) -> DashboardLink:
    """The runbook of an alert about what a panel shows. Grafana serves them to the browser from where docs/dashboards.md mounts them."""
    return _link(f"Runbook: {alert}", f"/public/runbooks/{alert}.md")


def _link(title: str, url: str) -> DashboardLink:
    """`url` may hold variables: `${__data.fields.alertname}`, `${model}`."""
    return DashboardLink(title).type(DashboardLinkType.LINK).url(url)


def severity_steps(value: str, threshold: str, match: str) -> str:
    """PromQL: how many of the three thresholds each series of `value` is beyond, which is its severity's number.

    Args:
        threshold: selector of the exported thresholds, with room for one more matcher: `dojo_drift_threshold{model="$model", %s}`.
        match: labels that both have.
    """
    selectors = [threshold % f'severity="{severity}"' for severity in LIMITS]
    return " + ".join(f"({value} > bool on ({match}) group_left () {selector})" for selector in selectors)
