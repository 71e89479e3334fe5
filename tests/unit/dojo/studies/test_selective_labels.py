"""The selective-label experiment: what it hides, and a run that was ended."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from dojo.core.tasks.specs import load_spec
from dojo.studies.results import STORED, Study, Week, read_study
from dojo.studies.run import live_shop
from dojo.studies.selective_labels import BEGIN, SHOPS, SelectiveLabels

SPEC_FILE = Path("models/fraud_detection.yaml")
SPEC = load_spec(SPEC_FILE)
CUSTOMERS = 250


@pytest.fixture(scope="module")
def lived() -> tuple[list[Week], pl.DataFrame]:
    """Return two weeks of a shop in one go, and the outcomes that they leave."""
    shop = SelectiveLabels(SHOPS["releases_5_percent"], SPEC, CUSTOMERS)
    return [shop.live(0), shop.live(1)], shop.outcomes


def test_what_is_declined_has_no_label_and_what_is_released_stands_for_it(
    lived: tuple[list[Week], pl.DataFrame],
) -> None:
    weeks, outcomes = lived
    now = outcomes.filter(pl.col("request_time").dt.date() >= BEGIN)
    hidden = now["label"].null_count()
    released = now.filter(pl.col("weight") > 1)
    assert hidden + released.height == sum(week.flagged for week in weeks)
    assert released["label"].null_count() == 0
    assert set(released["weight"]) == {20.0}
    before = outcomes.filter(pl.col("request_time").dt.date() < BEGIN)
    assert before["label"].null_count() == 0
    assert now.height / 14 == pytest.approx(2 * CUSTOMERS, rel=0.15)
    assert (outcomes["world_time"] > outcomes["request_time"]).all()
    assert (outcomes["world_time"] - outcomes["request_time"]).max() <= timedelta(days=7)


def test_a_run_that_was_ended_goes_on_to_the_same_weeks(
    tmp_path: Path, lived: tuple[list[Week], pl.DataFrame]
) -> None:
    for weeks in (1, 2):
        live_shop("releases_5_percent", SPEC_FILE, tmp_path, weeks, CUSTOMERS, "of")
    found = pl.read_json(tmp_path / "releases_5_percent.json")["weeks"].explode().struct.unnest()
    assert found.rows(named=True) == [
        {name: getattr(week, name) for name in Week.__struct_fields__} for week in lived[0]
    ]
    assert [path.name for path in tmp_path.glob("*.parquet")] == ["releases_5_percent.2.parquet"]


def _mean(study: Study, shop: str, figure: str) -> float:
    weeks = study.shops[shop]
    return sum(getattr(week, figure) for week in weeks) / len(weeks)


def test_the_stored_result_is_a_whole_run_and_says_what_the_docs_say() -> None:
    study = read_study(STORED, Study)
    assert {name: len(weeks) for name, weeks in study.shops.items()} == dict.fromkeys(SHOPS, 26)
    assert _mean(study, "releases_nothing", "believed_catch") == 0, "no caught fraud has a label"
    assert _mean(study, "releases_nothing", "true_catch") > 0.4
    allowed = SPEC.serving.threshold_false_positive_rate
    assert _mean(study, "releases_nothing", "false_positives") > 1.5 * allowed
    for shop in set(SHOPS) - {"releases_nothing"}:
        believed, true = (_mean(study, shop, f"{of}_catch") for of in ("believed", "true"))
        assert believed == pytest.approx(true, abs=0.05)
        assert _mean(study, shop, "false_positives") == pytest.approx(allowed, rel=0.2)
        assert _mean(study, "releases_nothing", "true_pr_auc") < _mean(study, shop, "true_pr_auc")
    euros = {shop: _mean(study, shop, "euro_per_day") for shop in SHOPS}
    assert sorted(euros, key=lambda shop: euros[shop]) == [
        *("releases_20_percent", "releases_nothing", "releases_5_percent", "told_everything")
    ]
    page = Path("docs/decisions.md").read_text()
    for shop in study.shops:
        believed, caught, pr_auc, false, euro = (
            _mean(study, shop, figure)
            for figure in (
                *("believed_catch", "true_catch", "true_pr_auc"),
                *("false_positives", "euro_per_day"),
            )
        )
        title = shop.replace("_", " ").replace(" percent", " %")
        shown = f"{believed:.0%} | {caught:.0%} | {pr_auc:.3f} | {false:.2%} | {euro:,.0f}"
        assert f"| {title} | {shown} |" in page
