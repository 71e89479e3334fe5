"""The study of bandits as tables and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dojo.studies.results import BanditStudy, RegretCurve

if TYPE_CHECKING:
    from rich.table import Table

TITLES = {
    "half_an_hour": "labels after half an hour",
    "2_days": "labels after 2 days",
    "45_days": "labels after 45 days",
    "half_an_hour_worn": "half an hour, and the best banner wears out",
}
NAMES = {
    "equal": "equal shares",
    "best_version": "best version from the start",
    "ab_test": "A/B test of two weeks",
    "epsilon_greedy": "epsilon-greedy",
    "thompson": "Thompson",
    "thompson_guarded": "Thompson, floors of the spec",
    "linear": "linear",
}


def row_of(policy: str, curve: RegretCurve, study: BanditStudy) -> tuple[str, ...]:
    """Return a policy's figures: name, clicks lost with their range, euro, visits."""
    last, half = curve.regret[-1], curve.regret[len(curve.regret) // 2 - 1]
    return (
        NAMES[policy],
        f"{half:,.0f}",
        f"{last:,.0f} ({curve.low[-1]:,.0f} to {curve.high[-1]:,.0f})",
        f"{last * study.euro_per_click:,.0f}",
        f"{curve.answers:,.0f}",
    )


def tables(study: BanditStudy) -> Iterator[Table]:
    """Return one table per scenario."""
    from rich.table import Table

    for name, policies in study.scenarios.items():
        table = Table(
            title=f"{TITLES[name]}: {study.towns} towns of {study.customers:,} customers,"
            f" {study.days} days, made {study.made:%Y-%m-%d} in {study.seconds / 60:.0f} min of"
            " processor time",
            title_justify="left",
        )
        table.add_column("policy")
        for heading in ("lost halfway", "clicks lost", "euro", "champion's visits"):
            table.add_column(heading, justify="right")
        for policy, curve in policies.items():
            table.add_row(*row_of(policy, curve, study))
        yield table


def draw(study: BanditStudy, picture: Path) -> None:
    """Draw the clicks lost over the days, a panel per scenario, with the range over the towns."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "bandits"  # the same figures draw the same file
    figure, panels = plt.subplots(2, 2, figsize=(9, 6.5), sharex=True)
    for axes, (name, policies) in zip(panels.flat, study.scenarios.items(), strict=True):
        top = max(c.regret[-1] for policy, c in policies.items() if policy != "equal")
        for policy, curve in policies.items():
            days = [0, *(study.point_days * (at + 1) for at in range(len(curve.regret)))]
            style = {"equal": "k:", "best_version": "k--"}.get(policy, "-")
            (line,) = axes.plot(days, [0, *curve.regret], style, label=NAMES[policy], linewidth=1.3)
            if style == "-":
                axes.fill_between(
                    days, [0, *curve.low], [0, *curve.high], alpha=0.12, color=line.get_color()
                )
        axes.set(title=TITLES[name], ylim=(0, 1.15 * top))
        axes.title.set_fontsize(10)
        axes.grid(visible=True, alpha=0.3)
    for axes in panels[1]:
        axes.set_xlabel("days")
    for axes in panels[:, 0]:
        axes.set_ylabel("clicks lost")
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="lower center", ncols=4, fontsize=8
    )
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(picture, metadata={"Date": None})
    plt.close(figure)
