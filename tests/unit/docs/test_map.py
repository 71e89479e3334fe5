"""MAP.md is one page that shows the whole tree and at most 40 words."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
MAP = (ROOT / "MAP.md").read_text()

# Python folders that a newcomer meets. Each has its line in the map.
PARENTS = ("dojo", "dojo/core", "dojo/stats", "dojo/cli", "dojo/stack", "pipelines")


def rows(heading: str) -> list[list[str]]:
    section = MAP.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_it_has_at_most_forty_words_each_explained_once() -> None:
    words = [word for word, _ in rows("The words")]
    assert len(words) == len(set(words)) <= 40
    assert all(len(meaning.split()) <= 25 for _, meaning in rows("The words"))


def test_it_fits_on_a_page() -> None:
    assert len(MAP.splitlines()) <= 100


def test_every_room_of_the_tree_is_on_it() -> None:
    named = set(re.findall(r"`([\w/]+)`", MAP))
    rooms = {
        str(path.parent.relative_to(ROOT))
        for parent in PARENTS
        for path in (ROOT / parent).glob("*/__init__.py")
    }
    missing = {room for room in rooms if room not in named and room.rpartition("/")[2] not in named}
    assert missing == set(), "say in MAP.md what is in them"


def test_every_room_on_it_is_in_the_tree() -> None:
    for cells in rows("The rooms"):
        room = cells[0].strip("`")
        assert (ROOT / room).is_dir(), room
        for inner in re.findall(r"`([\w]+)`", cells[1]):
            assert (ROOT / room / inner).exists(), f"{room}/{inner}"
