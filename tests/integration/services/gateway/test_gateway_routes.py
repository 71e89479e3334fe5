"""Following routes: arms of callers, switches under load, and routes that cannot be served."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

import msgspec
import pytest
from redis import Redis

from dojo.core.registry.bundle import MODEL_FILE
from dojo.core.state.draws import Context, ContextInput, Draw
from dojo.core.state.routes import (
    CHALLENGER_ARM,
    CHAMPION_ARM,
    STANDBY_ARM,
    Arm,
    decode_route,
    route_key,
)
from tests.integration.services.gateway.conftest import StartGateway
from tests.integration.services.gateway.test_gateway_models import flip_a_byte, models_dir
from tests.support.bundles import make_bundle, register_champion
from tests.support.gateways import (
    MODEL,
    Callers,
    GatewayServer,
    champion_and,
    generation,
    logged_predictions,
    set_route,
)
from tests.support.registries import sealed_registry
from tests.support.servers import MlflowServer, RedisServer, wait_until

pytestmark = pytest.mark.integration

Versions = dict[str, tuple[Path, str]]
INSTANCE = {"customer_id": "c1", "merchant_id": "m1", "amount": 5.0}
# Quantile of chi-square with one degree of freedom. A right split exceeds it once in 10,000 runs.
CHI_SQUARE_LIMIT = 15.1


def arms_of(gateway: GatewayServer, customers: int) -> list[str]:
    """Return the arm of each customer, asked 500 at a time."""
    arms = []
    for start in range(0, customers, 500):
        instances = [
            {"customer_id": f"k{n}", "merchant_id": "m1", "amount": 5.0}
            for n in range(start, start + 500)
        ]
        arms += [answer["arm"] for answer in gateway.predict(*instances)]
    return arms


def test_a_canary_gets_its_share_of_the_entities_always_the_same_ones_and_keeps_them_while_it_grows(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = start_gateway(breakable_redis.url, versions=versions)
    set_route(breakable_redis.url, "canary", *champion_and("2", 0.1))
    wait_until(lambda: generation(gateway) == 1, 20, "the canary serves")

    customers = 5000
    arms = arms_of(gateway, customers)
    exposed, expected = arms.count(CHALLENGER_ARM), 0.1 * customers
    chi_square = (exposed - expected) ** 2 * (1 / expected + 1 / (customers - expected))
    assert chi_square < CHI_SQUARE_LIMIT, f"{exposed} of {customers} got the canary"
    assert arms_of(gateway, customers) == arms

    set_route(breakable_redis.url, "canary", *champion_and("2", 0.3))
    wait_until(lambda: generation(gateway) == 2, 5, "it has grown")
    grown = arms_of(gateway, customers)
    assert all(
        after == CHALLENGER_ARM
        for before, after in zip(arms, grown, strict=True)
        if before == CHALLENGER_ARM
    )
    assert 0.27 * customers < grown.count(CHALLENGER_ARM) < 0.33 * customers

    set_route(breakable_redis.url, "canary", *champion_and("2", 0.3), salt="another experiment")
    wait_until(lambda: generation(gateway) == 3, 5, "another experiment serves")
    both = sum(
        a == b == CHALLENGER_ARM for a, b in zip(grown, arms_of(gateway, customers), strict=True)
    )
    assert 0.06 * customers < both < 0.12 * customers, (
        "groups of two experiments are independent: 9 % are in both"
    )


def test_a_choice_by_context_can_be_repeated_from_its_event(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = start_gateway(breakable_redis.url, versions=versions)
    context = Context(
        inputs=(ContextInput("amount", 30.0, 10.0),),
        floors={CHAMPION_ARM: 0.2, CHALLENGER_ARM: 0.05},
        draws=(((0.0, 0.0), (0.0, 1.0)), ((0.0, 0.0), (-0.5, 1.0))),
    )
    route = set_route(
        breakable_redis.url,
        "bandit",
        *champion_and("2", 0.5),
        draw=Draw(sticky=False, context=context),
    )
    wait_until(lambda: generation(gateway) == 1, 20, "the bandit serves")
    answers = gateway.predict(
        *(
            {
                "request_id": f"r{n}",
                "customer_id": "c1",
                "merchant_id": "m1",
                "amount": (5.3, 33.3, 60.1)[n % 3],
            }
            for n in range(300)
        )
    )
    wait_until(lambda: len(logged_predictions(breakable_redis.url)) == 300, 10, "all are logged")
    events = {event.request_id: event for event in logged_predictions(breakable_redis.url)}
    for n, answer in enumerate(answers):
        event = events[f"r{n}"]
        arm, propensity = route.at(route.drawn_for("c1", f"r{n}"), event.features)
        assert (answer["arm"], event.arm, event.propensity) == (arm.name, arm.name, propensity)
    shares = [
        sum(answer["arm"] == CHALLENGER_ARM for answer in answers[kind::3]) for kind in range(3)
    ]
    assert shares[0] < 20 < 25 < shares[1] < 60 < shares[2]  # of 100: 5 %, 42.5 % and 80 %


def test_a_request_for_several_arms_is_answered_in_its_order_and_logged_with_each_arm(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = start_gateway(breakable_redis.url, versions=versions)
    set_route(breakable_redis.url, "ab", *champion_and("2", 0.5))
    wait_until(lambda: generation(gateway) == 1, 20, "both arms serve")
    instances = [
        {
            "request_id": f"r{n}",
            "customer_id": f"c{n % 5}",
            "merchant_id": f"m{n % 5}",
            "amount": 10.0 + n,
        }
        for n in range(40)
    ]
    instances += [
        {**instance, "request_id": f"{instance['request_id']}x", "customer_id": f"k{n}"}
        for n, instance in enumerate(instances)
    ]
    together = gateway.predict(*instances)
    apart = [gateway.predict(instance)[0] for instance in instances]
    assert [(a["version"], a["arm"]) for a in together] == [(a["version"], a["arm"]) for a in apart]
    pairs = [
        (one, other)
        for one, other in zip(together, apart, strict=True)
        if one["degraded"] == other["degraded"]
    ]
    assert [one["score"] for one, _ in pairs] == [other["score"] for _, other in pairs]
    assert (
        len(pairs) > len(instances) / 2
    )  # a busy machine may cost a few answers their stored features
    assert {(a["arm"], a["version"]) for a in together} == {
        (CHAMPION_ARM, "1"),
        (CHALLENGER_ARM, "2"),
    }
    assert not any("arm_failed" in (a["degraded"] or ()) for a in together)

    wait_until(
        lambda: len(logged_predictions(breakable_redis.url)) == 2 * len(instances),
        10,
        "all are logged",
    )
    events = {event.prediction_id: event for event in logged_predictions(breakable_redis.url)}
    for instance, answer in zip(instances, together, strict=True):
        event = events[answer["prediction_id"]]
        assert (event.request_id, event.arm, event.version) == (
            instance["request_id"],
            answer["arm"],
            answer["version"],
        )
        assert event.route_generation == 1
    counted = sum(
        gateway.metric("dojo_gateway_predictions_total", model=MODEL, version=version, arm=arm)
        for arm, version in ((CHAMPION_ARM, "1"), (CHALLENGER_ARM, "2"))
    )
    assert counted == 2 * len(instances)

    # A V2 client sees the version of each answer, and may ask only for the primary's version.
    tensors = [
        {
            "name": "customer_id",
            "datatype": "BYTES",
            "shape": [80],
            "data": [i["customer_id"] for i in instances],
        },
        {
            "name": "merchant_id",
            "datatype": "BYTES",
            "shape": [80],
            "data": [i["merchant_id"] for i in instances],
        },
        {
            "name": "amount",
            "datatype": "FP64",
            "shape": [80],
            "data": [i["amount"] for i in instances],
        },
    ]
    _, document, _ = gateway.request("POST", f"/v2/models/{MODEL}/infer", {"inputs": tensors})
    assert document["parameters"]["versions"].split(",") == [
        answer["version"] for answer in together
    ]
    _, document, _ = gateway.request(
        "POST", f"/v2/models/{MODEL}/versions/1/infer", {"inputs": tensors}
    )
    assert document["model_version"] == "1"
    assert "versions" not in document["parameters"]
    assert (
        gateway.request("POST", f"/v2/models/{MODEL}/versions/2/infer", {"inputs": tensors})[0]
        == 404
    )
    _, metadata, _ = gateway.request("GET", f"/v2/models/{MODEL}")
    assert metadata["versions"] == ["1", "2"]
    assert [arm["name"] for arm in metadata["parameters"]["route"]["arms"]] == [
        CHAMPION_ARM,
        CHALLENGER_ARM,
    ]


def test_blue_and_green_are_switched_both_ways_under_load_within_a_second_and_nothing_is_dropped(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = start_gateway(breakable_redis.url, versions=versions)
    with Callers(gateway.port) as callers:
        for champion, standby in (("2", "1"), ("1", "2"), ("2", "1")):
            set_route(
                breakable_redis.url,
                "blue_green",
                Arm(CHAMPION_ARM, champion, 1.0),
                Arm(STANDBY_ARM, standby, 0.0),
            )
            changed = time.monotonic()
            wait_until(
                lambda: any(
                    call.version == champion  # noqa: B023
                    for call in callers.since(changed)  # noqa: B023
                ),
                5,
                "it is switched",
            )
            switched = time.monotonic() - changed
            # The new version is loaded from disk only once. Then both stay in memory.
            assert switched < (3 if champion == "2" and generation(gateway) == 1 else 1)
            wait_until(
                lambda: len(callers.since(changed + switched + 0.1)) > 50,  # noqa: B023
                5,
                "traffic goes on",
            )
            assert {call.version for call in callers.since(changed + switched + 0.1)} == {champion}
        calls = callers.stop()
    assert not callers.dropped
    assert {call.status for call in calls} == {200}
    assert {call.arm for call in calls} == {CHAMPION_ARM}
    assert gateway.metric("dojo_route_generation", model=MODEL) == 3


def test_experiments_that_begin_and_end_under_load_fail_nobody(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = start_gateway(breakable_redis.url, versions=versions)
    with Callers(gateway.port, callers=8, pause=0.0, customers=50) as callers:
        for _ in range(4):
            begun = set_route(breakable_redis.url, "canary", *champion_and("2", 0.9))
            wait_until(
                lambda: generation(gateway) == begun.generation,  # noqa: B023
                20,
                "the canary serves",
            )
            moment = time.monotonic()
            wait_until(
                lambda: any(call.version == "2" for call in callers.since(moment)),  # noqa: B023
                10,
                "it answers",
            )
            ended = set_route(breakable_redis.url, "champion", Arm(CHAMPION_ARM, "1", 1.0))
            wait_until(
                lambda: generation(gateway) == ended.generation,  # noqa: B023
                20,
                "the champion serves alone",
            )
        callers.stop()
    assert not callers.dropped
    # The version's process was ready for all who had chosen it. On a busy machine one answer may
    # still miss a deadline.
    down = [
        gateway.metric("dojo_gateway_arm_failed_total", model=MODEL, arm=CHALLENGER_ARM, reason=r)
        for r in ("down", "crashed")
    ]
    assert down == [0, 0]


def test_the_route_is_kept_while_redis_and_mlflow_are_away_and_across_a_restart(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = start_gateway(breakable_redis.url, versions=versions)
    set_route(breakable_redis.url, "canary", *champion_and("2", 0.5))
    wait_until(lambda: generation(gateway) == 1, 20, "the canary serves")
    arms = arms_of(gateway, 500)
    wait_until(
        lambda: (gateway.home / "gateway" / "routes" / f"{MODEL}.json").exists(),
        5,
        "it is remembered",
    )
    breakable_redis.kill()
    assert arms_of(gateway, 500) == arms
    gateway.kill()

    restarted = start_gateway(breakable_redis.url)
    wait_until(lambda: generation(restarted) == 1, 20, "the challenger is there again")
    assert arms_of(restarted, 500) == arms
    assert {
        answer["version"]
        for answer in restarted.predict(*[{**INSTANCE, "customer_id": f"k{n}"} for n in range(50)])
    } == {
        "1",
        "2",
    }


def test_a_challenger_that_never_starts_does_not_keep_a_restarted_gateway_closed(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    asked = time.monotonic()
    gateway = start_gateway(
        breakable_redis.url, versions={version: versions[version] for version in ("2", "1", "8")}
    )
    without_challenger = time.monotonic() - asked
    route = set_route(
        breakable_redis.url, "canary", *champion_and("8", 0.5)
    )  # 8 never ends its verification
    gateway.kill()
    remembered = (
        gateway.home / "gateway" / "routes" / f"{MODEL}.json"
    )  # as if version 8 had been fine in the last run
    remembered.parent.mkdir(exist_ok=True)
    remembered.write_bytes(msgspec.json.encode(route))

    asked = time.monotonic()
    restarted = start_gateway(breakable_redis.url)
    answers = restarted.predict(*[{**INSTANCE, "customer_id": f"k{n}"} for n in range(50)])
    assert time.monotonic() - asked < without_challenger + 3  # giving up version 8 would take 30 s
    assert {(answer["arm"], answer["version"]) for answer in answers} == {(CHAMPION_ARM, "1")}
    assert not any("arm_failed" in (answer["degraded"] or ()) for answer in answers)

    # The gateway reports what it does. The champion answers alone, without a canary that splits
    # nothing.
    state = restarted.health()["models"][MODEL]
    assert (state["wanted_generation"], state["route"]["generation"]) == (1, 0)
    assert [(arm["name"], arm["version"], arm["weight"]) for arm in state["route"]["arms"]] == [
        (CHAMPION_ARM, "1", 1.0)
    ]
    wait_until(
        lambda: len(logged_predictions(breakable_redis.url)) == len(answers), 10, "all are logged"
    )
    assert {event.route_generation for event in logged_predictions(breakable_redis.url)} == {0}
    assert decode_route(remembered.read_bytes()) == route, (
        "the next start wants the whole route again"
    )

    good = set_route(breakable_redis.url, "canary", *champion_and("2", 0.5))
    wait_until(
        lambda: generation(restarted) == good.generation,
        20,
        "a route whose arms all start is served whole",
    )


@pytest.mark.parametrize(
    "content",
    [
        b"not json",
        b'{"model": "fraud_detection"}',
        (
            b'{"model":"fraud_detection","generation":7,"strategy":"canary",'
            b'"arms":[{"name":"champion","version":"1","weight":0.7}],'
            b'"salt":"s","changed_at":"2018-06-15T12:00:00Z","who":"w","why":"y"}'
        ),
        (
            b'{"model":"another","generation":7,"strategy":"champion",'
            b'"arms":[{"name":"champion","version":"2","weight":1.0}],'
            b'"salt":"s","changed_at":"2018-06-15T12:00:00Z","who":"w","why":"y"}'
        ),
    ],
    ids=["no json", "fields missing", "weights do not add up", "another model's"],
)
def test_a_malformed_route_is_refused_and_counted_and_the_one_before_it_stays(
    content: bytes, breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    set_route(breakable_redis.url, "champion", Arm(CHAMPION_ARM, "2", 1.0))
    gateway = start_gateway(breakable_redis.url, versions=versions)
    wait_until(lambda: generation(gateway) == 1, 5, "the route serves")
    Redis.from_url(breakable_redis.url).set(route_key(MODEL), content)
    wait_until(
        lambda: gateway.metric("dojo_gateway_routes_refused_total", model=MODEL) == 1,
        5,
        "it is refused",
    )
    assert gateway.predict(INSTANCE)[0]["version"] == "2"
    assert gateway.health()["models"][MODEL]["refused_route"]
    assert gateway.metric("dojo_route_generation", model=MODEL) == 1


def test_a_rollback_does_not_wait_behind_a_download_and_the_last_of_two_quick_changes_wins(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as silent:  # an MLflow that accepts and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        gateway = start_gateway(breakable_redis.url, url, versions=versions)
        set_route(breakable_redis.url, "champion", Arm(CHAMPION_ARM, "2", 1.0))
        wait_until(lambda: generation(gateway) == 1, 10, "version 2 serves")
        set_route(breakable_redis.url, "canary", *champion_and("99", 0.5, champion="2"))
        wait_until(
            lambda: gateway.health()["models"][MODEL]["wanted_generation"] == 2,
            5,
            "version 99 is wanted",
        )
        set_route(breakable_redis.url, "champion", Arm(CHAMPION_ARM, "1", 1.0))
        wait_until(lambda: generation(gateway) == 3, 1, "the rollback serves")
        assert gateway.predict(INSTANCE)[0]["version"] == "1"

        set_route(breakable_redis.url, "canary", *champion_and("2", 0.5))
        last = set_route(breakable_redis.url, "shadow", *champion_and("2"))
        wait_until(lambda: generation(gateway) == last.generation, 10, "the last route serves")


def test_a_version_that_cannot_be_had_or_is_corrupt_gets_no_traffic_until_it_can(
    mlflow_server: MlflowServer,
    breakable_redis: RedisServer,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    model = "routed"
    registry = sealed_registry(mlflow_server.url)
    register_champion(registry, tmp_path / "v1", make_bundle(tmp_path / "v1", model), model)
    gateway = start_gateway(
        breakable_redis.url, mlflow_server.url, cached=False, models_dir=models_dir(tmp_path, model)
    )
    wait_until(
        lambda: gateway.predict(INSTANCE, model=model)[0]["version"] == "1",
        60,
        "the registry's champion serves",
    )
    assert generation(gateway, model) == 0

    def state() -> dict[str, object]:
        return gateway.health()["models"][model]

    with Callers(gateway.port, model=model, customers=200) as callers:
        # There is no version 2 yet.
        set_route(breakable_redis.url, "canary", *champion_and("2", 0.5), model=model)
        wait_until(lambda: "2" in str(state()["route_problem"]), 20, "/healthz has the reason")
        assert gateway.metric("dojo_gateway_route_failures_total", model=model) >= 1
        assert generation(gateway, model) == 0

        # It comes, but corrupt. One byte changed after the hash.
        shutil.copytree(tmp_path / "v1", tmp_path / "v2")
        sha256 = make_bundle(tmp_path / "v2", model, seed=2)
        flip_a_byte(tmp_path / "v2" / MODEL_FILE)
        register_champion(registry, tmp_path / "v2", sha256, model)
        registry.set_alias(model, "champion", "1")
        wait_until(
            lambda: "SHA-256" in str(state()["route_problem"]), 20, "the corrupt version is refused"
        )
        assert gateway.metric("dojo_gateway_model_rejected_total", model=model) >= 1
        assert {call.version for call in callers.calls} == {"1"}
        assert not any("arm_failed" in call.degraded for call in callers.calls)

        # A good one, version 3, is fetched, verified and served.
        register_champion(
            registry, tmp_path / "v3", make_bundle(tmp_path / "v3", model, seed=3), model
        )
        registry.set_alias(model, "champion", "1")
        good = set_route(breakable_redis.url, "canary", *champion_and("3", 0.5), model=model)
        wait_until(
            lambda: generation(gateway, model) == good.generation, 30, "version 3 gets traffic"
        )
        assert state()["route_problem"] is None
        moment = time.monotonic()
        wait_until(
            lambda: {call.version for call in callers.since(moment)} == {"1", "3"},
            10,
            "both arms answer",
        )

        # As a standby, a version that cannot be loaded holds nothing up.
        past = set_route(
            breakable_redis.url,
            "champion",
            Arm(CHAMPION_ARM, "3", 1.0),
            Arm(STANDBY_ARM, "2", 0.0),
            model=model,
        )
        wait_until(lambda: generation(gateway, model) == past.generation, 30, "it is left out")
        assert [arm["version"] for arm in state()["route"]["arms"]] == ["3"]  # type: ignore[index]

        # Without a route the registry's champion serves again.
        Redis.from_url(breakable_redis.url).delete(route_key(model))
        wait_until(lambda: generation(gateway, model) == 0, 10, "there is no route any more")
        calls = callers.stop()
    assert not callers.dropped
    assert {call.status for call in calls} == {200}
    assert "2" not in {call.version for call in calls}
