"""Makes the study of bandits: town by town in child processes, resumed where a run ended.

`<home>/studies/` keeps each finished town.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path

import msgspec
import numpy as np

from dojo.core.spec.compare import SHOWN, spec_hash
from dojo.core.state.clock import wall_now
from dojo.core.tasks.specs import load_spec
from dojo.studies.bandits import POINT_DAYS, SCENARIOS, Lived, live_all
from dojo.studies.results import STORED_BANDITS, BanditStudy, RegretCurve, write_study
from dojo.studies.run import CHILDREN, LOOK_SECONDS


class FinishedTown(msgspec.Struct, frozen=True, kw_only=True):
    """One town in one scenario.

    Attributes:
        of: Spec and size, which decide it.
        seconds: Processor time.
        policies: Policy -> its weeks.
    """

    of: str
    seconds: float
    policies: dict[str, Lived]


def run_bandits(
    spec_file: Path,
    home: Path,
    towns: int,
    days: int,
    customers: int,
    progress: Callable[[int, int], None],
) -> tuple[BanditStudy, Path]:
    """Make the study, and write it to `<home>/studies/bandits.json`.

    Args:
        spec_file: The banner model's spec.
        home: The platform's home.
        towns: Number of towns, each with its own seed.
        days: Days of each town.
        customers: Size of each town.
        progress: Called about twice a second with the finished and all towns.

    Returns:
        The study and its file.

    Raises:
        ValueError: The spec has no bandit.
    """
    spec = load_spec(spec_file)
    if spec.bandit is None:
        raise ValueError(f"{spec_file}: no section bandit")
    directory = home / "studies"
    directory.mkdir(parents=True, exist_ok=True)
    of = f"{spec_hash(spec)[:SHOWN]} {days} {customers}"
    wanted = [(name, seed) for seed in range(1, towns + 1) for name in SCENARIOS]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CHILDREN, mp_context=context) as pool:
        running = [
            pool.submit(live_town, name, seed, spec_file, directory, days, customers, of)
            for name, seed in wanted
        ]
        while (so_far := wait(running, timeout=LOOK_SECONDS)).not_done:
            progress(len(so_far.done), len(running))
        finished = {at: one.result() for at, one in zip(wanted, running, strict=True)}
    study = BanditStudy(
        made=wall_now(),
        seconds=round(sum(one.seconds for one in finished.values()), 1),
        customers=customers,
        days=days,
        towns=towns,
        spec=of.split()[0],
        euro_per_click=spec.bandit.reward.flagged_positive,
        point_days=POINT_DAYS,
        scenarios={
            name: {
                policy: curve_of(
                    [finished[name, seed + 1].policies[policy] for seed in range(towns)]
                )
                for policy in finished[name, 1].policies
            }
            for name in SCENARIOS
        },
    )
    path = directory / STORED_BANDITS.name
    write_study(study, path)
    return study, path


def live_town(
    name: str, seed: int, spec_file: Path, directory: Path, days: int, customers: int, of: str
) -> FinishedTown:
    """Live one town in one scenario, if an earlier run has not finished it."""
    path = directory / f"bandits-{name}-{seed}.json"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=FinishedTown)
        if found.of == of:
            return found
    except (FileNotFoundError, msgspec.MsgspecError):
        pass
    limits = load_spec(spec_file).bandit
    assert limits is not None, "run_bandits has looked"
    started = time.process_time()
    policies = dict(live_all(seed, SCENARIOS[name], limits, days, customers))
    town = FinishedTown(of=of, seconds=time.process_time() - started, policies=policies)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(town))
    temporary.replace(path)
    return town


def curve_of(towns: Sequence[Lived]) -> RegretCurve:
    """Return one policy's curve over its towns."""
    regret = np.array([one.regret for one in towns])
    return RegretCurve(
        regret=np.round(regret.mean(axis=0)).tolist(),
        low=np.round(regret.min(axis=0)).tolist(),
        high=np.round(regret.max(axis=0)).tolist(),
        shares=np.array([one.shares for one in towns]).mean(axis=0).round(3).tolist(),
        answers=round(float(np.mean([one.answers for one in towns]))),
    )
