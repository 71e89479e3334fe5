"""The controller's steps on real Redis and MLflow, in a world that only the test moves."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta

import msgspec
import pytest

from dojo.core.connections import connect_redis
from dojo.core.judging.rollout.stages import Stage
from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.registry.promotion import (
    Change,
    RoleChanges,
    TrafficElsewhereError,
    full_traffic,
    require_champions_traffic,
)
from dojo.core.registry.versions import CHAMPION
from dojo.core.state.clock import ManualClock, wall_now
from dojo.core.state.error_budget import budget_key, count_field
from dojo.core.state.loss import RedisLoss, loss_document
from dojo.core.state.rollouts import Action, RequestPendingError, RolloutActiveError, RolloutRequest
from dojo.core.state.routes import route_key
from pipelines.release.tracking import tracking_client
from services.rollout.controller import Controller
from tests.support.registries import sealed_registry
from tests.support.rollout_events import Gateway, Quality
from tests.support.rollouts import START, both, register_versions, spec_of
from tests.support.rollouts import Stage as Surroundings
from tests.support.servers import MlflowServer, RedisServer, free_port

pytestmark = pytest.mark.integration

Make = Callable[..., Surroundings]


@pytest.fixture
def make(
    redis_server: RedisServer, mlflow_server: MlflowServer, request: pytest.FixtureRequest
) -> Iterator[Make]:
    """Return a function that makes rollouts of a test's own models.

    Their names, and so the customers of the canary, are the same in every run. By its own statement
    the judge is wrong once in 40 times. So the customers must not be drawn anew in each run.
    """
    redis = connect_redis(redis_server.url)
    names = (
        f"rollout_{zlib.crc32(request.node.name.encode()):08x}_{number}"
        for number in itertools.count(1)
    )

    def build(
        qualities: dict[str, Quality] | None = None, versions: int = 2, **policy: object
    ) -> Surroundings:
        model = next(names)
        registry = sealed_registry(mlflow_server.url, timeout_seconds=10, retries=0)
        register_versions(registry, model, versions)
        gateway = Gateway(qualities or both(), model=model, moody=False)
        return Surroundings(redis, registry, ManualClock(START), spec_of(model, **policy), gateway)

    yield build
    redis.close()


def settle(controller: Controller, world: Surroundings) -> None:
    """Step until nothing more follows at this moment."""
    for _ in range(20):
        if not controller.step(world.spec.name):
            return
    raise AssertionError(f"never settles: {world.now}")


def pass_stage(
    controller: Controller, world: Surroundings, requests: int, hours: float, outcomes: bool = False
) -> None:
    settle(controller, world)
    world.traffic(requests, outcomes)
    settle(controller, world)
    world.pass_time(hours, outcomes)
    settle(controller, world)


def ask(world: Surroundings, action: Action) -> None:
    world.rollouts.request(
        world.spec.name,
        RolloutRequest(action=action, who="ada", why="reasons", wall_time=wall_now()),
    )


def test_a_good_version_goes_from_shadow_to_canary_to_champion_and_is_watched_until_done(
    make: Make,
) -> None:
    world = make()
    world.start()
    controller = world.controller()
    pass_stage(controller, world, 700, 2.1)
    assert (world.now.stage, world.route().strategy) == (Stage.CANARY, "canary")
    assert world.roles() == {"champion": "1", "challenger": "2"}
    pass_stage(controller, world, 4_000, 4.1)
    assert (world.now.stage, world.route().strategy) == (Stage.WATCH, "blue_green")
    assert world.roles() == {"champion": "2", "previous_champion": "1"}
    pass_stage(controller, world, 4_000, 48.1, outcomes=True)
    assert world.now.stage is Stage.DONE
    settle(controller, world)
    assert (world.route().strategy, world.route().primary.version) == ("champion", "2")
    assert [step.after for step in world.now.history] == [
        "shadow",
        "canary",
        "promoting",
        "watch",
        "done",
    ]
    told = [entry.what for entry in world.audit.entries() if entry.kind == "rollout"]
    assert len(told) == 5
    assert not world.audit.verify().faults
    assert [message.urgency for message in world.inbox.newest(10)] == ["info", "info"]


def test_a_canary_that_always_fails_is_rolled_back_at_the_first_look_with_enough_evidence(
    make: Make,
) -> None:
    world = make(both(challenger=Quality(errors=1.0)), shadow_time=timedelta(hours=1))
    world.start()
    controller = world.controller()
    world.gateway.qualities["2"] = Quality()  # it passes the shadow stage and fails only live
    pass_stage(controller, world, 700, 1.1)
    assert world.now.stage is Stage.CANARY
    world.gateway.qualities["2"] = Quality(errors=1.0)
    settle(controller, world)
    exposed, total = 0, 0
    while world.now.stage is Stage.CANARY and total < 5_000:
        predictions = world.traffic(20)
        total += 20
        exposed += sum(p.arm == "challenger" for p in predictions)
        assert all(p.version == "1" for p in predictions if p.arm == "challenger"), (
            "the champion stands in"
        )
        settle(controller, world)
    assert world.now.stage is Stage.ROLLED_BACK
    assert total <= 200
    assert exposed <= 0.1 * total + 4 * (0.09 * total) ** 0.5
    assert (world.route().strategy, world.route().primary.version) == ("champion", "1")
    assert world.roles() == {"champion": "1"}
    assert (world.registry.get(world.spec.name, "2").tags.rolled_back or "").startswith(
        "errors: 100 %"
    )
    (message,) = world.inbox.newest(10)
    assert (message.urgency, message.to) == ("page", "payments-risk")
    assert "errors: 100 %" in message.text


def test_after_a_loss_of_redis_a_rollout_is_judged_and_goes_no_further_until_a_person_has_answered(
    make: Make,
) -> None:
    world = make()
    world.start()
    loss = RedisLoss(lost=("the clock",), seen=START, found=START, entry_id="x")
    loss_document(world.redis).put(loss)
    controller = world.controller()
    pass_stage(controller, world, 700, 2.1)
    assert world.now.stage is Stage.SHADOW
    assert {look.verdict for look in world.now.looks} == {"ok"}
    loss_document(world.redis).put(msgspec.structs.replace(loss, answered_by="Zoë"))
    settle(controller, world)
    assert world.now.stage is Stage.CANARY

    loss_document(world.redis).put(loss)
    world.redis.delete(f"dojo:rollout:{world.spec.name}:evidence", route_key(world.spec.name))
    world.gateway.qualities["2"] = Quality(errors=1.0)
    settle(controller, world)
    assert world.route().strategy == "canary", "its stage says which route is right"
    world.traffic(2_000)
    settle(controller, world)
    assert world.now.stage is Stage.ROLLED_BACK, "taking a version back needs no memory"
    loss_document(world.redis).put(msgspec.structs.replace(loss, answered_by="Zoë"))


def test_without_traffic_nothing_is_ever_promoted(make: Make) -> None:
    world = make()
    world.start()
    controller = world.controller()
    for _ in range(5):
        settle(controller, world)
        world.clock.advance(timedelta(days=5))  # type: ignore[attr-defined]
    assert world.now.stage is Stage.SHADOW
    assert {look.verdict for look in world.now.looks} == {"insufficient_data"}


def test_time_without_enough_requests_is_not_enough_either(make: Make) -> None:
    world = make()
    world.start()
    controller = world.controller()
    pass_stage(controller, world, 100, 5)
    assert world.now.stage is Stage.SHADOW
    verdicts = {look.check: look.verdict for look in world.now.looks}
    assert (verdicts["time"], verdicts["requests"]) == ("ok", "insufficient_data")


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY])
def test_hours_without_a_gateway_are_no_time_in_which_a_version_was_good(
    make: Make, stage: Stage
) -> None:
    world = make()
    world.start()
    controller = world.controller()
    if stage is Stage.CANARY:
        pass_stage(controller, world, 700, 2.1)
    settle(controller, world)
    world.traffic(4_000)
    settle(controller, world)
    world.clock.advance(timedelta(hours=9))  # type: ignore[attr-defined]
    settle(controller, world)
    assert world.now.stage is stage
    world.traffic(100)  # it is back
    settle(controller, world)
    assert world.now.stage is stage
    assert [look.check for look in world.now.looks if look.verdict != "ok"] == ["time"]


def look_for(world: Surroundings, minutes: float, world_moves: bool = True) -> None:
    """Run looks of a controller, restarted each time, without events in between."""
    wall = ManualClock(wall_now() if world.wall is wall_now else world.wall())
    world.wall = wall.now
    for _ in range(int(minutes * 3)):
        wall.advance(timedelta(seconds=20))
        if world_moves:
            world.clock.advance(timedelta(seconds=20))  # type: ignore[attr-defined]
        settle(world.controller(), world)


def test_a_route_that_no_gateway_serves_is_told_once_and_given_up_in_the_end(make: Make) -> None:
    world = make()
    world.start()
    settle(world.controller(), world)
    look_for(world, 60, world_moves=False)
    assert not world.inbox_of_this_model(), "the world stands still"
    look_for(world, 4)
    (message,) = world.inbox_of_this_model()
    assert (message.urgency, "never been served" in message.title) == ("warning", True)
    assert f"dojo routes show {world.spec.name}" in message.text
    assert [
        look.note
        for look in world.now.looks
        if look.check == "time" and "dojo routes show" in look.note
    ]
    look_for(world, 8)
    assert (world.now.stage, world.route().primary.version) == (Stage.ROLLED_BACK, "1")
    assert "no request followed the shadow route for 10 min" in world.now.history[-1].why
    assert [message.urgency for message in world.inbox_of_this_model()] == ["page", "warning"]


def test_a_route_that_was_served_is_not_given_up_in_a_silent_night(make: Make) -> None:
    world = make()
    world.start()
    settle(world.controller(), world)
    world.traffic(10)
    look_for(world, 30)
    assert world.now.stage is Stage.SHADOW
    assert "stopped being served" in world.inbox_of_this_model()[0].title


def test_a_stage_far_past_its_time_for_lack_of_requests_is_told(make: Make) -> None:
    world = make()
    world.start()
    controller = world.controller()
    pass_stage(controller, world, 10, 9.9)
    assert not world.inbox_of_this_model()
    world.pass_time(0.2)
    settle(controller, world)
    settle(controller, world)
    (message,) = world.inbox_of_this_model()
    assert "5 times its time, for lack of requests" in message.title


def test_failing_after_promotion_gives_traffic_and_role_back(make: Make) -> None:
    world = make()
    world.start()
    controller = world.controller()
    settle(controller, world)
    ask(world, "promote")
    settle(controller, world)
    assert (world.now.stage, world.roles()["champion"]) == (Stage.WATCH, "2")
    world.gateway.qualities["2"] = Quality(errors=0.2)
    world.traffic(300)
    settle(controller, world)
    assert world.now.stage is Stage.ROLLED_BACK
    assert world.roles() == {"champion": "1"}
    assert world.route().primary.version == "1"


def test_a_watch_without_labels_lasts_twice_as_long_and_ends_with_a_warning(make: Make) -> None:
    world = make()
    world.start()
    controller = world.controller()
    settle(controller, world)
    ask(world, "promote")
    pass_stage(controller, world, 700, 50)
    assert world.now.stage is Stage.WATCH
    world.clock.advance(timedelta(hours=50))  # type: ignore[attr-defined]
    settle(controller, world)
    assert world.now.stage is Stage.WATCH, "nobody was answered in these hours"
    world.pass_time(60)
    settle(controller, world)
    assert world.now.stage is Stage.DONE
    message = world.inbox.newest(1)[0]
    assert (message.urgency, "missed and false_positives unjudged" in message.title) == (
        "warning",
        True,
    )


def test_pause_holds_a_stage_that_is_passed_and_resume_lets_it_go(make: Make) -> None:
    world = make()
    world.start()
    controller = world.controller()
    settle(controller, world)
    ask(world, "pause")
    pass_stage(controller, world, 700, 10)
    assert (world.now.stage, world.now.paused) == (Stage.SHADOW, True)
    ask(world, "resume")
    settle(controller, world)
    assert world.now.stage is Stage.CANARY
    assert [step.why for step in world.now.history if step.who == "ada"] == [
        "paused by ada: reasons",
        "resumed by ada: reasons",
    ]


def test_a_paused_canary_that_fails_is_still_rolled_back(make: Make) -> None:
    world = make()
    world.start()
    controller = world.controller()
    settle(controller, world)
    ask(world, "pause")
    settle(controller, world)
    world.gateway.qualities["2"] = Quality(errors=1.0)
    world.traffic(200)
    settle(controller, world)
    assert world.now.stage is Stage.ROLLED_BACK


def test_abort_ends_a_rollout_and_the_next_one_may_start(make: Make) -> None:
    world = make(versions=3)
    world.start()
    controller = world.controller()
    settle(controller, world)
    with pytest.raises(RolloutActiveError, match=f"dojo rollout abort {world.spec.name}"):
        world.start(version="3")
    ask(world, "abort")
    settle(controller, world)
    assert world.now.stage is Stage.ROLLED_BACK
    assert world.now.history[-1].why == "aborted by ada: reasons"
    assert world.start(version="3").stage is Stage.SHADOW


def test_approval_is_waited_for(make: Make) -> None:
    world = make(approval="required")
    world.start()
    controller = world.controller()
    settle(controller, world)
    world.clock.advance(timedelta(days=2))  # type: ignore[attr-defined]
    settle(controller, world)
    assert world.now.stage is Stage.AWAITING_APPROVAL
    assert world.routes.get(world.spec.name) is None
    assert world.inbox.newest(1)[0].urgency == "warning"
    ask(world, "approve")
    settle(controller, world)
    assert (world.now.stage, world.route().strategy) == (Stage.SHADOW, "shadow")


@pytest.mark.parametrize(
    ("by_hand", "stage", "champion"), [("3", Stage.ROLLED_BACK, "3"), ("2", Stage.WATCH, "2")]
)
def test_a_champion_changed_by_hand_has_the_last_word(
    make: Make, by_hand: str, stage: Stage, champion: str
) -> None:
    world = make(versions=3)
    world.start()
    controller = world.controller()
    settle(controller, world)
    change = Change(key="by-hand", who="ada", why="I know better", world_time=world.clock.now())
    RoleChanges(world.registry, world.routes, world.audit).promote(world.spec.name, by_hand, change)
    settle(controller, world)
    assert (world.now.stage, world.roles()["champion"], world.route().primary.version) == (
        stage,
        champion,
        champion,
    )
    assert "by hand" in " ".join(step.why for step in world.now.history)


@pytest.mark.parametrize("moved_to", ["", "2", "3"])
def test_a_role_that_was_moved_past_the_platform_moves_no_traffic(
    make: Make, moved_to: str
) -> None:
    world = make(versions=3)
    change = Change(key="first", who="ada", why="the first one", world_time=world.clock.now())
    RoleChanges(world.registry, world.routes, world.audit).promote(world.spec.name, "1", change)
    world.start()
    settle(world.controller(), world)
    if moved_to:
        world.registry.set_alias(world.spec.name, CHAMPION, moved_to)
    else:
        world.registry.remove_alias(world.spec.name, CHAMPION)
    settle(world.controller(), world)
    assert (world.now.stage, world.roles()["champion"], world.route().primary.version) == (
        Stage.ROLLED_BACK,
        "1",
        "1",
    )
    where = f"moved to version {moved_to}" if moved_to else "removed"
    assert f"the champion's role was {where} in MLflow, past the platform" in " ".join(
        step.why for step in world.now.history
    )
    assert any(message.urgency == "page" for message in world.inbox.newest(9))


def test_a_role_that_is_removed_during_the_watch_leaves_the_traffic_and_offers_a_command(
    make: Make,
) -> None:
    world = make(versions=3)
    world.start()
    controller = world.controller()
    settle(controller, world)
    ask(world, "promote")
    settle(controller, world)
    world.registry.remove_alias(world.spec.name, CHAMPION)
    settle(world.controller(), world)
    assert (world.now.stage, world.route().primary.version) == (Stage.DONE, "2")
    assert (
        "the champion's role was removed by hand while version 2 was watched"
        in world.now.history[-1].why
    )
    assert f"dojo models restore {world.spec.name} --why" in world.now.history[-1].why


def test_a_route_changed_by_hand_is_where_the_rollout_ends(make: Make) -> None:
    """`dojo models rollback --force` has moved the traffic, but not the role, at the look."""
    world = make(versions=3)
    world.start()
    controller = world.controller()
    settle(controller, world)
    change = Change(key="by-hand", who="ada", why="2 is worse", world_time=world.clock.now())
    RoleChanges(world.registry, world.routes, world.audit).route(
        world.spec.name, "champion", full_traffic("3", None), change
    )
    settle(controller, world)
    assert (world.now.stage, world.roles(), world.route().primary.version) == (
        Stage.ROLLED_BACK,
        {"champion": "3"},
        "3",
    )
    assert world.now.history[-1].why == "the route was changed by ada: 2 is worse"


def spend_budget(world: Surroundings, errors: int) -> None:
    """Have the gateways count a day of 1,000 requests. 30 errors are a month's budget."""
    for count, number in (("requests", 1_000), ("errors", errors)):
        field = count_field(world.clock.now().date(), count)
        world.redis.hset(budget_key(world.spec.name), field, str(number))


def test_a_spent_error_budget_stops_a_rollout_until_it_is_back(make: Make) -> None:
    world = make()
    spend_budget(world, 31)
    world.start()
    controller = world.controller()
    pass_stage(controller, world, 700, 2.1)
    assert (world.now.stage, world.now.budget) == (Stage.SHADOW, "waits")
    spent = (
        "error budget spent: availability: 31 5xx answers of 1,000, and 30 days allow 30: it waits"
    )
    assert [step.why for step in world.now.history[1:]] == [spent]
    assert any(entry.why == spent for entry in world.audit.entries())
    assert any(spent in message.text for message in world.inbox.newest(9))
    spend_budget(world, 28)  # so close to the limit it does not go on
    settle(world.controller(), world)
    assert (world.now.stage, world.now.budget) == (Stage.SHADOW, "waits")
    spend_budget(world, 20)
    settle(world.controller(), world)
    assert (world.now.stage, world.now.budget) == (Stage.CANARY, "")
    assert [step.why for step in world.now.history][2] == "the error budget is back: it goes on"


@pytest.mark.parametrize(
    ("action", "then", "said"),
    [("resume", Stage.CANARY, "resumed"), ("promote", Stage.WATCH, "promoted by hand")],
)
def test_a_person_overrules_a_spent_error_budget(
    make: Make, action: Action, then: Stage, said: str
) -> None:
    world = make()
    spend_budget(world, 50)
    world.start()
    controller = world.controller()
    pass_stage(controller, world, 700, 2.1)
    assert world.now.budget == "waits"
    ask(world, action)
    settle(controller, world)
    assert (world.now.stage, world.now.budget) == (then, "overruled")
    assert world.now.history[2].why == f"{said} by ada: reasons"


@pytest.mark.parametrize("stopped_by", [("availability",), ()])
def test_a_challenger_that_fails_is_taken_back_whatever_the_budget(
    make: Make, stopped_by: tuple[str, ...]
) -> None:
    world = make(both(challenger=Quality(errors=0.5)), error_budget=stopped_by)
    spend_budget(world, 50)
    world.start()
    pass_stage(world.controller(), world, 700, 2.1)
    assert world.now.stage is Stage.ROLLED_BACK
    assert any("error budget" in step.why for step in world.now.history) is bool(stopped_by)


def by_hand(world: Surroundings, version: str, why: str = "an emergency") -> None:
    """Move the traffic but not the role.

    `dojo routes set` and `models rollback --force` do so while MLflow is away.
    """
    change = Change(key="by-hand", who="ada", why=why, world_time=world.clock.now())
    RoleChanges(world.registry, world.routes, world.audit).route(
        world.spec.name, "champion", full_traffic(version, None), change
    )


@pytest.mark.parametrize("version", ["1", "3"])
def test_an_emergency_route_made_while_promoting_is_not_overridden(
    make: Make, version: str
) -> None:
    world = make(versions=3)
    promoting_without_mlflow(world)
    by_hand(world, version)
    settle(world.controller(), world)
    assert (world.now.stage, world.route().primary.version) == (Stage.ROLLED_BACK, version)
    assert world.roles()["champion"] == version
    assert "the route was changed by ada: an emergency" in world.now.history[-1].why


def test_an_emergency_route_made_while_rolling_back_is_not_overridden(make: Make) -> None:
    world = make(versions=3)
    controller = promoting_without_mlflow(world)
    ask(world, "abort")
    with pytest.raises(RegistryUnavailableError):
        settle(controller, world)
    by_hand(world, "3")
    settle(world.controller(), world)
    assert (world.now.stage, world.route().primary.version, world.route().who) == (
        Stage.ROLLED_BACK,
        "3",
        "ada",
    )


def test_a_pause_while_mlflow_is_down_holds_the_promotion_when_it_is_back(make: Make) -> None:
    world = make()
    promoting_without_mlflow(world)
    ask(world, "pause")
    controller = world.controller()
    settle(controller, world)
    settle(controller, world)
    assert (world.now.stage, world.route().strategy, world.roles()["champion"]) == (
        Stage.PROMOTING,
        "canary",
        "1",
    )
    ask(world, "resume")
    settle(controller, world)
    assert (world.now.stage, world.roles()["champion"]) == (Stage.WATCH, "2")


def test_a_challenger_deleted_from_mlflow_can_still_be_taken_back(make: Make) -> None:
    world = make()
    world.start()
    settle(world.controller(), world)
    tracking_client(world.registry).delete_model_version(world.spec.name, "2")
    ask(world, "abort")
    settle(world.controller(), world)
    assert (world.now.stage, world.route().primary.version) == (Stage.ROLLED_BACK, "1")
    assert world.now.history[-1].why == "aborted by ada: reasons"


def test_a_rollback_into_an_empty_registry_ends_with_the_traffic_moved_and_a_page(
    make: Make,
) -> None:
    world = make()
    world.start()
    settle(world.controller(), world)
    tracking_client(world.registry).delete_registered_model(world.spec.name)
    ask(world, "abort")
    controller = world.controller()
    settle(controller, world)
    assert (world.now.stage, world.route().primary.version) == (Stage.ROLLED_BACK, "1")
    assert "traffic is with version 1, roles could not be changed: " in world.now.history[-1].why
    message = world.inbox_of_this_model()[0]
    assert (message.urgency, "the registry does not say so" in message.title) == ("page", True)


def test_an_abort_before_approval_leaves_the_route_alone(make: Make) -> None:
    world = make(approval="required")
    world.start()
    ask(world, "abort")
    settle(world.controller(), world)
    assert world.now.stage is Stage.ROLLED_BACK
    assert world.routes.get(world.spec.name) is None


def test_a_request_waits_for_the_one_before_unless_it_is_an_abort(make: Make) -> None:
    world = make()
    world.start()
    ask(world, "pause")
    ask(world, "pause")  # again
    with pytest.raises(RequestPendingError, match="pause by ada"):
        ask(world, "promote")
    ask(world, "abort")
    settle(world.controller(), world)
    assert world.now.stage is Stage.ROLLED_BACK


def test_two_rollouts_of_a_version_at_one_moment_of_the_world_are_told_apart(make: Make) -> None:
    world = make()
    first = world.start()
    ask(world, "abort")
    settle(world.controller(), world)
    second = world.rollouts.start(
        world.spec, "2", "1", world.clock.now(), "test", "again", {}, again=True
    )
    settle(world.controller(), world)
    assert (second.started, second.id == first.id) == (first.started, False)
    told = [
        entry.entry_id
        for entry in world.audit.entries()
        if entry.model == world.spec.name and entry.kind == "rollout"
    ]
    assert [entry for entry in told if second.id in entry]


def test_a_rollout_does_not_start_beside_traffic_that_is_not_the_champions(make: Make) -> None:
    world = make(versions=3)
    require_champions_traffic(
        world.routes, world.spec.name, "1"
    )  # no route: the registry's champion answers
    by_hand(world, "3")
    with pytest.raises(
        TrafficElsewhereError, match=r"version 1 is champion.*champion 3.*by ada.*dojo routes set"
    ):
        require_champions_traffic(world.routes, world.spec.name, "1")
    require_champions_traffic(world.routes, world.spec.name, "3")


def test_a_third_champion_during_the_watch_ends_it_and_says_who_still_answers(make: Make) -> None:
    world = make(versions=3)
    world.start()
    controller = world.controller()
    settle(controller, world)
    ask(world, "promote")
    settle(controller, world)
    assert world.now.stage is Stage.WATCH
    world.registry.set_alias(world.spec.name, "champion", "3")
    settle(world.controller(), world)
    assert world.now.stage is Stage.DONE
    assert "version 2 still answers" in world.now.history[-1].why
    assert world.route().primary.version == "2"


def test_requests_before_a_gap_do_not_pass_a_stage(make: Make) -> None:
    world = make()
    world.start()
    controller = world.controller()
    settle(controller, world)
    world.traffic(600)
    settle(controller, world)
    world.traffic(50)
    world.redis.xtrim("dojo:stream:shadows", maxlen=10, approximate=False)
    settle(controller, world)
    (requests,) = [look for look in world.now.looks if look.check == "requests"]
    assert (requests.verdict, requests.requests, "10 requests since" in requests.note) == (
        "insufficient_data",
        610,
        True,
    )
    world.traffic(300)
    settle(controller, world)
    (requests,) = [look for look in world.now.looks if look.check == "requests"]
    assert requests.verdict == "ok"


def test_malformed_events_and_lost_ones_are_counted_and_named(make: Make) -> None:
    world = make()
    world.start()
    controller = world.controller()
    settle(controller, world)
    world.traffic(50)
    world.redis.xadd("dojo:stream:shadows", {b"event": b"{nonsense"})
    settle(controller, world)
    world.traffic(50)
    world.redis.xtrim("dojo:stream:shadows", maxlen=10, approximate=False)
    settle(controller, world)
    (requests,) = [look for look in world.now.looks if look.check == "requests"]
    assert (requests.requests, requests.verdict) == (60, "insufficient_data")
    assert "1 gaps" in requests.note
    assert "1 malformed" in requests.note


def without_mlflow(world: Surroundings) -> Surroundings:
    """The same platform, seen by a controller for which MLflow is down."""
    away = sealed_registry(f"http://127.0.0.1:{free_port()}", timeout_seconds=2, retries=0)
    return Surroundings(world.redis, away, world.clock, world.spec, world.gateway)


def promoting_without_mlflow(world: Surroundings) -> Controller:
    """Return a controller that has passed the canary and cannot promote."""
    world.start()
    here = world.controller()
    pass_stage(here, world, 700, 2.1)
    settle(here, world)  # the canary's route
    controller = without_mlflow(world).controller()
    world.traffic(4_000)
    controller.step(world.spec.name)
    world.pass_time(5)
    with pytest.raises(RegistryUnavailableError):
        settle(controller, world)
    return controller


def test_mlflow_down_during_promotion_keeps_the_canarys_traffic_and_is_retried(make: Make) -> None:
    world = make()
    controller = promoting_without_mlflow(world)
    assert (world.now.stage, world.route().strategy) == (Stage.PROMOTING, "canary")
    assert world.roles() == {"champion": "1", "challenger": "2"}
    assert controller.misses_registry(world.spec.name)
    controller.step(world.spec.name)  # it judges first, before it asks again
    assert world.now.stage is Stage.PROMOTING

    settle(world.controller(), world)
    assert (world.now.stage, world.route().strategy) == (Stage.WATCH, "blue_green")
    assert world.roles() == {"champion": "2", "previous_champion": "1"}
    assert (
        len(
            [
                entry
                for entry in world.audit.entries()
                if entry.model == world.spec.name and entry.kind == "alias"
            ]
        )
        == 1
    )


def test_a_canary_that_begins_to_fail_while_mlflow_is_down_loses_its_traffic_at_once(
    make: Make,
) -> None:
    world = make()
    controller = promoting_without_mlflow(world)
    world.gateway.qualities["2"] = Quality(errors=1.0)
    world.traffic(400)
    with pytest.raises(RegistryUnavailableError):
        settle(controller, world)
    assert (world.now.stage, world.route().strategy) == (Stage.ROLLING_BACK, "champion")
    assert world.route().primary.version == "1"

    settle(world.controller(), world)
    assert world.now.stage is Stage.ROLLED_BACK
    assert world.roles() == {"champion": "1"}


def test_a_canary_is_judged_while_mlflow_is_down(make: Make) -> None:
    world = make(both(challenger=Quality(errors=1.0)), shadow_time=timedelta(hours=1))
    world.gateway.qualities["2"] = Quality()
    world.start()
    here = world.controller()
    pass_stage(here, world, 700, 1.1)
    settle(here, world)
    controller = without_mlflow(world).controller()
    world.gateway.qualities["2"] = Quality(errors=1.0)
    world.traffic(300)
    with pytest.raises(RegistryUnavailableError):
        settle(controller, world)
    assert world.route().strategy == "champion"
