"""Measures a checkout: `python scripts/structure.py [ROOT]` prints a table of the one at ROOT.

Lines are Python without tests, blank lines and comments. Docstrings count as comments. The same
script measures any commit:

    git worktree add /tmp/before COMMIT && python scripts/structure.py /tmp/before
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

# Source of the platform. Tests are not measured.
PACKAGES = ("dojo", "feature_repo", "services", "pipelines", "monitoring")

DOMAIN_WORDS = {
    "payment",
    "transaction",
    "merchant",
    "customer",
    "fraud",
    "basket",
    "product",
    "purchase",
}
DOMAIN_ROOMS = ("dojo/shop", "dojo/demo", "dojo/drills", "services/simulator", "feature_repo")

# Name of a mechanism -> pattern of one copy of it, counted by file.
MECHANISMS = {
    "compare-and-set: Lua script": r"redis\.call\(",
    "compare-and-set: WATCH loop": r"\.watch\(",
    "process harness: class of a loop's status": r"^class \w*Status\b",
    "process harness: own signal handling": r"stop_on_signal\(",
    "process harness: own health server": r"HealthServer\(",
    "Wilson's interval written out": r"z \* z / \(?\d \* ",
    "chi-square quantile for PSI's noise": r"chi_square_quantile\(",
    "dead letters: a place of their own": (
        r"\"[^\"\n]*:(?:rejected|dead-letters)\b|<lake>/_rejected"
    ),
    "people are told: own message": r"(?<!class )\bMessage\(",
    "settings loaded": r"load_settings\(",
    "Redis connected": r"connect_redis\(",
    "MLflow's client made": r"MlflowClient\(",
}


def source_files(root: Path) -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((root / package).rglob("*.py"))


def code_lines(source: str) -> int:
    """Return the number of lines with code: not blank, not only a comment, not in a docstring."""
    documented = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            documented |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    held = set()
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            held |= set(range(token.start[0], token.end[0] + 1))
    return len(held - documented)


def words_of(text: str) -> set[str]:
    words = re.findall(r"[a-z]+", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text).lower())
    return {word.removesuffix("s") for word in words}


def says_the_domain(source: str) -> bool:
    documented = {
        (node.value.lineno, node.value.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        spoken = token.type == tokenize.NAME or (
            token.type == tokenize.STRING and token.start not in documented
        )
        if (
            spoken
            and token.string not in ("transaction", "product")
            and words_of(token.string) & DOMAIN_WORDS
        ):
            return True
    return False


def class_names(files: dict[Path, str]) -> Counter[str]:
    where: dict[str, set[Path]] = defaultdict(set)
    for path, source in files.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef):
                where[node.name].add(path)
    return Counter({name: len(paths) for name, paths in where.items()})


def main(root: Path) -> int:
    files = {path: path.read_text() for path in source_files(root)}
    if not files:
        sys.stderr.write(f"{root}: expected a checkout with {', '.join(PACKAGES)}\n")
        return 2
    modules = {path: source for path, source in files.items() if source.strip()}
    folders = Counter(path.parent for path in modules if path.name != "__init__.py")
    classes = class_names(files)
    small = [
        path
        for path, source in modules.items()
        if path.name not in ("__init__.py", "__main__.py") and len(source.splitlines()) < 40
    ]
    outside = [
        path
        for path, source in files.items()
        if not any(path.is_relative_to(root / room) for room in DOMAIN_ROOMS)
        and says_the_domain(source)
    ]
    rows = [
        ("modules", len(modules)),
        ("lines of code", sum(code_lines(source) for source in files.values())),
        ("modules under 40 lines", len(small)),
        (
            "modules over 250 lines",
            sum(len(source.splitlines()) > 250 for source in files.values()),
        ),
        ("largest folder, modules", max(folders.values())),
        ("folders with more than 10 modules", sum(count > 10 for count in folders.values())),
        ("classes", len(classes)),
        ("class names that stand for several things", sum(count > 1 for count in classes.values())),
        ("files outside its rooms that say the domain", len(outside)),
        *(
            (
                f"files with: {name}",
                sum(bool(re.search(pattern, source, re.MULTILINE)) for source in files.values()),
            )
            for name, pattern in MECHANISMS.items()
        ),
    ]
    width = max(len(name) for name, _ in rows)
    for name, figure in rows:
        sys.stdout.write(f"{name:<{width}}  {figure:>7,}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]))
