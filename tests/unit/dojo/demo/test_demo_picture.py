"""The picture of a demo: readable as XML, whole, and alone."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from rich.panel import Panel

from dojo.core.severity import marked
from dojo.demo.showing.picture import save


def test_the_picture_shows_every_part_and_asks_no_other_host(tmp_path: Path) -> None:
    save(
        tmp_path / "demo.svg",
        [Panel("fraud caught 12 & missed 3"), marked("critical")],
        "dojo demo",
    )
    svg = (tmp_path / "demo.svg").read_text()
    text = "".join(ElementTree.fromstring(svg).itertext()).replace("\xa0", " ")
    assert "fraud caught 12 & missed 3" in text
    assert "■ critical" in text
    assert "dojo demo" in text
    assert set(re.findall(r"https?://[^\s\"')]+", svg)) == {"http://www.w3.org/2000/svg"}
