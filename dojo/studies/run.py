"""Makes a study: shop by shop in child processes, resumed where an earlier run ended.

`<home>/studies/` keeps per shop its weeks, and the labels that its next week learns from.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path

import msgspec
import polars as pl

from dojo.core.lake import write_parquet_atomically
from dojo.core.spec.compare import SHOWN, spec_hash
from dojo.core.state.clock import wall_now
from dojo.core.tasks.specs import load_spec
from dojo.studies.results import Study, Week, write_study
from dojo.studies.selective_labels import SHOPS, SelectiveLabels

# One child per core of the smallest machine that the platform is made for.
CHILDREN = 2

# Between looks at the children's progress, wall seconds.
LOOK_SECONDS = 0.5

# Shop -> number of its weeks so far.
Progress = Callable[[dict[str, int]], None]


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """One shop's weeks so far.

    Attributes:
        of: Town and spec, which decide the weeks.
        seconds: Processor time.
        weeks: The weeks.
    """

    of: str
    seconds: float
    weeks: list[Week]


def run_study(
    spec_file: Path, home: Path, weeks: int, customers: int, progress: Progress
) -> tuple[Study, Path]:
    """Make the study, and write it to `<home>/studies/selective_labels.json`.

    Args:
        spec_file: The fraud model's spec.
        home: The platform's home.
        weeks: Number of weeks.
        customers: Size of the town.
        progress: Called about twice a second.

    Returns:
        The study and its file.
    """
    directory = home / "studies"
    directory.mkdir(parents=True, exist_ok=True)
    of = f"{spec_hash(load_spec(spec_file))[:SHOWN]} {customers}"
    context = multiprocessing.get_context("spawn")  # LightGBM's threads survive no fork
    with ProcessPoolExecutor(CHILDREN, mp_context=context) as pool:
        running = [
            pool.submit(live_shop, name, spec_file, directory, weeks, customers, of)
            for name in SHOPS
        ]
        while wait(running, timeout=LOOK_SECONDS).not_done:
            progress({name: len(_begun(directory, name, of).weeks) for name in SHOPS})
        for one in running:
            one.result()
    found = {name: _begun(directory, name, of) for name in SHOPS}
    study = Study(
        made=wall_now(),
        seconds=round(sum(one.seconds for one in found.values()), 1),
        customers=customers,
        spec=of.split()[0],
        shops={name: one.weeks[:weeks] for name, one in found.items()},
    )
    path = directory / "selective_labels.json"
    write_study(study, path)
    return study, path


def live_shop(
    name: str, spec_file: Path, directory: Path, weeks: int, customers: int, of: str
) -> None:
    """Live one shop up to `weeks`, from where an earlier run ended."""
    begun = _begun(directory, name, of)
    if len(begun.weeks) >= weeks:
        return
    shop = SelectiveLabels(SHOPS[name], load_spec(spec_file), customers)
    if begun.weeks:
        shop.outcomes = pl.read_parquet(_labels(directory, name, len(begun.weeks)), glob=False)
    while len(begun.weeks) < weeks:
        started = time.process_time()
        lived = shop.live(len(begun.weeks))
        seconds = begun.seconds + time.process_time() - started
        # The labels first. A week counts once its labels are there.
        write_parquet_atomically(shop.outcomes, _labels(directory, name, lived.week + 1))
        begun = Begun(of=of, seconds=seconds, weeks=[*begun.weeks, lived])
        temporary = _weeks(directory, name).with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(begun))
        temporary.replace(_weeks(directory, name))
        _labels(directory, name, lived.week).unlink(missing_ok=True)


def _begun(directory: Path, name: str, of: str) -> Begun:
    """Return the weeks so far. None of another town or spec."""
    nothing = Begun(of=of, seconds=0.0, weeks=[])
    try:
        begun = msgspec.json.decode(_weeks(directory, name).read_bytes(), type=Begun)
    except (FileNotFoundError, msgspec.MsgspecError):
        return nothing
    return begun if begun.of == of else nothing


def _weeks(directory: Path, name: str) -> Path:
    return directory / f"{name}.json"


def _labels(directory: Path, name: str, weeks: int) -> Path:
    return _weeks(directory, name).with_suffix(f".{weeks}.parquet")
