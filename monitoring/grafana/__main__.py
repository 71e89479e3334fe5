"""`python -m monitoring.grafana`: writes every dashboard to dashboards/<name>.json."""

from __future__ import annotations

import json
from pathlib import Path

from monitoring.grafana.boards import BOARDS
from monitoring.grafana.schema import Dashboard

DIRECTORY = Path(__file__).with_name("dashboards")


def text_of(board: Dashboard) -> str:
    """Return the file's content. It is the same at every run, so that a diff shows only changes."""
    return json.dumps(board.json(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for board in BOARDS:
        (DIRECTORY / f"{board.uid}.json").write_text(text_of(board), encoding="utf-8")


if __name__ == "__main__":
    main()
