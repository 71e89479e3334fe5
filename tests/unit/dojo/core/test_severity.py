"""People read a state by its glyph and word, and by its colour even if they are colour-blind."""

from __future__ import annotations

from itertools import combinations
from typing import get_args

import numpy as np
import pytest
from rich.style import Style

from dojo.core.judging.rollout.stages import CheckVerdict
from dojo.core.severity import ALIKE, APPEARANCES, ORDER, Severity, appearance_of, drawn, marked
from dojo.core.state.inbox import Urgency
from dojo.stack.doctor_checks import DoctorVerdict
from dojo.stack.supervisor.lifecycle import ProcessState

# How a screen's linear RGB looks with a whole deficiency.
# Source: Machado, Oliveira and Fernandes, A Physiologically-based Model for Simulation of Color
# Vision Deficiency (2009).
SEEN = {
    "common": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.3039],
        ]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """Return CIE L*a*b* of a hexadecimal RGB colour, as a person sees it."""
    encoded = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratios = TO_XYZ @ np.clip(seen @ linear, 0, 1) / WHITE
    x, y, z = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", SEEN)
def test_two_severities_differ_in_colour_for_every_kind_of_vision(vision: str) -> None:
    for one, other in combinations(APPEARANCES.values(), 2):
        assert (
            np.linalg.norm(lab(one.colour, SEEN[vision]) - lab(other.colour, SEEN[vision])) >= 15
        ), (one, other)


def test_a_plain_scale_from_green_to_red_would_not_do() -> None:
    """Grafana's own green and red show that the measure above can fail."""
    assert (
        np.linalg.norm(lab("#73bf69", SEEN["deuteranopia"]) - lab("#f2495c", SEEN["deuteranopia"]))
        < 9
    )


def test_each_severity_has_a_glyph_and_a_style_of_its_own() -> None:
    assert set(APPEARANCES) == set(get_args(Severity)) == set(ORDER)
    assert (
        len({shown.glyph for shown in APPEARANCES.values()})
        == len({shown.style for shown in APPEARANCES.values()})
        == len(ORDER)
    )
    for shown in APPEARANCES.values():
        Style.parse(shown.style)  # raises for a colour that Rich does not know


def test_without_data_is_never_shown_like_ok() -> None:
    assert marked("insufficient_data") == "[dim]○ insufficient_data[/]"
    assert marked("ok") == "[cyan]● ok[/]"


def test_every_word_of_another_vocabulary_is_like_a_severity() -> None:
    """An unknown word counts as `critical`. Only words for trouble may rely on it."""
    words = {
        *get_args(CheckVerdict),
        *get_args(Urgency),
        *map(str, ProcessState),
        *map(str, DoctorVerdict),
    }
    assert words - set(ALIKE) - set(ORDER) == {str(ProcessState.BACKOFF)}


def test_an_unknown_state_is_looked_at_first() -> None:
    assert appearance_of("never heard of") == APPEARANCES["critical"]
    assert drawn("stale") == "◆ stale"
