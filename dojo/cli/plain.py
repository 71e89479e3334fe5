"""ASCII characters for streams whose encoding has no others, such as a log file in a C locale."""

from __future__ import annotations

import codecs
import io
import sys

# Every character beyond ASCII that a command prints. The bars of a small plot become their heights.
PLAIN = {
    "▸": ">", "→": "->", "✔": "ok", "€": "EUR", "…": "...", "–": "-", "µ": "u",
    "○": ".", "●": "*", "▲": "!", "◆": "!!", "■": "!!!",
    **dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True)),
}  # fmt: skip


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lacking), error.end


def print_plainly_where_needed() -> None:
    """Replace characters that the encoding of stdout or stderr lacks.

    Without it a command would fail in the middle of a line.
    """
    codecs.register_error("plain", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")
