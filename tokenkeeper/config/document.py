"""A YAML file as plain values, and the line that each of them stands in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tokenkeeper.config.problems import KeyPath, Problems

__all__ = ["Document", "read_document"]

_QUOTED = re.compile(r"'[^']{2,}'|\"[^\"]{2,}\"")


@dataclass(frozen=True)
class Document:
    """What a configuration says, before variables are filled in.

    :ivar name: the file's path; empty for a mapping.
    :ivar lines: by key path, counted from 1; empty for a mapping.
    """

    content: Any
    name: str = ""
    lines: dict[KeyPath, int] = field(default_factory=dict)


def read_document(path: Path) -> Document:
    """Read a YAML file, by the safe loader.

    :raises InvalidConfigurationError: if it can't be read, is no YAML, or has a key twice.
    """
    problems = Problems(str(path))
    try:
        text = path.read_text(encoding="utf-8")
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            content = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except OSError as error:
        problems.add((), f"can't be read: {error.strerror or type(error).__name__}")
    except UnicodeDecodeError:
        problems.add((), "is not UTF-8")
    except yaml.YAMLError as error:
        problems.add((), f"is not YAML{_words(error)}")
    problems.raise_if_any()
    lines: dict[KeyPath, int] = {}
    twice = []
    for each, line in _walk(node, ()):
        twice += [each] if each in lines else []
        lines[each] = line
    problems = Problems(str(path), lines)
    for each in twice:
        problems.add(each, "is there twice")
    problems.raise_if_any()
    return Document(content, str(path), lines)


def _walk(node: yaml.Node | None, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    """Yield the path of every key and item below *node*, and its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _walk(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1
            yield from _walk(value, (*path, index))


def _words(error: yaml.YAMLError) -> str:
    """Return what is wrong and where, without the text around it: that may be a secret."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return ""
    line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
    return f"{line}: {_QUOTED.sub('...', error.problem or 'it can not be parsed')}"
