"""How good or bad a state is: the five severities, and how each is written, drawn and coloured.

Commands, dashboards and pages show a state by its glyph, its word and its colour together. So a
reader who cannot tell two colours apart still reads the state. `insufficient_data` has no colour of
its own, because nothing is known.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

# In order. `insufficient_data` is below ok and never counts as ok.
Severity = Literal["insufficient_data", "ok", "warning", "severe", "critical"]

ORDER: tuple[Severity, ...] = ("insufficient_data", "ok", "warning", "severe", "critical")


class Appearance(NamedTuple):
    """How a state is shown.

    Attributes:
        glyph: One character, different for each severity.
        style: A Rich style, for terminals with a light or a dark background.
        colour: RGB in hexadecimal, for dashboards and pages with a dark background.
    """

    glyph: str
    style: str
    colour: str


# Any two colours differ by at least 15 in Delta E (CIE 1976). This also holds for readers with
# protanopia, deuteranopia or tritanopia. In a plain scale from green to red, two differ by 8.
APPEARANCES: dict[Severity, Appearance] = {
    "insufficient_data": Appearance("○", "dim", "#8e8e8e"),
    "ok": Appearance("●", "cyan", "#2f9db3"),
    "warning": Appearance("▲", "yellow", "#f2c14e"),
    "severe": Appearance("◆", "dark_orange3", "#ee6a2c"),
    "critical": Appearance("■", "bold red", "#ffe3f1"),
}

# Words of other vocabularies: of rollout checks, features, processes, messages, and machine checks.
ALIKE: dict[str, Severity] = {
    "agrees": "ok",
    "closed": "ok",
    "healthy": "ok",
    "ready": "ok",
    "resolved": "ok",
    "up": "ok",
    "info": "insufficient_data",
    "optional": "insufficient_data",
    "stopped": "insufficient_data",
    "waiting": "insufficient_data",
    "edited": "warning",
    "off": "warning",
    "paused": "warning",
    "starting": "warning",
    "open": "severe",
    "stale": "severe",
    "differs": "critical",
    "down": "critical",
    "failed": "critical",
    "lost": "critical",
    "missing": "critical",
    "page": "critical",
    "unhealthy": "critical",
}


def appearance_of(word: str) -> Appearance:
    """How a state's word is shown. An unknown word is critical: a reader looks at it first."""
    severity: Severity = next(
        (known for known in ORDER if known == word), ALIKE.get(word, "critical")
    )
    return APPEARANCES[severity]


def drawn(word: str) -> str:
    """The state as plain text: its glyph and its word."""
    return f"{appearance_of(word).glyph} {word}"


def marked(word: str) -> str:
    """The state with Rich's markup around it, for messages and tables."""
    return f"[{appearance_of(word).style}]{drawn(word)}[/]"
