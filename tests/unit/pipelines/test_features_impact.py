"""Which models a change of a view or a feature touches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dojo.core.tasks.specs import load_spec
from pipelines.features.catalog_report import impact

FRAUD = load_spec(Path("models", "fraud_detection.yaml"))


def test_a_view_touches_the_inputs_that_it_holds_and_what_requests_compute_from_them() -> None:
    (found,) = impact("merchant_daily", [FRAUD])
    assert (found.model, found.owner) == ("fraud_detection", "payments-risk")
    assert found.inputs
    assert all(name.startswith("merchant_") for name in found.inputs)
    assert not found.computed, "no formula of a payment reads it"
    (activity,) = impact("customer_activity", [FRAUD])
    assert (activity.inputs, activity.computed) == ((), True), "only formulas read it"


def test_one_feature_and_the_features_of_a_request() -> None:
    (found,) = impact("customer_amount_mean_30d", [FRAUD])
    assert (found.inputs, found.computed) == (("customer_amount_mean_30d",), True)
    (computed,) = impact("payment", [FRAUD])
    assert "amount_to_mean_30d" in computed.inputs


def test_without_a_reading_model_nothing_is_touched_and_an_unknown_name_is_refused() -> None:
    assert impact("customer_daily", []) == []
    with pytest.raises(KeyError):
        impact("customer_dayly", [FRAUD])


def test_the_command_names_every_team_that_shares_a_view() -> None:
    def dojo(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dojo", "features", "impact", *arguments],
            env={**os.environ, "DOJO_MODELS": "all"},
            capture_output=True,
            text=True,
            check=False,
        )

    found = json.loads(dojo("customer_daily", "--json").stdout)
    assert {one["model"]: one["owner"] for one in found} == {
        "banner": "storefront",
        "churn": "crm",
        "customer_value": "finance-analytics",
        "fraud_detection": "payments-risk",
        "pay_later": "lending",
        "recommendation": "discovery",
        "search_ranking": "search",
    }
    unknown = dojo("customer_dayly")
    assert unknown.returncode == 2
    assert "no view or feature customer_dayly" in unknown.stderr
