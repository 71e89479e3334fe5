"""All kinds of faults. `kind` in a drill's file chooses one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dojo.drills.faults.data.broken_file import BrokenFile
from dojo.drills.faults.data.store_setting import StoreSetting
from dojo.drills.faults.data.world_drift import HiddenDrift
from dojo.drills.faults.monitoring.changed_file import ChangedFile
from dojo.drills.faults.monitoring.forgotten_silence import ForgottenSilence
from dojo.drills.faults.processes.dropped_client import DroppedClient
from dojo.drills.faults.processes.killed_process import KilledProcess
from dojo.drills.faults.processes.paused_responder import PausedResponder
from dojo.drills.faults.processes.service_override import ServiceOverride
from dojo.drills.faults.processes.side_program import SideProgram
from dojo.drills.faults.processes.stray_recorder import StrayRecorder
from dojo.drills.faults.versions.lost_bundle import LostBundle
from dojo.drills.faults.versions.moved_alias import MovedAlias
from dojo.drills.faults.versions.moved_rollout import MovedRollout
from dojo.drills.faults.versions.spoiled_version import SpoiledVersion

Fault = Annotated[
    BrokenFile
    | ChangedFile
    | DroppedClient
    | ForgottenSilence
    | HiddenDrift
    | KilledProcess
    | LostBundle
    | MovedAlias
    | MovedRollout
    | PausedResponder
    | ServiceOverride
    | SideProgram
    | SpoiledVersion
    | StoreSetting
    | StrayRecorder,
    Field(discriminator="kind"),
]
