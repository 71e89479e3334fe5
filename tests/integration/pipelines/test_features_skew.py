"""The measured skew: none if serving and training agree, and every planted difference is found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from dojo.core.events.types import Stream
from dojo.core.lake import Lake
from dojo.core.state.skew import SkewMeasurement, latest_skew
from dojo.core.tasks.specs import load_spec
from dojo.shop.events import TRANSACTIONS
from feature_repo.catalog import REQUESTS, SERVICES, VIEWS
from feature_repo.store import open_store
from pipelines.features.offline import build_offline
from pipelines.features.point_in_time import point_in_time_rows
from pipelines.features.skew import measure
from services.materializer.metrics import MaterializerMetrics
from services.materializer.skew_watch import SkewWatch
from tests.support.further_features import HABITS_V1
from tests.support.payments import START, fill_lake, outcomes_of, payments, transactions_of
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

SERVICE = "fraud_detection_v1"
FEATURES = SERVICES[SERVICE].features
REQUEST = REQUESTS["payment"]
DAY = START + timedelta(days=44)
AS_OF = DAY + timedelta(days=1, hours=7)
Change = Callable[[pl.DataFrame], pl.DataFrame]


class Shop:
    """46 days of a small shop, with one day of predictions as a serving without skew makes them."""

    def __init__(self, home: Path) -> None:
        rows = payments(46)
        self.home = home
        fill_lake(home / "lake", rows, START + timedelta(days=46))
        transactions = transactions_of(rows)
        streams = {TRANSACTIONS: transactions, Stream.OUTCOMES: outcomes_of(rows)}
        build_offline(streams, home / "features", (START + timedelta(days=10)).date(), DAY.date())
        today = pl.col("world_time").is_between(DAY, DAY + timedelta(days=1), closed="left")
        examples = transactions.filter(today).rename({"world_time": "event_timestamp"})
        store = open_store(home / "features", "redis://127.0.0.1:6379", home / "registry.db")
        self.served = point_in_time_rows(store, SERVICE, examples).with_columns(
            asked=pl.col("event_timestamp")
        )
        for view in VIEWS.values():
            visible = pl.read_parquet(
                home / "features" / view.name / "*.parquet", hive_partitioning=False
            )
            key = f"{view.entity}_id"
            seen = visible.select(key, pl.col("event_timestamp").alias(f"{view.name}_at")).sort(
                f"{view.name}_at"
            )
            self.served = self.served.sort("event_timestamp").join_asof(
                seen,
                left_on="event_timestamp",
                right_on=f"{view.name}_at",
                by=key,
                check_sortedness=False,
            )

    def lake(
        self, name: str, change: Change = lambda rows: rows, features: tuple[str, ...] = FEATURES
    ) -> Lake:
        """Make a lake with the day's predictions, `change`d."""
        root = self.home / name
        root.mkdir()
        for stream in (TRANSACTIONS, Stream.OUTCOMES):
            (root / stream).symlink_to(self.home / "lake" / stream)
        lake = Lake(root)
        lake.write(Stream.PREDICTIONS, predictions(change(self.served), features), "part-1")
        return lake


def predictions(served: pl.DataFrame, features: tuple[str, ...] = FEATURES) -> pl.DataFrame:
    def ages(row: dict[str, datetime]) -> str:
        seen = {view: row[f"{view}_at"] for view in VIEWS}
        return msgspec.json.encode(
            {
                view: None if at is None else (row["asked"] - at).total_seconds()
                for view, at in seen.items()
            }
        ).decode()

    rows = served.to_dicts()
    return pl.DataFrame(
        {
            "event_id": [f"prediction-{row['transaction_id']}" for row in rows],
            "world_time": served["asked"],
            "wall_time": served["asked"],
            "prediction_id": served["transaction_id"],
            "request_id": served["transaction_id"],
            "model": ["shop"] * len(rows),
            "version": ["1"] * len(rows),
            "arm": ["champion"] * len(rows),
            "entity_keys": [
                msgspec.json.encode(
                    {"customer": row["customer_id"], "merchant": row["merchant_id"]}
                ).decode()
                for row in rows
            ],
            "feature_names": [list(features)] * len(rows),
            "features": [[float(row[name]) for name in features] for row in rows],
            "feature_age_seconds": [ages(row) for row in rows],
            "score": [0.1] * len(rows),
            "flagged": [False] * len(rows),
            "latency_seconds": [0.001] * len(rows),
            "degraded": served["degraded"]
            if "degraded" in served.columns
            else pl.Series([[]] * len(rows), dtype=pl.List(pl.String)),
            "route_generation": [1] * len(rows),
            "trace_id": [""] * len(rows),
            "propensity": [1.0] * len(rows),
            "cached_seconds": served["cached_seconds"]
            if "cached_seconds" in served.columns
            else pl.Series([None] * len(rows), dtype=pl.Float64),
            "new_categories": ["{}"] * len(rows),
        }
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("skew"))


def measured(lake: Lake, sample: int = 200) -> SkewMeasurement:
    return measure(lake, "shop", SERVICE, DAY.date(), sample, AS_OF)


def test_a_serving_that_gives_what_training_gives_has_no_skew(shop: Shop) -> None:
    found = measured(shop.lake("none"))
    assert (found.sampled, found.rows, found.share) == (len(shop.served), 0, 0.0)
    assert (found.differing, found.late, found.excused, found.examples) == ({}, {}, {}, ())
    assert shop.served["merchant_risk_30d"].sum() > 0
    assert shop.served["customer_tx_count_24h"].sum() > 0


def test_a_service_that_computes_nothing_in_the_request_is_its_own_record(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without recorded events, requests without a payment's id are measured too."""
    monkeypatch.setitem(SERVICES, HABITS_V1.name, HABITS_V1)
    strangers, counted = pl.lit("curl-") + pl.col("transaction_id"), HABITS_V1.features[2]
    right = shop.lake("habits", lambda rows: rows.with_columns(strangers), HABITS_V1.features)
    found = measure(right, "shop", HABITS_V1.name, DAY.date(), 200, AS_OF)
    assert (found.sampled, found.rows, found.differing, found.excused) == (
        len(shop.served),
        0,
        {},
        {},
    )
    assert shop.served[counted].sum() > 0
    wrong = shop.lake(
        "more", lambda rows: rows.with_columns(pl.col(counted) + 1), HABITS_V1.features
    )
    assert measure(wrong, "shop", HABITS_V1.name, DAY.date(), 200, AS_OF).differing == {
        counted: len(shop.served)
    }


def test_cents_for_euros_are_found_in_every_request(shop: Shop) -> None:
    found = measured(shop.lake("cents", lambda rows: rows.with_columns(pl.col("amount") * 100)))
    assert found.share == 1.0
    assert found.differing == {"amount": found.sampled}
    (example,) = found.examples
    assert example.served == pytest.approx(100 * example.offline, rel=1e-5)


def test_one_feature_that_is_computed_differently_is_named_with_its_share(shop: Shop) -> None:
    wrong = pl.when(pl.col("customer_id") < "c3").then(0.0).otherwise("customer_amount_mean_30d")
    found = measured(
        shop.lake("mean", lambda rows: rows.with_columns(wrong.alias("customer_amount_mean_30d")))
    )
    hit = shop.served.filter(
        (pl.col("customer_id") < "c3") & (pl.col("customer_amount_mean_30d") > 0.01)
    )
    assert 0 < len(hit) < len(shop.served)
    assert (found.differing, found.rows) == ({"customer_amount_mean_30d": len(hit)}, len(hit))


def test_a_window_that_counts_its_own_payment_is_found(shop: Shop) -> None:
    leak = pl.col("customer_tx_count_1h") + 1
    found = measured(shop.lake("leak", lambda rows: rows.with_columns(leak)))
    assert (found.share, list(found.differing)) == (1.0, ["customer_tx_count_1h"])


def test_yesterdays_batch_row_is_late_stale_after_half_a_day_and_never_skew(shop: Shop) -> None:
    """Serving goes on with the row of the midnight before. It is compared as it was."""
    store = open_store(shop.home / "features", "redis://127.0.0.1:6379", shop.home / "registry.db")
    paid = shop.served.select(
        "transaction_id", "customer_id", "merchant_id", "event_timestamp", "amount"
    )
    stale = point_in_time_rows(
        store, SERVICE, paid.with_columns(pl.col("event_timestamp") - timedelta(days=1))
    )
    batch = [f.name for view in VIEWS.values() if view.kind == "batch" for f in view.features]
    published = DAY + timedelta(hours=6)
    after = pl.col("event_timestamp") >= published
    rows = shop.served.with_columns(
        *(pl.when(after).then(stale[name]).otherwise(pl.col(name)).alias(name) for name in batch),
        *(
            pl.when(after)
            .then(pl.lit(published - timedelta(days=1)))
            .otherwise(pl.col(f"{view}_at"))
            .alias(f"{view}_at")
            for view in ("customer_daily", "merchant_daily")
        ),
    )
    # The request-time formulas' results for the stale rows.
    wanted = REQUEST.stored
    computed = [
        REQUEST.compute(
            {
                **{n: row[n] for n in wanted},
                "amount": row["amount"],
                "transaction_time": row["event_timestamp"].timestamp(),
            }
        )
        for row in rows.to_dicts()
    ]
    rows = rows.with_columns(
        pl.Series(f.name, [one[f.name] for one in computed]) for f in REQUEST.features
    )
    found = measured(shop.lake("stale", lambda _: rows))
    beyond = rows.filter(pl.col("event_timestamp") > published + timedelta(hours=12))
    late = rows.filter(after)
    assert found.differing == {}
    assert set(found.late) == set(found.stale) == {"customer_daily", "merchant_daily"}
    assert found.late["customer_daily"] == pytest.approx(
        len(late), abs=3
    )  # a customer in the first day has no row yet
    assert found.stale["customer_daily"] == pytest.approx(len(beyond), abs=3)


def test_what_says_itself_that_it_knew_less_is_left_out_and_counted(shop: Shop) -> None:
    degraded = pl.Series(
        "degraded",
        [["cold_start"]] * 7
        + [["features_default", "arm_failed"]] * 3
        + [[]] * (len(shop.served) - 10),
    )
    strangers = pl.Series(
        "transaction_id",
        [
            f"curl-{n}" if n >= len(shop.served) - 4 else t
            for n, t in enumerate(shop.served["transaction_id"])
        ],
    )
    repeated = pl.Series(
        "cached_seconds", [0.0 if 10 <= n < 15 else None for n in range(len(shop.served))]
    )
    found = measured(
        shop.lake("degraded", lambda rows: rows.with_columns(degraded, strangers, repeated))
    )
    assert found.excused == {
        "cold_start": 7,
        "features_default": 3,
        "arm_failed": 3,
        "repeated": 5,
        "not_recorded": 4,
    }
    assert (found.sampled, found.rows) == (len(shop.served) - 19, 0)


def test_a_sample_is_the_same_at_every_call_and_says_how_many(shop: Shop) -> None:
    lake = shop.lake("sample", lambda rows: rows.with_columns(pl.col("amount") * 100))
    first, second = measured(lake, 20), measured(lake, 20)
    assert first == second
    assert (first.sampled, first.rows) == (20, 20)


def test_a_day_without_requests_proves_nothing(shop: Shop) -> None:
    found = measure(
        shop.lake("empty"), "shop", SERVICE, (DAY - timedelta(days=3)).date(), 200, AS_OF
    )
    assert (found.sampled, found.share) == (0, None)


def test_the_watch_measures_each_day_once_and_never_raises(
    shop: Shop, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis, registry = Redis.from_url(redis_server.url, socket_timeout=1), CollectorRegistry()
    spec = load_spec(Path("models/fraud_detection.yaml")).model_copy(update={"name": "shop"})
    now = [0.0]
    watch = SkewWatch(
        shop.lake("watched"), redis, {"shop": spec}, MaterializerMetrics(registry), lambda: now[0]
    )

    def count(name: str) -> float:
        return (
            registry.get_sample_value(
                name, {} if "seconds" in name else {"model": "shop", "cause": "redis"}
            )
            or 0.0
        )

    redis_server.stop()
    watch.look(AS_OF)
    watch.look(AS_OF)
    assert (
        count("dojo_materializer_skew_failures_total") == 1
    )  # the second look came too early for a new try
    redis_server.start()
    now[0] += 61
    watch.look(AS_OF)
    found = latest_skew(redis, "shop").get()
    assert found is not None
    assert (found.day, found.as_of, found.rows) == (DAY, AS_OF, 0)
    watch.look(AS_OF + timedelta(hours=20))
    SkewWatch(
        shop.lake("restarted"), redis, {"shop": spec}, MaterializerMetrics(CollectorRegistry())
    ).look(AS_OF + timedelta(hours=20))
    assert latest_skew(redis, "shop").get() == found
    watch.look(AS_OF + timedelta(days=1))
    later = latest_skew(redis, "shop").get()
    assert later is not None
    assert later.day == datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(days=1)
