"""A promise of which drill it is, before it begins: a hash that the end opens.

Source: commitment schemes, e.g. Blum, Coin Flipping by Telephone (1981), with a hash.
"""

from __future__ import annotations

import hashlib
import secrets


def new_salt() -> str:
    """Return 128 random bits. Without them a hash of so few names would tell the name."""
    return secrets.token_hex(16)


def seal(drill: str, salt: str) -> str:
    """Return the promise, SHA-256 in hexadecimal digits."""
    return hashlib.sha256(f"{drill}:{salt}".encode()).hexdigest()
