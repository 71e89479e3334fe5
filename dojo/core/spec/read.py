"""Reads one spec file. A wrong file is refused with its path, line and reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from dojo.core.spec.schema import ModelSpec


def explain(kind: str, message: str, found: object) -> str:
    """Return one pydantic fault in plain words, with the found value where it is a single one."""
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "value_error":  # our own validators already name what they found
        return message.removeprefix("Value error, ")
    return message if isinstance(found, (dict, list, tuple)) else f"{message} (found {found!r})"


def faults_of(error: ValidationError, where: str) -> str:
    """Return all faults, one line each, `<where>: <field>: <reason>`."""
    return "\n".join(
        f"{where}: {'.'.join(map(str, e['loc']))}: {explain(e['type'], e['msg'], e['input'])}"
        for e in error.errors()
    )


class SpecError(ValueError):
    """A model spec is missing or wrong. The message names file, line, field and reason."""


def read_spec(path: Path, kinds: Mapping[str, type[ModelSpec]]) -> ModelSpec:
    """Read one spec.

    Args:
        path: The YAML file.
        kinds: Task -> class of its specs.

    Raises:
        SpecError: Wrong spec. One line per fault, `models/x.yaml:12: training.window: reason`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    root, document = _parse(path, text)
    if not isinstance(document, dict) or root is None:
        raise SpecError(f"{path}:1: expected a mapping of keys, found {type(document).__name__}")
    twice = [f"{path}:{line}: {key}: is given twice" for line, key in _repeated_keys(root)]
    if twice:
        raise SpecError("\n".join(twice))
    kind = kinds.get(str(document.get("task")))
    if kind is None:
        found = f"got {document['task']!r}" if "task" in document else "it is missing"
        raise SpecError(
            f"{path}:{_line_of(root, ('task',))}: task: must be one of {', '.join(kinds)}; {found}"
        )
    try:
        spec = kind.model_validate(document)
    except ValidationError as error:
        faults = [
            ": ".join(
                part
                for part in (
                    f"{path}:{_line_of(root, e['loc'])}",
                    # Empty where parts do not fit together, because the reason names them.
                    ".".join(map(str, e["loc"])),
                    explain(e["type"], e["msg"], e["input"]),
                )
                if part
            )
            for e in error.errors()
        ]
        raise SpecError("\n".join(faults)) from error
    if spec.name != path.stem:
        raise SpecError(
            f"{path}:{_line_of(root, ('name',))}: name: must equal the file's name, {path.stem!r},"
            f" got {spec.name!r}"
        )
    return spec


def with_lines(message: str, path: Path) -> str:
    """A message with file and line for each `spec: key`.

    Example: `models/x.yaml:12: training.window`.
    """
    root, _ = _parse(path, path.read_text(encoding="utf-8"))
    assert root is not None, "a spec that was read"
    return re.sub(
        r"spec: ([\w.]+)",
        lambda at: f"{path}:{_line_of(root, tuple(at[1].split('.')))}: {at[1]}",
        message,
    )


def _parse(path: Path, text: str) -> tuple[yaml.Node | None, object]:
    """Return the document's nodes (for line numbers) and its values."""
    try:
        return yaml.compose(text, Loader=_FastLoader), yaml.load(text, Loader=_FastLoader)
    except yaml.YAMLError:
        pass  # the parser in Python says more about it
    try:
        return yaml.compose(text, Loader=_SpecLoader), yaml.load(text, Loader=_SpecLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(
            f"{path}:{line}: not YAML: {error.reason} (character {error.character:#x})"
        ) from error


class _SpecLoader(yaml.SafeLoader):
    """Keeps dates as text.

    Specs have none, and an impossible date would be an error without a line.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [
            (tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same in C, ten times as fast. PyYAML's wheels have it, and its source may lack it."""

    yaml_implicit_resolvers = _SpecLoader.yaml_implicit_resolvers


def _repeated_keys(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Yield line and name of each key that a mapping already has.

    YAML itself would silently let the last one win.
    """
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value)


def _line_of(node: yaml.Node, location: tuple[int | str, ...]) -> int:
    """Return the line of the deepest part of `location` in the document."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif (
            isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value)
        ):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
