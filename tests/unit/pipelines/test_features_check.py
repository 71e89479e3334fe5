"""A training set is refused if a feature broke with its past or knows the label.

Drift and skill are no such faults.
"""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl
import pytest

from dojo.core.categories import category_number
from dojo.core.registry.reference_profile import Distribution, ReferenceProfile
from dojo.stats.histograms.binning import information_value
from feature_repo import catalog
from pipelines.training.dataset.features_check import (
    missing_shares,
    require_sound_features,
    training_set,
)
from pipelines.training.errors import InvalidDataError
from tests.support.payments import small_spec, with_checks
from tests.support.profiles import reference_profile

SPEC = small_spec("checked")
FEATURES = catalog.SERVICES[SPEC.feature_service].features
STORED = [
    feature.name for view in catalog.views_of(SPEC.feature_service) for feature in view.features
]
ROWS = 6000


def examples(seed: int, rows: int = ROWS) -> pl.DataFrame:
    """Make examples. One in a hundred is fraud, and no feature knows it."""
    random = np.random.default_rng(seed)
    columns = {
        name: random.lognormal(3, 0.6, rows).astype(np.float32)
        for name in dict.fromkeys((*FEATURES, *STORED))
    }
    return pl.DataFrame({"label": (random.random(rows) < 0.01).astype(np.int8), **columns})


def champion() -> ReferenceProfile:
    past = examples(1)
    profile = reference_profile(FEATURES, past.select(FEATURES).to_numpy(), np.zeros(ROWS))
    return msgspec.structs.replace(profile, missing=missing_shares(past, SPEC.feature_service))


def faults(rows: pl.DataFrame, past: ReferenceProfile | None = None) -> list[str]:
    with pytest.raises(InvalidDataError) as refused:
        require_sound_features(rows, SPEC, past)
    return refused.value.faults


def test_a_sound_training_set_passes_with_and_without_a_champion() -> None:
    require_sound_features(examples(2), SPEC, champion())
    require_sound_features(examples(2), SPEC, None)


@pytest.mark.parametrize(
    ("feature", "bound"),
    [
        ("amount", "2 (spec: training.checks.feature_psi"),
        ("customer_amount_mean_30d", "2 (spec: training.checks.feature_psi"),
        ("merchant_tx_count_7d", "5 (spec: training.checks.count_psi"),
    ],
)
def test_another_unit_of_any_feature_is_refused_and_drift_is_not(feature: str, bound: str) -> None:
    rows = examples(2)
    (fault,) = faults(rows.with_columns(pl.col(feature) * 100), champion())
    assert fault.startswith(
        f"{feature}: expected a distribution near the champion's, PSI at most {bound}), found PSI "
    )
    assert "; mean 2" in fault
    assert "the champion's was 2" in fault
    require_sound_features(rows.with_columns(pl.col(feature) * 1.3), SPEC, champion())


def test_counts_that_are_still_filling_are_no_break() -> None:
    """Counts are a third of the champion's, as in a shop's first months.

    Such a fall of amounts would be refused.
    """
    rows = examples(2)
    require_sound_features(rows.with_columns(pl.col("merchant_tx_count_30d") / 3), SPEC, champion())
    assert faults(rows.with_columns(pl.col("amount") / 3), champion())[0].startswith("amount: ")


def test_every_broken_feature_is_named_at_once() -> None:
    broken = examples(2).with_columns(
        pl.lit(0, dtype=pl.Float32).alias(name) for name in ("amount", "merchant_risk_7d")
    )
    assert [fault.split(":")[0] for fault in faults(broken, champion())] == [
        "merchant_risk_7d",
        "amount",
    ]


def test_a_view_that_the_champion_did_not_read_has_no_past_to_be_held_to() -> None:
    view = catalog.VIEWS["customer_activity"]
    empty = examples(2).with_columns(pl.lit(0.0).alias(feature.name) for feature in view.features)
    assert len(faults(empty, champion())) == 1
    past = champion()
    missing = {name: share for name, share in past.missing.items() if name != view.name}
    require_sound_features(empty, SPEC, msgspec.structs.replace(past, missing=missing))


def test_a_view_without_values_is_refused() -> None:
    view = catalog.VIEWS["customer_activity"]  # none of its values is an input itself
    unknown = (pl.int_range(pl.len()) % 2 == 0).alias("unknown")
    half = examples(2).with_columns(unknown)
    half = half.with_columns(
        pl.when("unknown").then(0).otherwise(pl.col(f.name)).alias(f.name) for f in view.features
    )
    (fault,) = faults(half, champion())
    assert (
        fault == "customer_activity: expected values for all but 30.0% of the examples "
        "(spec: training.checks.missing above the champion's 0.0%), found none for 50.0%"
    )


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), None])
def test_what_is_no_number_is_refused_and_counted(wrong: float | None) -> None:
    one = (
        pl.when(pl.int_range(pl.len()) < 3)
        .then(pl.lit(wrong, dtype=pl.Float32))
        .otherwise(pl.col("amount"))
        .alias("amount")
    )
    assert faults(examples(2).with_columns(one)) == [
        "amount: expected finite numbers, found 3 others"
    ]


@pytest.mark.parametrize("known", [0.6, 1.0])
def test_a_flag_that_only_fraud_carries_is_a_leak(known: float) -> None:
    """The feature knows 60 % of the positives. Its ROC-AUC of 0.8 is that of good features."""
    rows = examples(2)
    told = np.random.default_rng(3).random(ROWS) < known
    leaked = rows.with_columns(
        (pl.col("label") * told).cast(pl.Float32).alias("merchant_fraud_count_14d")
    )
    (fault,) = faults(leaked)
    assert fault.startswith("merchant_fraud_count_14d: expected an information value of at most 5 ")
    assert "(spec: training.checks.information_value)" in fault
    require_sound_features(leaked, with_checks(SPEC, information_value=50), None)


def test_a_strong_but_honest_feature_is_no_leak() -> None:
    """Fraud lies two standard deviations higher, for a ROC-AUC of 0.92."""
    rows = examples(2)
    require_sound_features(
        rows.with_columns((pl.col("amount") * (2 * 0.6 * pl.col("label")).exp()).alias("amount")),
        SPEC,
        None,
    )


def test_features_of_an_older_service_are_not_asked_for() -> None:
    past = champion()
    older = msgspec.structs.replace(
        past, features={**past.features, "no_longer_there": past.features["amount"]}
    )
    require_sound_features(examples(2), SPEC, older)


def test_a_training_set_is_counted_over_the_bins_it_is_given() -> None:
    rows = examples(2)
    found = training_set(rows, SPEC.feature_service, champion().features)
    assert (found.rows, found.label_mean) == (ROWS, pytest.approx(rows["label"].sum() / ROWS))
    assert found.missing == dict.fromkeys(found.missing, 0.0)
    assert {sum(counts) for counts in found.counts.values()} == {ROWS}
    assert found.counts["amount"] == pytest.approx([ROWS / 10] * 10, rel=0.2)


def test_the_information_value_is_the_sum_over_bins_of_siddiqis_formula() -> None:
    """Two bins. The lower one holds 80 of 100 negatives and 20 of 100 positives."""
    values = np.repeat([0.0, 1.0, 0.0, 1.0], [80, 20, 20, 80])
    labels = np.repeat([0, 1], [100, 100])
    assert information_value(values, labels) == pytest.approx(2 * (0.8 - 0.2) * np.log(0.8 / 0.2))
    with pytest.raises(ValueError, match="needs rows on both sides"):
        information_value(values, np.zeros(200, dtype=int))


def test_a_new_category_is_no_break_and_renamed_ones_are() -> None:
    """A version learns new categories from examples, and would never see them if they broke it."""
    known, feature = ("post", "swift"), FEATURES[0]
    past = champion()
    bins = Distribution(edges=(0.5, 1.5), counts=(600, 400, 0), mean=0, std=0, categories=known)
    past = msgspec.structs.replace(past, features={**past.features, feature: bins})

    def carried(*names: str) -> pl.DataFrame:
        numbers = [category_number(name) for name in names] * (ROWS // len(names))
        return examples(2).with_columns(pl.Series(feature, numbers, dtype=pl.Float32))

    require_sound_features(carried("post", "skyhook", "swift", "skyhook"), SPEC, past)
    (fault,) = faults(carried("swift", "swift", "swift", "skyhook"), past)
    assert fault.startswith(f"{feature}: expected a distribution near the champion's")
    (fault,) = faults(carried("Post", "Swift"), past)
    assert "found PSI inf" in fault
