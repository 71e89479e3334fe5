"""A colleague's deployment of one service: other variables, a limit, or a release of its own.

It is an override of the supervisor (dojo/stack/supervisor/overrides.py). A release is a copy of
the code and the specs in `<home>/releases`, with a few changed lines.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

import dojo
from dojo.core.settings import Settings
from dojo.core.spec.section import Section, Text
from dojo.drills.faults.addresses import filled
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown

CODE = Path(dojo.__file__).parents[1]

# What a service needs of the checkout.
PARTS = ("dojo", "feature_repo", "services", "pipelines", "models", "monitoring")
LEFT_OUT = shutil.ignore_patterns("*drill*", "sabotage.py")


class ReleasedEdit(Section):
    """A changed text.

    Attributes:
        file: Relative to the checkout.
        shipped: What is changed. The file must have it once.
        changed: What stands there in the release.
    """

    file: Path
    shipped: Text
    changed: Text


class ServiceOverride(Injection):
    """How one service is started from now on. It is restarted at once.

    Attributes:
        service: Its name in the stack.
        environment: Variables of its process (../addresses.py).
        memory_mb: Resident memory above which it is killed.
        release: Name of the release. "" is the checkout.
        edits: What differs in the release.
    """

    kind: Literal["service_override"]
    service: Text
    environment: dict[str, Text] = Field(default_factory=dict)
    memory_mb: Annotated[int, Field(ge=0)] = 0
    release: Annotated[str, Field(pattern=r"^[a-z0-9.-]*$")] = ""
    edits: tuple[ReleasedEdit, ...] = ()

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        from dojo.stack.control import StackError, restart  # late, as in the other faults
        from dojo.stack.supervisor.overrides import override_file

        home = settings.home.resolve()
        file, release = override_file(home, self.service), home / "releases" / self.release
        if file.exists():
            raise FaultRefusedError(f"{file} is there already")
        content: dict[str, object] = {
            "environment": {
                name: filled(text, settings) for name, text in self.environment.items()
            },
            "memory_mb": self.memory_mb,
        }
        if self.release:
            content["directory"] = str(release)
        text = yaml.safe_dump(content, sort_keys=False)
        write_down(
            {"file": str(file), "text": text, "release": str(release) if self.release else ""}
        )
        if self.release:
            self._make(release)
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        try:
            restart(settings.home, self.service)
        except StackError as error:
            raise FaultRefusedError(str(error)) from error

    def _make(self, release: Path) -> None:
        shutil.rmtree(release, ignore_errors=True)
        for part in PARTS:
            shutil.copytree(CODE / part, release / part, ignore=LEFT_OUT)
        for edit in self.edits:
            path = release / edit.file
            text = path.read_text()
            if text.count(edit.shipped) != 1:
                raise FaultRefusedError(f"{edit.file} has not once: {edit.shipped}")
            path.write_text(text.replace(edit.shipped, edit.changed))

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        from dojo.stack.control import restart, running

        if self.left(settings, receipt):
            Path(receipt["file"]).unlink()
            stack = running(settings.home)
            if stack and any(one.name == self.service and one.override for one in stack.processes):
                restart(settings.home, self.service)
        if receipt["release"]:
            shutil.rmtree(receipt["release"], ignore_errors=True)

    def left(self, settings: Settings, receipt: Receipt) -> str:
        """An override with another text is the person's own."""
        file = Path(receipt["file"])
        there = file.exists() and file.read_text() == receipt["text"]
        return f"the override {file}" if there else ""
