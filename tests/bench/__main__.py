"""`make bench`: every benchmark, one after the other; `python -m tests.bench gateway` runs one."""

from __future__ import annotations

import sys

from tests.bench import data, gateway

BENCHES = {"data": data.main, "gateway": gateway.main}


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(BENCHES)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}", file=sys.stderr)  # noqa: T201
        return 2
    failed = 0
    for name in wanted or BENCHES:
        print(f"\n== {name}", flush=True)  # noqa: T201
        failed |= BENCHES[name]([])
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
