"""The study of bandits: late labels, a run that was ended, and the stored result."""

from __future__ import annotations

from pathlib import Path

import pytest

from dojo.core.tasks.specs import load_spec
from dojo.studies import bandit_run
from dojo.studies.bandit_run import live_town
from dojo.studies.bandit_view import NAMES, TITLES, row_of
from dojo.studies.bandits import DAYS, POINT_DAYS, POLICIES, SCENARIOS, Town, live
from dojo.studies.results import STORED_BANDITS, BanditStudy, read_study

SPEC_FILE = Path("models/banner.yaml")
LIMITS = load_spec(SPEC_FILE).bandit
STUDY = read_study(STORED_BANDITS, BanditStudy)


@pytest.fixture(scope="module")
def town() -> Town:
    return Town(1, wears_out=False, days=16, customers=1500)


def test_without_labels_a_bandit_is_an_equal_split(town: Town) -> None:
    assert LIMITS is not None
    blind = live("thompson", SCENARIOS["45_days"], town, LIMITS, 1)
    assert blind.shares == [0.25] * 4
    seeing = live("thompson", SCENARIOS["half_an_hour"], town, LIMITS, 1)
    assert max(seeing.shares) > 0.8
    assert seeing.regret[-1] < 0.7 * blind.regret[-1]


def test_a_finished_town_is_not_lived_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived = live_town("45_days", 1, SPEC_FILE, tmp_path, 8, 200, "of")
    assert set(lived.policies) == set(POLICIES)
    monkeypatch.setattr(bandit_run, "live_all", None)
    assert live_town("45_days", 1, SPEC_FILE, tmp_path, 8, 200, "of") == lived
    with pytest.raises(TypeError):
        live_town("45_days", 1, SPEC_FILE, tmp_path, 8, 200, "of another spec")


def lost(scenario: str, policy: str) -> float:
    return STUDY.scenarios[scenario][policy].regret[-1]


def test_the_stored_result_is_a_whole_run() -> None:
    assert set(STUDY.scenarios) == set(SCENARIOS) == set(TITLES)
    assert (STUDY.days, STUDY.point_days) == (DAYS, POINT_DAYS)
    for curves in STUDY.scenarios.values():
        assert set(curves) == set(POLICIES) == set(NAMES)
        assert {len(curve.regret) for curve in curves.values()} == {DAYS // POINT_DAYS}


def test_the_stored_result_says_what_the_page_says() -> None:
    for fast in ("half_an_hour", "2_days"):
        assert lost(fast, "linear") < lost(fast, "thompson") < lost(fast, "ab_test")
        assert lost(fast, "thompson_guarded") > lost(fast, "ab_test"), "floors have a price"
    gain = {name: lost(name, "ab_test") - lost(name, "thompson") for name in SCENARIOS}
    assert gain["45_days"] / lost("45_days", "ab_test") < 0.25
    worn = STUDY.scenarios["half_an_hour_worn"]["thompson"].regret
    assert worn[-1] - worn[len(worn) // 2 - 1] > 3 * worn[len(worn) // 2 - 1]
    page = Path("docs/designs/d11-bandits.md").read_text()
    for name in SCENARIOS:
        for policy in POLICIES:
            row = row_of(policy, STUDY.scenarios[name][policy], STUDY)
            assert f"| {' | '.join(row)} |" in page
