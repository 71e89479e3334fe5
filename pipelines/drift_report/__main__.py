"""`python -m pipelines.drift_report MODEL VERSION START END`: build one report now; world times as 2018-06-24T00:00 (UTC)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dojo.registry_errors import RegistryUnavailableError, UnknownVersionError
from dojo.settings import SettingsError, load_settings
from dojo.specs import SpecError
from pipelines.drift_report.publish import EmptyWindowError, NoReferenceError, build
from pipelines.retraining.terminal import parse_time


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipelines.drift_report", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("version")
    parser.add_argument("start", type=parse_time)
    parser.add_argument("end", type=parse_time)
    given = parser.parse_args(arguments)
    try:
        report = build(load_settings(), given.model, given.version, given.start, given.end)
    except (
        SettingsError,
        SpecError,
        UnknownVersionError,
        RegistryUnavailableError,
        NoReferenceError,
        EmptyWindowError,
    ) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    moved = ", ".join(report.drifted) or "none"
    sys.stdout.write(f"{report.url}\ndrifted: {moved} ({report.current_rows} rows against {report.reference_rows})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
