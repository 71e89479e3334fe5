"""Try every combination of settings for the next model, as fast as this machine can.

python grid_search.py [PROCESSES]
"""

import multiprocessing
import sys

import lightgbm
import numpy as np

ROWS, COLUMNS = 60_000, 40


def search(seed: int) -> None:
    """Train one combination after the other, for good."""
    chance = np.random.default_rng(seed)
    inputs = chance.normal(size=(ROWS, COLUMNS))
    labels = (inputs[:, :5].sum(axis=1) + chance.normal(size=ROWS) > 3).astype(int)
    while True:
        settings = {
            "objective": "binary",
            "num_leaves": int(chance.integers(31, 255)),
            "learning_rate": float(chance.uniform(0.02, 0.2)),
            "num_threads": 4,
            "verbose": -1,
        }
        lightgbm.train(settings, lightgbm.Dataset(inputs, labels), num_boost_round=200)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else multiprocessing.cpu_count()
    workers = [multiprocessing.Process(target=search, args=(seed,)) for seed in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
