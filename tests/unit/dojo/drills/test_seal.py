"""The seal promises a drill without telling it."""

from __future__ import annotations

import hashlib

from dojo.drills.seal import new_salt, seal


def test_the_seal_is_a_hash_that_anybody_can_compute() -> None:
    assert seal("a-drill", "1f") == hashlib.sha256(b"a-drill:1f").hexdigest()


def test_another_drill_or_salt_has_another_seal() -> None:
    salts = {new_salt() for _ in range(100)}
    assert len(salts) == 100
    assert min(map(len, salts)) == 32
    assert len({seal(name, salt) for name in ("a", "b") for salt in salts}) == 200
