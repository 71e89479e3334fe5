"""Name in a drill's file -> the fault."""

from __future__ import annotations

from collections.abc import Mapping

from dojo.drills.faults.broken_file import BrokenFile
from dojo.drills.faults.changed_rule import ChangedRule
from dojo.drills.faults.fault import Injection
from dojo.drills.faults.stray_recorder import StrayRecorder
from dojo.drills.spec import FaultName

FAULTS: Mapping[FaultName, Injection] = {
    "stray_recorder": StrayRecorder(),
    "broken_file": BrokenFile(),
    "changed_rule": ChangedRule(),
}
