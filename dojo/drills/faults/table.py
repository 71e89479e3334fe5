"""All kinds of faults. `kind` in a drill's file chooses one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dojo.drills.faults.broken_file import BrokenFile
from dojo.drills.faults.changed_file import ChangedFile
from dojo.drills.faults.dropped_client import DroppedClient
from dojo.drills.faults.forgotten_silence import ForgottenSilence
from dojo.drills.faults.lost_bundle import LostBundle
from dojo.drills.faults.moved_alias import MovedAlias
from dojo.drills.faults.side_program import SideProgram
from dojo.drills.faults.store_setting import StoreSetting
from dojo.drills.faults.stray_recorder import StrayRecorder
from dojo.drills.faults.world_drift import HiddenDrift

Fault = Annotated[
    BrokenFile
    | ChangedFile
    | DroppedClient
    | ForgottenSilence
    | HiddenDrift
    | LostBundle
    | MovedAlias
    | SideProgram
    | StoreSetting
    | StrayRecorder,
    Field(discriminator="kind"),
]
