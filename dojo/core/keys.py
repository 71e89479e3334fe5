"""The platform's own keys.

They come from the environment, or are made at first use below the home. Only the home's user can
read them there.
"""

from __future__ import annotations

import secrets

from dojo.core.private import kept_text
from dojo.core.settings import Settings

# Hexadecimal: safe in headers, URLs and shells. 32 bytes cannot be guessed.
KEY_BYTES = 32


def time_key(settings: Settings) -> str:
    """The key with which a caller of the gateway may set a request's time freely."""
    return settings.time_key or _kept(settings, "time")


def seal_key(settings: Settings) -> str:
    """The key that seals versions in the registry."""
    return settings.seal_key or _kept(settings, "seal")


def _kept(settings: Settings, name: str) -> str:
    return kept_text(settings.home / "keys" / name, lambda: secrets.token_hex(KEY_BYTES))
