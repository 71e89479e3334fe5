"""Measures and checks the project's sentences and line widths.

    python scripts/prose.py             print the counts of this checkout
    python scripts/prose.py --check     print each fault, and end with status 1 when there is one
    python scripts/prose.py --check docs dojo/core      only files below these

Prose is every docstring and comment of the Python files. It is also the comments of YAML, TOML,
shell and Docker files, and the Markdown pages without their code. The same script measures any
commit:

    git worktree add /tmp/before COMMIT && cd /tmp/before && python .../scripts/prose.py

It needs only the standard library, so it runs before anything is installed.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Words of a sentence, and of a sentence in a table. STYLE's limits for readers in a hurry.
LONGEST = 20
LONGEST_IN_TABLE = 25

# Characters of a line of code or prose: two files stand side by side on a laptop.
WIDTH = 100

# Persons without a name, and pronouns that stand for a noun the reader has to find.
INDEFINITE = re.compile(
    r"\b(nobody|somebody|anybody|everybody|no one|whoever|whomever|whatever|whichever|one that|ones"
    r" that|one which)\b",
    re.IGNORECASE,
)
RELATIVE = re.compile(r"\b(that|which|who|whose|whom|what)\b", re.IGNORECASE)

WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*|\d[\d.,:%]*")
CODE = re.compile(r"`[^`]*`")
END_OF_SENTENCE = re.compile(r"(?<=[.!?])[\"”’)*]*\s+(?=[A-Z`\"“(*_\[0-9])")
LIST_MARK = re.compile(r"(?:[-*+]|\d+\.)\s+|#+\s+|>\s*")

SECTIONS = {"Args:", "Attributes:", "Returns:", "Raises:", "Yields:"}
ENTRY_SECTIONS = {"Args:", "Attributes:"}
ENTRY = re.compile(r"(\*{0,2}\w+(?: \([^)]*\))?): (.*)")

# Comments for programs.
DIRECTIVE = re.compile(r"(noqa|type:|fmt:|ruff:|pragma|syntax=|shellcheck)")

# Made by programs, or text that must stay as it was published.
EXCLUDED = (
    "uv.lock",
    "LICENSE",
    "monitoring/grafana/dashboards/",
    "docs/demo.svg",
    "docs/demo.txt",
    "docs/growth.svg",
    "docs/bandits.svg",
    "tests/drills/recorded/",
)

SOURCE = ("dojo/", "feature_repo/", "services/", "pipelines/", "monitoring/")


class Paragraph(NamedTuple):
    """A piece of prose.

    Attributes:
        path: File, relative to the checkout.
        line: Line on which it begins.
        text: Its lines, joined by spaces.
        entry: Whether it describes one attribute or argument.
        cell: Whether it is a cell of a table.
    """

    path: str
    line: int
    text: str
    entry: bool = False
    cell: bool = False


class Fault(NamedTuple):
    """A broken rule, at a line of a file."""

    path: str
    line: int
    rule: str
    text: str


def paragraphs(path: str, first: int, lines: list[str], base: int = 0) -> Iterator[Paragraph]:
    """Split lines of prose at blank lines, list marks, headings, sections and entries.

    Args:
        first: Number of the first line.
        base: Characters before each later line that belong to the code around it.
    """
    held: list[str] = []
    begun, section, entry, fenced, indented_code = first, "", False, False, False

    def finish() -> Iterator[Paragraph]:
        if held:
            yield Paragraph(path, begun, " ".join(held), entry)
            held.clear()

    for number, line in enumerate(lines, start=first):
        text = line.strip()
        indent = len(line) - len(line.lstrip()) - (base if number > first else 0)
        if text.startswith("```"):
            yield from finish()
            fenced = not fenced
        elif fenced or (indented_code and (indent >= 4 or not text)):
            continue
        elif not text:
            yield from finish()
            section = section if indent >= 4 or section else ""
        elif text.startswith("|"):
            yield from finish()
            for cell in text.strip("|").split("|"):
                yield Paragraph(path, number, cell.strip(), cell=True)
        elif text in SECTIONS:
            yield from finish()
            section, indented_code = text, False
        elif indent >= 4 and not held and not section:
            indented_code = True
        else:
            indented_code = False
            section = section if indent >= 4 else ""
            begins_entry = section in ENTRY_SECTIONS and ENTRY.match(text) is not None
            if held and (LIST_MARK.match(text) or begins_entry):
                yield from finish()
            if not held:
                begun, entry = number, begins_entry
            held.append(LIST_MARK.sub("", text, count=1) if not held else text)
    yield from finish()


def python_prose(path: str, source: str) -> Iterator[Paragraph]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring is not None:
                begun, base = node.body[0].lineno, node.body[0].col_offset
                yield from paragraphs(path, begun, docstring.splitlines(), base)
    comments = [
        (token.start[0], token.string, not token.line[: token.start[1]].strip())
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    yield from comment_prose(path, comments)


def text_comments(source: str) -> list[tuple[int, str, bool]]:
    """The comments of a YAML, TOML, shell or Docker file.

    Each has its line, its text, and whether the line holds only the comment.
    """
    found = (
        (number, re.search(r"(^|\s)(#+ .*)$", line))
        for number, line in enumerate(source.splitlines(), start=1)
    )
    return [
        (number, match[2], not match.string[: match.start(2)].strip())
        for number, match in found
        if match
    ]


def comment_prose(path: str, comments: list[tuple[int, str, bool]]) -> Iterator[Paragraph]:
    """Comments on lines of their own, one below the other, are one text."""
    block: list[str] = []
    begun, last, last_alone = 0, -2, False
    for number, comment, alone in comments:
        text = comment.lstrip("#!").strip()
        if DIRECTIVE.match(text):
            continue
        if not (alone and last_alone and number == last + 1):
            yield from paragraphs(path, begun, block)
            block, begun = [], number
        block.append(text)
        last, last_alone = number, alone
    yield from paragraphs(path, begun, block)


def tracked(root: Path, below: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Name and text of each file of the checkout that people write."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files"], capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (
            name.startswith(EXCLUDED)
            or (below and not name.startswith(below))
            or not (root / name).is_file()
        ):
            continue
        try:
            yield name, (root / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture


def prose(name: str, text: str) -> Iterator[Paragraph]:
    if name.endswith(".py"):
        yield from python_prose(name, text)
    elif name.endswith(".md"):
        yield from paragraphs(name, 1, text.splitlines())
    elif name.endswith((".yml", ".yaml", ".toml", ".sh", "Dockerfile", "Makefile")):
        yield from comment_prose(name, text_comments(text))


def sentences(text: str) -> list[str]:
    return [part for part in END_OF_SENTENCE.split(text) if part.strip()]


def count_words(sentence: str) -> int:
    """Words of a sentence. A piece of code counts as one, and the address of a link as none."""
    return len(WORD.findall(CODE.sub(" x ", re.sub(r"\]\([^)]*\)", "]", sentence))))


def faults_of(paragraph: Paragraph) -> Iterator[Fault]:
    if paragraph.text.startswith(("Source:", "Sources:")):
        return
    path, line = paragraph.path, paragraph.line
    if paragraph.entry:
        about = ENTRY.match(paragraph.text)
        if about and re.search(r";|: ", CODE.sub("x", about[2])):
            yield Fault(
                path, line, "an entry has one meaning: no colon or semicolon", paragraph.text
            )
    longest = LONGEST_IN_TABLE if paragraph.cell else LONGEST
    for sentence in sentences(paragraph.text):
        words = count_words(sentence)
        if words > longest:
            yield Fault(path, line, f"{words} words, at most {longest}", sentence)
        if indefinite := INDEFINITE.search(CODE.sub(" ", sentence)):
            yield Fault(path, line, f"name the actor instead of {indefinite[0]!r}", sentence)


def too_wide(name: str, text: str) -> Iterator[Fault]:
    """Table rows, addresses and drawings of Mermaid may be wider."""
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("```"):
            fence = "" if fence else line
        if len(line) <= WIDTH or "://" in line or fence == "```mermaid":
            continue
        if line.lstrip().startswith("|") and name.endswith((".md", ".py")):
            continue
        yield Fault(name, number, f"{len(line)} characters, at most {WIDTH}", line)


def check(root: Path, below: tuple[str, ...]) -> Iterator[Fault]:
    for name, text in tracked(root, below):
        yield from too_wide(name, text)
        for paragraph in prose(name, text):
            yield from faults_of(paragraph)


def report(root: Path, below: tuple[str, ...]) -> str:
    """The counts of a checkout, in the units of the review that asked for them."""
    texts = list(tracked(root, below))
    found = [
        part
        for name, text in texts
        if name.startswith(SOURCE)
        for part in prose(name, text)
        if name.endswith(".py")
    ]
    all_sentences = [sentence for part in found for sentence in sentences(part.text)]
    text = " ".join(all_sentences)
    words = max(1, sum(map(count_words, all_sentences)))
    names = [
        node.name.strip("_").split("_")
        for name, source in texts
        if name.startswith(SOURCE) and name.endswith(".py")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("__")
    ]
    lines = [line for name, source in texts for line in source.splitlines()]
    per_sentence = len(re.findall(r"[;:](?=\s|$)", text)) / max(1, len(all_sentences))
    rows = {
        "words of docstrings and comments": f"{words:,}",
        "words per sentence": f"{words / max(1, len(all_sentences)):.1f}",
        "relative pronouns per 1,000 words": f"{1000 * len(RELATIVE.findall(text)) / words:.1f}",
        "indefinite persons per 1,000 words": f"{1000 * len(INDEFINITE.findall(text)) / words:.2f}",
        "colons and semicolons per sentence": f"{per_sentence:.2f}",
        "words per function name": f"{sum(map(len, names)) / max(1, len(names)):.2f}",
        "lines wider than 100 characters": (
            f"{sum(len(line) > WIDTH for line in lines):,} of {len(lines):,}"
        ),
    }
    return "\n".join(f"{name:<36} {value}" for name, value in rows.items())


def main(arguments: list[str]) -> int:
    below = tuple(argument for argument in arguments if not argument.startswith("-"))
    if "--check" not in arguments:
        sys.stdout.write(report(Path(), below) + "\n")
        return 0
    found = list(check(Path(), below))
    for fault in found:
        sys.stdout.write(f"{fault.path}:{fault.line}: {fault.rule}: {fault.text.strip()[:150]}\n")
    if found:
        sys.stdout.write(f"{len(found)} faults; the rules stand at the top of scripts/prose.py\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
