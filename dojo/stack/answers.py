"""Asks a process of the platform over HTTP, for commands that wait for it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any


def get_json(url: str) -> tuple[int, dict[str, Any]]:
    """Status and body. Status 0 when no answer comes within 2 s: the server may still start."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status), dict(json.load(answer))
    except urllib.error.HTTPError as error:
        return error.code, {}
    except (OSError, ValueError):
        return 0, {}
