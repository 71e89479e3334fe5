"""Which experiment ran, who was in which arm, and what their requests turned out to be."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.lake import Lake
from dojo.core.performance import outcomes_of
from dojo.core.state.audit import Entry
from dojo.core.state.routes import (
    CHALLENGER_ARM,
    CHAMPION_ARM,
    Arm,
    Route,
    pick,
    position,
)

SPLITS = ("ab", "canary")


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """One split of one model's traffic: the routes with one salt and the same arms.

    Attributes:
        arms: champion, then challenger. generations: of those routes.
        since, until: world times of the first of them and of the route after the last; until is None while it runs.
    """

    model: str
    strategy: str
    salt: str
    arms: tuple[Arm, Arm]
    generations: tuple[int, ...]
    since: datetime
    until: datetime | None


def last_experiment(entries: Iterable[Entry], model: str) -> Experiment | None:
    """The running or the latest split of a model's traffic, as the audit trail tells; None when there never was one.

    A route with other weights is another experiment, even where it kept its salt: entities that moved from one arm to the other
    would be in both.

    Args:
        entries: oldest first.
    """
    routes = [_route(entry) for entry in entries if entry.kind == "route" and entry.model == model]
    found: list[tuple[Route, datetime | None]] = []
    for route, following in zip(routes, [*routes[1:], None], strict=False):
        if route.strategy not in SPLITS or route.arm(CHAMPION_ARM) is None or route.arm(CHALLENGER_ARM) is None:
            continue
        if found and (found[-1][0].salt, found[-1][0].arms) != (route.salt, route.arms):
            found = []
        found.append((route, following.changed_at if following else None))
    if not found:
        return None
    first, last = found[0][0], found[-1][0]
    champion, challenger = last.arm(CHAMPION_ARM), last.arm(CHALLENGER_ARM)
    assert champion is not None
    assert challenger is not None
    return Experiment(
        model=model,
        strategy=last.strategy,
        salt=last.salt,
        arms=(champion, challenger),
        generations=tuple(route.generation for route, _ in found),
        since=first.changed_at,
        until=found[-1][1],
    )


def _route(entry: Entry) -> Route:
    return msgspec.convert(entry.after, Route)


def requests(lake: Lake, experiment: Experiment, entity: str) -> pl.DataFrame:
    """Every request of an experiment, once (its latest answer).

    Args:
        entity: whose key decided on the arm (the first of the spec's entities).

    Returns:
        entity: its key. arm: the one that the route chose. assigned: whether that is the arm that the salt gives the entity (a caller
        who asks for a version by name gets it all the same). stood_in: another version answered for the arm.
        flagged. label: 1 fraud, 0 legitimate, null until known. amount: euro, null when the payment is not in the lake.
    """
    # Not by world time: a prediction carries the gateway's, which has no fixed place beside a route's.
    predictions = (
        lake.scan(Stream.PREDICTIONS)
        .filter((pl.col("model") == experiment.model) & pl.col("route_generation").is_in(experiment.generations))
        .select(
            "request_id",
            "wall_time",
            "arm",
            "flagged",
            pl.col("entity_keys").str.json_path_match(f"$.{entity}").alias("entity"),
            pl.col("degraded").list.contains("arm_failed").alias("stood_in"),
        )
        .sort("wall_time")
        .unique("request_id", keep="last", maintain_order=True)
        .drop("wall_time")
    )
    outcomes = outcomes_of(lake, experiment.model).select("request_id", "label").unique("request_id")
    payments = lake.scan(Stream.TRANSACTIONS).select("transaction_id", "amount").unique("transaction_id")
    rows = (
        predictions.join(outcomes, on="request_id", how="left")
        .join(payments, left_on="request_id", right_on="transaction_id", how="left")
        .collect()
    )
    keys = rows["entity"].unique().drop_nulls().to_list()
    arms = [pick(experiment.arms, position(experiment.salt, key)).name for key in keys]
    given = pl.DataFrame({"entity": keys, "given": arms}, schema={"entity": pl.String, "given": pl.String})
    return (
        rows.join(given, on="entity", how="left")
        .with_columns((pl.col("arm") == pl.col("given")).fill_null(False).alias("assigned"))
        .select("entity", "arm", "assigned", "stood_in", "flagged", "label", "amount")
    )
