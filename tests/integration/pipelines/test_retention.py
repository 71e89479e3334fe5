"""Old days of the lake are deleted once a day, and the audit trail reports them.

Lake and Redis are real.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from dojo.core.lake import Lake
from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import Version
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.audit import AuditTrail
from dojo.core.tasks.specs import LoadedSpecs
from dojo.shop.events import TRANSACTIONS
from pipelines.features.offline import offline_file
from pipelines.retention import Retention, champions_of
from pipelines.training.dataset.collect import Manifest
from tests.support.payments import START, fill_lake, payments, small_spec
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

DAYS = 12
NOW = START + timedelta(days=DAYS)


def keeping(days: int, name: str = "short") -> ModelSpec:
    spec = small_spec(name)
    return spec.model_copy(
        update={"data": spec.data.model_copy(update={"retention": timedelta(days=days)})}
    )


class Shop:
    """A lake of twelve days, and its audit trail."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.lake, self.audit = Lake(directory / "lake"), AuditTrail(Redis.from_url(redis_url))
        self.offline = directory / "features"
        fill_lake(self.lake.root, payments(DAYS), NOW)
        self.champions: dict[str, Manifest] = {}

    def retention(self, *specs: ModelSpec, faults: Mapping[str, str] | None = None) -> Retention:
        loaded = LoadedSpecs({spec.name: spec for spec in specs}, dict(faults or {}))
        return Retention(self.lake, self.offline, loaded, self.audit, self.asked)

    def asked(self) -> Mapping[str, Manifest]:
        return self.champions

    @property
    def first_day(self) -> date:
        span = self.lake.days(TRANSACTIONS)
        assert span is not None
        return span[0]

    def rows(self) -> int:
        return self.lake.scan(TRANSACTIONS).collect().height


@pytest.fixture
def shop(tmp_path: Path, redis_server: RedisServer) -> Shop:
    return Shop(tmp_path, redis_server.url)


def test_days_beyond_the_retention_go_and_the_trail_says_what_went(shop: Shop) -> None:
    rows, partition = shop.rows(), shop.lake.partition(TRANSACTIONS, START.date())
    size = sum(file.stat().st_size for file in partition.glob("*.parquet"))
    shop.retention(keeping(DAYS - 1)).daily(NOW)
    assert shop.first_day == START.date() + timedelta(days=1)
    assert not partition.exists()
    (entry,) = shop.audit.entries()
    gone = entry.before["transactions"]
    assert (entry.kind, entry.who, entry.world_time) == ("data", "materializer", NOW)
    assert (gone["first"], gone["last"], gone["days"]) == (
        f"{START:%Y-%m-%d}",
        f"{START:%Y-%m-%d}",
        1,
    )
    assert (gone["rows"], gone["bytes"]) == (rows - shop.rows(), size)
    assert gone["rows"] > 0
    assert entry.why == f"data.retention of short, {DAYS - 1}d, is the longest of 1 models"
    assert "reproduced" not in entry.what


def test_the_longest_retention_of_the_models_that_share_the_lake_holds(shop: Shop) -> None:
    shop.retention(keeping(3), keeping(8, "long")).daily(NOW)
    assert shop.first_day == NOW.date() - timedelta(days=8)
    assert "retention of long, 8d" in next(shop.audit.entries()).why


def test_it_acts_once_a_day_and_a_day_without_anything_too_old_leaves_no_entry(shop: Shop) -> None:
    retention = shop.retention(keeping(DAYS - 1))
    retention.daily(NOW)
    shop.retention(keeping(DAYS - 1)).daily(NOW)  # after a restart
    assert shop.audit.length() == 1
    fill_lake(shop.lake.root, payments(DAYS), NOW)  # late rows for the deleted day
    retention.daily(NOW + timedelta(hours=23))
    assert shop.first_day == START.date()
    retention.daily(NOW + timedelta(days=1))
    assert shop.audit.length() == 2
    assert shop.first_day == START.date() + timedelta(days=2)


def test_a_deletion_that_was_cut_short_is_finished_and_recorded_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = shop.retention(keeping(DAYS - 1))
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "delete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            killed.daily(NOW)
    assert shop.audit.length() == 1, "the entry comes before the deletion"
    assert shop.first_day == START.date()
    shop.retention(keeping(DAYS - 1)).daily(NOW)
    assert shop.first_day == START.date() + timedelta(days=1)
    assert shop.audit.length() == 1


def test_a_champion_that_loses_pinned_files_is_named_in_the_entry(shop: Shop) -> None:
    files = tuple(shop.lake.manifest(TRANSACTIONS, START.date(), NOW.date()))
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    manifest = Manifest(
        model="short",
        warm_up=moment,
        start=moment,
        end=moment,
        as_of=moment,
        streams={TRANSACTIONS: files},
    )
    shop.champions = {
        "short@3": manifest,
        "other@1": Manifest(
            **{
                **{f: getattr(manifest, f) for f in manifest.__struct_fields__},
                "streams": {TRANSACTIONS: files[-1:]},
            }
        ),
    }
    shop.retention(keeping(DAYS - 2)).daily(NOW)
    (entry,) = shop.audit.entries()
    assert (
        "short@3 cannot be reproduced any more, 2 of its pinned files are among them" in entry.what
    )
    assert "other@1" not in entry.what


def test_nothing_is_deleted_while_a_spec_is_wrong(shop: Shop) -> None:
    fault = "models/long.yaml:9: data.retention: expected a duration"
    held = shop.retention(keeping(3), faults={"long": fault})
    held.daily(NOW)
    assert shop.first_day == START.date()
    assert "the spec of long is wrong" in held.held_back
    assert fault in held.held_back
    shop.retention(keeping(3)).daily(NOW)
    assert shop.first_day > START.date()


def test_nothing_is_deleted_while_the_registry_cannot_say_what_champions_need(shop: Shop) -> None:
    def away() -> Mapping[str, Manifest]:
        raise RegistryUnavailableError("MLflow does not answer")

    retention = Retention(
        shop.lake, shop.offline, LoadedSpecs({"short": keeping(3)}, {}), shop.audit, away
    )
    with pytest.raises(RegistryUnavailableError):
        retention.daily(NOW)
    assert shop.first_day == START.date()
    assert shop.audit.length() == 0


def test_what_was_computed_from_the_lake_goes_with_it(shop: Shop) -> None:
    kept, gone = (
        offline_file(shop.offline, "customer_daily", NOW.date() - timedelta(days=back))
        for back in (2, 5)
    )
    for file in (kept, gone):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    expired = shop.retention(keeping(3)).delete(NOW)
    assert expired.features == 1
    assert (kept.exists(), gone.exists()) == (True, False)
    (entry,) = [entry for entry in shop.audit.entries() if entry.kind == "data"]
    assert "1 files of the offline store" in entry.what


def test_a_champion_whose_record_cannot_be_read_stops_no_deletion(shop: Shop) -> None:
    registry = Registry()
    assert champions_of(registry, {"short": keeping(3)}) == {}  # type: ignore[arg-type]
    assert registry.asked == ["short"]


class Registry:
    """A registry with a champion, whose run lost its files."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def by_alias(self, model: str, alias: str) -> Version:
        self.asked.append(model)
        return Version(
            model=model, version="1", run_id="r", source="", tags=VersionTags(), aliases=(alias,)
        )

    def download_run_artifact(self, version: Version, path: str, directory: Path) -> Path:
        raise FileNotFoundError(path)
