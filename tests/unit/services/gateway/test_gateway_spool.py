from __future__ import annotations

from pathlib import Path

import pytest

from services.gateway.logging import spool as spool_module
from services.gateway.logging.spool import Spool


def drain(spool: Spool) -> list[bytes]:
    events = []
    while (oldest := spool.oldest()) is not None:
        segment, found = oldest
        events += found
        spool.delete(segment)
    return events


def test_events_come_out_in_order_across_segments_and_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 20)
    spool = Spool(tmp_path, 10_000)
    events = [b"event-%d" % n for n in range(20)]
    for at in range(0, 10, 2):
        assert spool.append(events[at : at + 2]) == 2
    spool = Spool(tmp_path, 10_000)
    assert spool.append(events[10:]) == 10
    assert len(list(tmp_path.glob("*.jsonl"))) > 2
    assert drain(spool) == events
    assert spool.size == 0
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused_and_room_is_regained(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 25)
    assert spool.append([b"123456789"] * 5) == 2
    assert spool.append([b"x" * 9]) == 0
    assert spool.size == 20
    drain(spool)
    assert spool.append([b"123456789"]) == 1


def test_a_torn_last_line_is_left_out_and_never_appended_to(tmp_path: Path) -> None:
    Spool(tmp_path, 1000).append([b"one", b"two"])
    (segment,) = tmp_path.iterdir()
    segment.write_bytes(b"one\ntwo\nthr")
    spool = Spool(tmp_path, 1000)
    spool.append([b"four"])
    assert drain(spool) == [b"one", b"two", b"four"]


def test_after_a_failed_write_the_next_events_are_kept_again(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    spool = Spool(directory, 10_000)
    directory.rmdir()
    for _ in range(2):  # the disk must fail the second time too, not the spool
        with pytest.raises(FileNotFoundError):
            spool.append([b"lost"])
    directory.mkdir()
    assert spool.append([b"kept"]) == 1
    assert drain(spool) == [b"kept"]
