"""The commands of a page of docs, for a test that does what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path


class Page:
    """The commands of a page's console blocks. `left`: those that no test has taken yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left = re.findall(r"^\$ (.+)$", path.read_text(), re.MULTILINE)
        assert self.left, f"{path} has no command"

    def take(self, beginning: str) -> list[str]:
        """Return the words of the page's next command that begins like this."""
        found = next((line for line in self.left if line.startswith(beginning)), None)
        assert found is not None, f"{self.path} does not say: {beginning}"
        self.left.remove(found)
        return shlex.split(found)

    def dojo(self, beginning: str) -> list[str]:
        """Return the arguments of the page's next such `dojo` command."""
        program, *arguments = self.take(f"dojo {beginning}")
        assert program == "dojo"
        return arguments
