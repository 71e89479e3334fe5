"""Links in docs lead to existing places, and cited keys and names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.support.commands import every_command

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def citations() -> list[tuple[str, str, str]]:
    found = []
    for page in PAGES:
        for path, name in re.findall(r"`([\w./]+\.(?:py|yaml)): ([\w.]+)`", page.read_text()):
            found.append((str(page.relative_to(ROOT)), path, name))
    return found


@pytest.mark.parametrize(("page", "path", "name"), citations())
def test_every_cited_key_or_name_exists(page: str, path: str, name: str) -> None:
    text = (ROOT / path).read_text()
    if path.endswith(".yaml"):
        node = yaml.safe_load(text)
        for part in name.split("."):
            assert part in node, f"{page} cites {path}: {name}"
            node = node[part]
    else:
        assert re.search(rf"^\s*(?:def |class )?{re.escape(name)}\b", text, re.MULTILINE), (
            f"{page} cites {path}: {name}"
        )


def test_the_command_page_lists_exactly_the_commands_that_exist() -> None:
    documented = re.findall(
        r"^\| `(dojo [a-z -]+)` \|", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE
    )
    assert sorted(documented) == sorted(every_command())
