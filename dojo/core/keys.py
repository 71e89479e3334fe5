"""The platform's own keys: from the environment, or made at first use below the home, where only its user reads them."""

from __future__ import annotations

import secrets

from dojo.core.private import kept_text
from dojo.core.settings import Settings

# Hexadecimal: safe in headers, URLs and shells. 32 bytes cannot be guessed.
KEY_BYTES = 32


def time_key(settings: Settings) -> str:
    """What a caller of the gateway shows to set a request's time freely."""
    return settings.time_key or _kept(settings, "time")


def seal_key(settings: Settings) -> str:
    """What versions in the registry are sealed with."""
    return settings.seal_key or _kept(settings, "seal")


def _kept(settings: Settings, name: str) -> str:
    return kept_text(settings.home / "keys" / name, lambda: secrets.token_hex(KEY_BYTES))
