"""Just enough PromQL to find an expression's selectors and to remove its conditions."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<braces>\{(?:[^{}"']|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')*\})
    | (?P<range>\[[^\]]*\])
    | (?P<number>\d[\w.]*)
    | (?P<name>[a-zA-Z_:][\w:]*)
    | (?P<comparison>==|!=|<=|>=|<|>)
    | (?P<other>[-+*/%^(),@])
    | (?P<space>\s+)
    """,
    re.VERBOSE,
)
_WITH_LABELS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_AFTER_FUNCTIONS = {"(", "by", "without"}
_WORDS = _WITH_LABELS | {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str


def tokens(expr: str) -> list[Token]:
    """Return the tokens without white space.

    Raises:
        ValueError: A character does not belong to PromQL here. Template variables must be filled in
            before.
    """
    found, at = [], 0
    while at < len(expr):
        match = _TOKEN.match(expr, at)
        if match is None:
            raise ValueError(f"cannot read {expr[at:]!r} in {expr!r}")
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match.group()))
        at = match.end()
    return found


def selectors(expr: str) -> list[str]:
    """Return the vector selectors, `name{matchers}`, in order, without ranges and offsets."""
    found: list[str] = []
    read = tokens(expr)
    at = 0
    while at < len(read):
        token = read[at]
        after = read[at + 1].text if at + 1 < len(read) else ""
        if token.kind == "name" and token.text.lower() in _WITH_LABELS and after == "(":
            at = next(i for i in range(at, len(read)) if read[i].text == ")")
        elif (
            token.kind == "name"
            and token.text.lower() not in _WORDS
            and after.lower() not in _AFTER_FUNCTIONS
        ):
            with_matchers = after.startswith("{")
            found.append(token.text + (after if with_matchers else ""))
            at += with_matchers
        elif token.kind == "braces":
            found.append(token.text)
        at += 1
    return found


def metric(selector: str) -> str:
    """Return the metric's name. Empty for a selector without a name."""
    return selector.split("{")[0]


def labels(selector: str) -> set[str]:
    """Return the labels in a selector's matchers."""
    return set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*["\']', selector))


def without_conditions(expr: str) -> str:
    """Return the expression without conditions. It has a result whenever its operands have.

    Comparisons answer 0 or 1 instead of dropping series. `absent` counts existing series. In
    `a unless b` both must exist. An `offset` becomes now, because a young stack has no such past. A
    result is then empty for two reasons only. An operand is empty, or two operands have no labels
    in common.
    """
    made: list[str] = []
    read = tokens(expr)
    for at, token in enumerate(read):
        if token.kind in ("braces", "range") and at > 0:
            made[-1] += token.text  # belongs to the selector or subquery before it
            continue
        lowered = token.text.lower()
        if lowered == "offset" or (at > 0 and read[at - 1].text.lower() == "offset"):
            continue
        made.append(
            {"absent": "count", "absent_over_time": "count_over_time", "unless": "and"}.get(
                lowered, token.text
            )
        )
        if token.kind == "comparison" and not (
            at + 1 < len(read) and read[at + 1].text.lower() == "bool"
        ):
            made.append("bool")
    return " ".join(made)
