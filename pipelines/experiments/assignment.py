"""Reads which experiment ran, each request's arm, and the labels of its requests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.labels import WEIGHT
from dojo.core.lake import Lake
from dojo.core.performance import outcomes_of
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.audit import Entry
from dojo.core.state.routes import (
    CHALLENGER_ARM,
    CHAMPION_ARM,
    Arm,
    Route,
    pick,
    position,
)
from feature_repo.catalog import recorded_requests

SPLITS = ("ab", "canary")

# Column of recorded events with the euros at stake in a request.
STAKES = "amount"


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """One split of one model's traffic. It spans the routes with one salt and the same arms.

    Attributes:
        model: The model.
        strategy: Strategy of the routes.
        salt: Salt of the routes.
        arms: Champion, then challenger.
        generations: Generations of the routes.
        since: World time of the first route.
        until: World time of the route after the last one. None while the split runs.
    """

    model: str
    strategy: str
    salt: str
    arms: tuple[Arm, Arm]
    generations: tuple[int, ...]
    since: datetime
    until: datetime | None


def last_experiment(entries: Iterable[Entry], model: str) -> Experiment | None:
    """Return the running or latest split of a model's traffic, from the audit trail.

    None when there never was one. A route with other weights is another experiment, even with the
    same salt. Otherwise entities that moved from one arm to the other would be in both.

    Args:
        entries: Entries of the audit trail, oldest first.
        model: The model.
    """
    routes = [_route(entry) for entry in entries if entry.kind == "route" and entry.model == model]
    found: list[tuple[Route, datetime | None]] = []
    for route, following in zip(routes, [*routes[1:], None], strict=False):
        if (
            route.strategy not in SPLITS
            or route.arm(CHAMPION_ARM) is None
            or route.arm(CHALLENGER_ARM) is None
        ):
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


def requests(lake: Lake, experiment: Experiment, spec: ModelSpec) -> pl.DataFrame:
    """Return every request of an experiment, once (its latest answer).

    Returns:
        Columns of the requests:

        - entity: Key of the spec's first entity, which decided the arm.
        - arm: The arm that the route chose.
        - assigned: True if the salt gives the entity this arm. A caller who names a version gets it
          in any case.
        - stood_in: True if another version answered for the arm.
        - world_time, score, flagged: As in the prediction.
        - label: The label. Null until known.
        - weight: Number of like requests that the label stands for.
        - stakes: Euros at stake (STAKES). Null where the recorded events have none.
    """
    entity, recorded = spec.entities[0], recorded_requests(spec.feature_service)
    # Not filtered by world time. A prediction carries the gateway's, which has no fixed order with
    # a route's.
    predictions = (
        lake.scan(Stream.PREDICTIONS)
        .filter(
            (pl.col("model") == experiment.model)
            & pl.col("route_generation").is_in(experiment.generations)
        )
        .select(
            "request_id",
            "wall_time",
            "arm",
            "world_time",
            "score",
            "flagged",
            pl.col("entity_keys").str.json_path_match(f"$.{entity}").alias("entity"),
            pl.col("degraded").list.contains("arm_failed").alias("stood_in"),
        )
        .sort("wall_time")
        .unique("request_id", keep="last", maintain_order=True)
        .drop("wall_time")
    )
    outcomes = outcomes_of(lake, experiment.model).select("request_id", "label", weight=WEIGHT)
    stakes = pl.col(STAKES) if STAKES in recorded.columns else pl.lit(None, dtype=pl.Float64)
    events = lake.scan(recorded.stream).select(recorded.key, stakes=stakes).unique(recorded.key)
    rows = (
        predictions.join(outcomes, on="request_id", how="left")
        .join(events, left_on="request_id", right_on=recorded.key, how="left")
        .collect()
    )
    keys = rows["entity"].unique().drop_nulls().to_list()
    arms = [pick(experiment.arms, position(experiment.salt, key)).name for key in keys]
    given = pl.DataFrame(
        {"entity": keys, "given": arms}, schema={"entity": pl.String, "given": pl.String}
    )
    return (
        rows.join(given, on="entity", how="left")
        .with_columns((pl.col("arm") == pl.col("given")).fill_null(False).alias("assigned"))
        .select(
            "entity",
            "arm",
            "assigned",
            "stood_in",
            "world_time",
            "score",
            "flagged",
            "label",
            "weight",
            "stakes",
        )
    )
