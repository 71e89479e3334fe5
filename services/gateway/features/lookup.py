"""A version's input vector.

Stored features come by entity key. Request-time features are computed from them. The order is the
model's.

The stored part degrades in steps, and the answer names the step:

    (nothing)            all values come from the online store
    cold_start           the store has no row for one of the entities: its values are 0
    features_last_known  no answer in time: the values that this process last saw for the entity
    features_default     as before, for an entity never seen: the medians of the training rows

A category that the version does not know is scored as all unknown ones, and named by its field:

    new_category:<field>
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter

import msgspec

from dojo.core.registry.bundle import Bundle, CorruptBundleError
from feature_repo import catalog
from services.gateway.features.online_store import (
    EntityFields,
    EntityRow,
    OnlineStore,
    OnlineStoreUnavailableError,
    fields_of,
)

COLD_START = "cold_start"
LAST_KNOWN = "features_last_known"
DEFAULTS = "features_default"
NEW_CATEGORY = "new_category"

# Entities whose last row stays in memory. At about 0.7 kB each this is 35 MB when full. It is five
# times the demo's customers and merchants.
LAST_KNOWN_ENTITIES = 50_000


def new_category(field: str) -> str:
    """Return the reason for a category in `field` that the version does not know."""
    return f"{NEW_CATEGORY}:{field}"


class FeaturePlan:
    """How to get from entity keys and request inputs to one version's input vector.

    Raises:
        CorruptBundleError: The catalogue lacks a feature or feature service of the bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        if bundle.feature_service not in catalog.SERVICES:
            raise CorruptBundleError(
                f"feature service {bundle.feature_service!r} is not in the catalogue"
            )
        self.request = catalog.SERVICES[bundle.feature_service].request
        stored = catalog.stored_of(bundle.feature_service, bundle.features)
        computed = {feature.name for feature in self.request.features} & set(bundle.features)
        if missing := set(bundle.features) - {name for _, name in stored} - computed:
            raise CorruptBundleError(
                f"features {sorted(missing)} are not in {bundle.feature_service}"
            )
        self.features = bundle.features
        # Only batch views age. A streaming view's time is the entity's own latest event. That may
        # be long ago although the view is fresh.
        self.freshness_sla = {
            view.name: view.freshness_sla.total_seconds()
            for view, _ in stored
            if view.kind == "batch"
        }
        self.entities = tuple(
            fields_of(
                entity, tuple((view.name, name) for view, name in stored if view.entity == entity)
            )
            for entity in catalog.ENTITY_KEYS
            if any(view.entity == entity for view, _ in stored)
        )
        self.defaults = tuple(
            EntityRow(
                tuple(bundle.stored_defaults.get(name, 0.0) for name in fields.features),
                (None,) * len(fields.views),
            )
            for fields in self.entities
        )
        self._views = tuple(view for fields in self.entities for view in fields.views)
        self._moments = tuple(
            tuple(set(fields.features) & catalog.MOMENTS) for fields in self.entities
        )
        self._uses_request_time = bool(computed)
        self._pick = itemgetter(*bundle.features) if len(bundle.features) > 1 else None

    def vector(self, rows: Sequence[EntityRow], inputs: Mapping[str, float]) -> Sequence[float]:
        """Return the model's inputs in order.

        Args:
            rows: One per entity of the plan.
            inputs: The request's inputs and its time. A category is its number.
        """
        values: dict[str, float] = {**inputs}
        for fields, row, default, moments in zip(
            self.entities, rows, self.defaults, self._moments, strict=True
        ):
            values.update(zip(fields.features, row.values, strict=True))
            if row is default:
                for name in moments:  # the bundle has an age instead of a time
                    values[name] = inputs[self.request.time_input] - values[name]
        if self._uses_request_time:
            values.update(self.request.compute(values))
        return self._pick(values) if self._pick else [values[self.features[0]]]

    def ages(self, rows: Sequence[EntityRow], now: float) -> dict[str, float | None]:
        """Return the age of each view's values in world seconds.

        Args:
            now: Unix seconds, world time.
        """
        stamps = chain.from_iterable([row.timestamps for row in rows])
        return {
            view: stamp if stamp is None else max(0.0, now - stamp)
            for view, stamp in zip(self._views, stamps, strict=True)
        }


class StoredFeatures(msgspec.Struct, frozen=True, gc=False):
    """The stored part for one instance: a row per entity of the plan, and the degradations."""

    rows: tuple[EntityRow, ...]
    degraded: tuple[str, ...]


class FeatureSource:
    """The feature fallback chain: online store, last known, training defaults."""

    def __init__(self, store: OnlineStore, remembered: int = LAST_KNOWN_ENTITIES) -> None:
        self._store = store
        self._remembered = remembered
        self._last_known: OrderedDict[tuple[EntityFields, str], EntityRow] = OrderedDict()

    async def fetch(
        self, plan: FeaturePlan, instances: Sequence[Mapping[str, str]], timeout: float
    ) -> list[StoredFeatures]:
        """Read the stored features of each instance in one round trip. Never raises.

        Args:
            instances: Entity -> key.
            timeout: Seconds. The call never waits longer.
        """
        wanted = [(fields, keys[fields.entity]) for keys in instances for fields in plan.entities]
        width = len(plan.entities)
        try:
            rows = await self._store.read(wanted, timeout) if wanted and timeout > 0 else None
        except OnlineStoreUnavailableError:
            rows = None
        if rows is None:
            return [self._remembered_features(plan, keys) for keys in instances]
        for (fields, key), row in zip(wanted, rows, strict=True):
            self._remember(fields, key, row)
        return [_judged(tuple(rows[at : at + width])) for at in range(0, len(rows), width)]

    def _remember(self, fields: EntityFields, key: str, row: EntityRow) -> None:
        # The fields are part of the key, because versions may read different ones of an entity.
        remembered = (fields, key)
        self._last_known[remembered] = row
        self._last_known.move_to_end(remembered)
        if len(self._last_known) > self._remembered:
            self._last_known.popitem(last=False)

    def _remembered_features(self, plan: FeaturePlan, keys: Mapping[str, str]) -> StoredFeatures:
        rows, reasons = [], []
        for fields, default in zip(plan.entities, plan.defaults, strict=True):
            row = self._last_known.get((fields, keys[fields.entity]))
            rows.append(default if row is None else row)
            reasons.append(DEFAULTS if row is None else LAST_KNOWN)
        return StoredFeatures(tuple(rows), tuple(dict.fromkeys(reasons)))


def _judged(rows: tuple[EntityRow, ...]) -> StoredFeatures:
    return StoredFeatures(rows, (COLD_START,) if any(row.is_unknown for row in rows) else ())
