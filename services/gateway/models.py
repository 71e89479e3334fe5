"""Which version serves each model: the registry's champion, once it is here and verified."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from dojo.bundle import CorruptBundleError
from dojo.registry import CHAMPION, ModelRegistry, RegistryUnavailableError, UnknownVersionError, Version
from dojo.specs import ModelSpec
from services.gateway.heap import settle
from services.gateway.metrics import Metrics
from services.gateway.model_cache import ModelCache
from services.gateway.serving import ServedModel

# MLflow answers in milliseconds; downloads are about 1 MB. One try: the next poll is the retry.
REGISTRY_TIMEOUT_SECONDS = 5
# A version that failed is tried again this often: its artifact may have been damaged on the way, or repaired since.
RETRY_REJECTED_SECONDS = 30.0

NOT_ASKED = "not asked yet"

_log = structlog.get_logger("gateway.models")


class Models:
    """The serving versions by model name. `follow` keeps them at the registry's champions; reading `serving` is all the hot
    path does.

    All blocking work happens on one daemon thread: a hanging MLflow holds up the next poll, never a request nor the exit.
    """

    def __init__(
        self, specs: Mapping[str, ModelSpec], directory: Path, registry_url: str, poll_seconds: float, metrics: Metrics
    ) -> None:
        self.serving: dict[str, ServedModel] = {}
        self._specs = specs
        self._caches = {name: ModelCache(directory, spec, self._on_rejected(name)) for name, spec in specs.items()}
        self._registry_url = registry_url
        self._registry: ModelRegistry | None = None
        self._poll_seconds = poll_seconds
        self._metrics = metrics
        self._failed: dict[str, tuple[tuple[str, str], float]] = {}  # model -> (version and source, monotonic time)
        self._registry_state = dict.fromkeys(specs, NOT_ASKED)

    def details(self) -> dict[str, object]:
        """Per model: the serving version, and what is wrong with the registry or the newest version if anything."""
        return {
            name: {
                "version": served.version if (served := self.serving.get(name)) else None,
                "registry": self._registry_state[name],
                "rejected_version": self._failed[name][0][0] if name in self._failed else None,
            }
            for name in self._specs
        }

    def load_cached(self) -> None:
        """Serve what the last run left on disk, before anybody asks MLflow. Blocking: 0.1 s a model."""
        for name, cache in self._caches.items():
            if (served := cache.newest()) is not None:
                self._switch(name, served)

    def follow(self) -> threading.Event:
        """Start following the registry on a thread of its own; it ends after the event is set."""
        stop = threading.Event()

        def poll_until_stopped() -> None:
            while not stop.is_set():
                before = self._known()
                try:
                    for name in self._specs:
                        self._poll(name)
                    if self._known() != before:
                        settle()  # MLflow imports more of itself with its first answers, a new version brings its own objects
                except Exception:  # the outermost loop of this thread
                    self._metrics.background_errors.labels("model_registry").inc()
                    _log.exception("following the registry failed and goes on")
                stop.wait(self._poll_seconds)

        threading.Thread(target=poll_until_stopped, name="registry", daemon=True).start()
        return stop

    def _known(self) -> list[tuple[bool, str | None]]:
        """Per model: whether the registry answers, and the serving version."""
        return [
            (self._registry_state[name] == "ok", served.version if (served := self.serving.get(name)) else None)
            for name in self._specs
        ]

    def _poll(self, name: str) -> None:
        try:
            champion = self._champion(name)
            served = self._get_if_new(name, champion) if champion else None
        except (RegistryUnavailableError, UnknownVersionError, OSError) as error:
            self._metrics.registry_errors.labels(name).inc()
            if self._registry_state[name] in (NOT_ASKED, "ok"):
                _log.warning("registry is away, the last known version stays", model=name, reason=str(error))
            self._registry_state[name] = str(error)[:200]
            return
        if self._registry_state[name] not in (NOT_ASKED, "ok"):
            _log.info("registry is back", model=name)
        self._registry_state[name] = "ok"
        if served:
            self._switch(name, served)

    def _champion(self, name: str) -> Version | None:
        if self._registry is None:  # made here because importing MLflow takes seconds
            self._registry = ModelRegistry(self._registry_url, timeout_seconds=REGISTRY_TIMEOUT_SECONDS, retries=0)
            gc.freeze()  # MLflow's modules live for ever: walking them in each full collection would stall requests for 100 ms
        return self._registry.by_alias(name, CHAMPION)

    def _get_if_new(self, name: str, champion: Version) -> ServedModel | None:
        serving, cache = self.serving.get(name), self._caches[name]
        if serving and cache.is_version(serving, champion):
            return None
        failed = (champion.version, champion.source)
        known, at = self._failed.get(name, (None, 0.0))
        if known == failed and time.monotonic() - at < RETRY_REJECTED_SECONDS:
            return None
        assert self._registry is not None
        try:
            served = cache.get(champion, self._registry)
        except CorruptBundleError as error:
            self._failed[name] = (failed, time.monotonic())
            self._on_rejected(name)(champion.version, error)
            return None
        self._failed.pop(name, None)
        return served

    def _switch(self, name: str, served: ServedModel) -> None:
        before = self.serving.get(name)
        self.serving[name] = served  # one assignment: a request in flight keeps the version it began with
        if before is not None:
            self._metrics.model_info.remove(name, before.version)
        self._metrics.model_info.labels(name, served.version).set(1)
        _log.info("serving", model=name, version=served.version, before=before.version if before else None)

    def _on_rejected(self, name: str) -> Callable[[str, CorruptBundleError], None]:
        def rejected(version: str, error: CorruptBundleError) -> None:
            self._metrics.model_rejected.labels(name).inc()
            _log.error("version rejected, it will not be served", model=name, version=version, reason=str(error))

        return rejected
