"""The bandits' metrics (Prometheus)."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from dojo.core.state.bandits import Bandit


class BanditMetrics:
    """The figures of each arm, as of the last update. Absent without an active bandit."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.share = Gauge(
            "dojo_bandit_share",
            "An arm's share of the traffic; with a context, for a request with usual inputs.",
            ["model", "arm", "version"],
            registry=registry,
        )
        self.reward = Gauge(
            "dojo_bandit_reward_euro",
            "Mean reward of an answer of the arm; absent without rewards.",
            ["model", "arm", "version"],
            registry=registry,
        )
        self.pending = Gauge(
            "dojo_bandit_pending_answers",
            "Answers of the arm whose reward may still become known.",
            ["model", "arm", "version"],
            registry=registry,
        )

    def show(self, bandit: Bandit) -> None:
        """Export the present figures."""
        for arm, state in zip(bandit.arms, bandit.states, strict=True):
            labels = (bandit.model, arm.name, arm.version)
            self.share.labels(*labels).set(arm.weight)
            self.pending.labels(*labels).set(state.pending)
            if state.mean is not None:
                self.reward.labels(*labels).set(state.mean)

    def forget(self, bandit: Bandit) -> None:
        """Remove an ended bandit's figures."""
        for arm in bandit.arms:
            for gauge in (self.share, self.reward, self.pending):
                gauge.remove(bandit.model, arm.name, arm.version)
