"""The catalogue: its modules, its refusals, and the extent of its hash."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from feature_repo import catalog
from feature_repo.services import RequestFeatures
from feature_repo.shop import CUSTOMER_ACTIVITY, CUSTOMER_DAILY
from feature_repo.views import Feature, Window
from tests.support.further_features import HABITS_V1, PULSE, RETURNS_V1


def in_a_process(code: str, modules: str, path: Path = Path()) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "DOJO_FEATURE_MODULES": modules,
        "PYTHONPATH": os.pathsep.join((str(path), ".")),
    }
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


def test_a_named_module_joins_the_catalogue_and_reading_it_stays_cheap() -> None:
    told = in_a_process(
        "import sys; from feature_repo.catalog import *; print(*VIEWS, *SERVICES, *REQUESTS,"
        " *ENTITY_KEYS.values());assert not {'polars', 'pandas', 'feast'} & set(sys.modules)",
        "tests.support.further_features",
    )
    views = "customer_daily merchant_daily customer_activity merchant_activity customer_pulse"
    assert (
        told.stdout.split()
        == (
            f"{views} fraud_detection_v1 returns_v1 habits_v1 payment basket customer_id"
            " merchant_id"
        ).split()
    )


def test_a_module_that_is_not_there_is_named() -> None:
    told = in_a_process("import feature_repo.catalog", "tests.support.nothing_here")
    assert told.returncode != 0
    assert told.stderr.splitlines()[-1].endswith(
        "DOJO_FEATURE_MODULES: No module named 'tests.support.nothing_here'"
    )


def test_one_name_has_one_definition(tmp_path: Path) -> None:
    (tmp_path / "rival.py").write_text(
        "from dataclasses import replace\nfrom feature_repo.shop import CUSTOMER_DAILY\n"
        "VIEWS, SERVICES = (replace(CUSTOMER_DAILY, owner='rival'),), ()\n"
    )
    told = in_a_process("import feature_repo.catalog", "rival", tmp_path)
    assert (
        told.stderr.splitlines()[-1]
        == "ValueError: the view 'customer_daily' is defined twice, and differently"
    )
    same = in_a_process(
        "import feature_repo.catalog",
        "tests.support.further_features,tests.support.further_features",
    )
    assert same.returncode == 0, same.stderr


def test_a_service_needs_the_views_of_its_formulas_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.VIEWS, PULSE.name, PULSE)
    for service in (RETURNS_V1, HABITS_V1):
        monkeypatch.setitem(catalog.SERVICES, service.name, service)
    assert catalog.stored_of("returns_v1") == [(PULSE, "pulse_count_10m"), (PULSE, "pulse_sum_2h")]
    assert catalog.stored_of("returns_v1", ["items_per_visit"]) == [(PULSE, "pulse_count_10m")]
    assert catalog.stored_of("returns_v1", ["pulse_sum_2h"]) == [(PULSE, "pulse_sum_2h")]
    assert catalog.views_of("habits_v1") == (CUSTOMER_DAILY,)


def test_a_view_or_request_that_cannot_be_computed_is_refused() -> None:
    with pytest.raises(ValueError, match="customer_activity: customer_last_amount_1h needs"):
        replace(CUSTOMER_ACTIVITY, value=None)
    with pytest.raises(ValueError, match="no_window needs"):
        replace(CUSTOMER_ACTIVITY, features=(Feature("no_window", "euro", "?"),))
    with pytest.raises(ValueError, match=r"training cannot know \['amount'\]"):
        RequestFeatures(inputs=(Feature("amount", "euro", "?"),))


def test_the_hash_covers_windows_and_the_computing_modules_neighbours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = {catalog.definition_hash()}
    assert catalog.definition_hash() in found
    longer = replace(CUSTOMER_ACTIVITY.features[1], window=Window("count", timedelta(hours=2)))
    monkeypatch.setitem(
        catalog.VIEWS, CUSTOMER_ACTIVITY.name, replace(CUSTOMER_ACTIVITY, features=(longer,))
    )
    found.add(catalog.definition_hash())

    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "elsewhere"
    package.mkdir()
    for name in ("__init__", "daily", "neighbour"):
        (package / f"{name}.py").touch()
    monkeypatch.setitem(
        catalog.VIEWS, CUSTOMER_DAILY.name, replace(CUSTOMER_DAILY, compute="elsewhere.daily:rows")
    )
    found.add(catalog.definition_hash())
    (package / "neighbour.py").write_text("SCALE = 100\n")
    found.add(catalog.definition_hash())
    assert len(found) == 4
