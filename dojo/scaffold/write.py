"""The files of a new model from the templates beside this module: all of them, or none."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from string import Template

from dojo.scaffold.draft import Draft, DraftError, definition_of, source_of
from feature_repo import shop

TEMPLATES = Path(__file__).parent / "templates"

# Runs of imports. A name decides their order, so they are sorted when it is known.
IMPORTS = re.compile(r"(?:^from \S+ import .+\n)+", re.M)


def files_of(draft: Draft, checkout: Path) -> dict[Path, str]:
    """Return each new file with its text.

    Args:
        draft: The new model.
        checkout: Where the platform's models/ and feature_repo/ are.
    """
    root = draft.into or checkout
    package = root.joinpath(*draft.package.split("."))
    tests = root / "tests" if draft.into else root / "tests" / "unit" / "feature_repo"
    values = _values(draft)
    made = {
        root / "models" / f"{draft.name}.yaml": _filled(f"{draft.task}.yaml", values),
        package / "__init__.py": _filled("package.py.tmpl", values),
        package / "views.py": _filled("views.py.tmpl", values),
        package / "days.py": _filled("days.py.tmpl", values),
        tests / draft.name / f"test_{draft.name}_days.py": _filled("test.py.tmpl", values),
    }
    if not draft.into:  # a package of the tests' tree, as its neighbours are
        made[tests / draft.name / "__init__.py"] = ""
    return made


def write(files: dict[Path, str]) -> None:
    """Write the files. After a failure, none of them is left.

    Raises:
        DraftError: One of them is there already.
        OSError: One cannot be written.
    """
    if there := [path for path in files if path.exists()]:
        raise DraftError(f"{', '.join(map(str, there))}: there already, so nothing was written")
    made: list[Path] = []
    try:
        for path, text in files.items():
            for folder in reversed(path.parents):
                if not folder.exists():
                    folder.mkdir()
                    made.append(folder)
            made.append(path)
            path.write_text(text)
    except OSError:
        for path in reversed(made):
            with suppress(OSError):  # the path that failed may be neither
                path.rmdir() if path.is_dir() else path.unlink()
        raise


def _filled(template: str, values: dict[str, str]) -> str:
    text = Template((TEMPLATES / template).read_text()).substitute(values)
    text = IMPORTS.sub(lambda run: "".join(sorted(run[0].splitlines(keepends=True))), text)
    return _aligned(text) if template.endswith(".yaml") else text


def _aligned(text: str) -> str:
    """Return YAML with its comments in one column again, where the key leaves room for it."""
    column = 40
    lines = []
    for line in text.splitlines():
        key, mark, reason = line.partition("  # ")
        lines.append(
            f"{key.rstrip():<{column - 2}}{mark}{reason}" if key.strip() and mark else line
        )
    return "\n".join(lines) + "\n"


def _values(draft: Draft) -> dict[str, str]:
    facts = draft.facts
    module, source = source_of(draft.stream)
    defined = [definition_of(shop, view) for view in draft.shared]
    shared = [name for _, name in defined]
    return {
        "name": draft.name,
        "task": draft.task,
        "owner": draft.owner,
        "package": draft.package,
        "entities": ", ".join(draft.entities),
        "entity_names": _tuple(draft.entities),
        "persons": " and ".join(draft.persons) or "none of them",
        "person_names": _tuple(draft.persons),
        "first": draft.entities[0],
        "functions": "\n".join(
            f'{entity} = partial(daily, "{entity}")' for entity in draft.entities
        ),
        "stream": draft.stream,
        "source_module": module,
        "source": source,
        "import_shared": (
            "".join(f"from {module} import {name}\n" for module, name in defined)
            or "from feature_repo.views import View\n"
        ),
        "shared_is": "SHARED" if shared else "SHARED: tuple[View, ...]",
        "shared": ", ".join(shared) + ("," if len(shared) == 1 else ""),
        "truth": draft.truth,
        "says": facts.says,
        "unit": facts.unit,
        "low": f"{facts.low:g}",
        "high": f"{facts.high:_}",
        "grades": f"{facts.high + 1:g}",
        "median": facts.median,
        "sigma": f"{facts.sigma:g}",
        "maximum": facts.maximum,
        "low_mean": f"{facts.typical[0]:g}",
        "high_mean": f"{facts.typical[1]:g}",
        "usual": f"{facts.usual:g}",
        "settled_days": str(draft.settled_after.days),
    }


def _tuple(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) + ("," if len(names) == 1 else "")
