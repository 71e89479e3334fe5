"""`python -m dojo.drills.running.watch NUMBER`: measures the outcome while a run is open.

The samples say when the harm was over. The person's own claim does not.
"""

from __future__ import annotations

import sys
import time

import msgspec

from dojo.actions.desk import Desk
from dojo.core.state.clock import wall_now
from dojo.drills.catalogue import drill
from dojo.drills.record import SAMPLES_FILE, Records, Sample
from dojo.drills.running.end import stop
from dojo.drills.running.probes import measure_all

# Between two samples, wall seconds.
SAMPLE_SECONDS = 1.0


def main() -> int:
    desk, number = Desk(), int(sys.argv[1])
    records = Records(desk.settings.home)
    spec = drill(records.read(number).drill)
    with (records.directory(number) / SAMPLES_FILE).open("ab") as file:
        while (run := records.open()) is not None and run.number == number:
            sample = Sample(wall_now(), measure_all(desk, spec.outcome))
            file.write(msgspec.json.encode(sample) + b"\n")
            file.flush()
            if run.ends is not None and wall_now() >= run.ends:
                stop(desk, "the time was over")
                break
            time.sleep(SAMPLE_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
