"""A YAML file as plain values, and the line that each of them stands in."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tokenkeeper.config.files import read_file
from tokenkeeper.config.problems import KeyPath, Problems
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["SECTION", "Document", "read_document"]

SECTION = "oauth2"

_QUOTED = re.compile(r"'(?!\\.')[^']{2,}'|\"[^\"]{2,}\"")


@dataclass(frozen=True)
class Document:
    """What a configuration says, before variables are filled in.

    :ivar content: of a file the keys at the top, and what stands under ours. What stands under
        others is theirs, and not looked at.
    :ivar directory: where its files are, unless they say otherwise.
    :ivar name: the file's path; empty for a mapping.
    :ivar lines: by key path, counted from 1; empty for a mapping.
    :ivar text: the file's.
    """

    content: Any
    directory: Path
    name: str = ""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    text: str = field(default="", repr=False)


def read_document(path: Path, last: Document | None = None) -> Document:
    """Read a YAML file, by the safe loader.

    :param last: what came of it the time before. It is returned if the text is still the same:
        a server may refuse many providers at once, and each looks into the file.
    :raises InvalidConfigurationError: if it can't be read, is no YAML, or has a key twice.
    """
    text = ""
    try:
        text = read_file(path)
        return last if last and last.text == text else _compose(text, path)
    except yaml.YAMLError as error:
        what = f"is not YAML{_words(error, text)}"
    except RecursionError:
        what = "is nested too deeply"
    except InvalidConfigurationError as error:
        if error.problems:
            raise
        what = str(error)
    problems = Problems(str(path))
    problems.add((), what)
    raise problems.as_error()


def _compose(text: str, path: Path) -> Document:
    loader = _Loader(text)
    try:
        top = loader.get_single_node()
        if not isinstance(top, yaml.MappingNode):
            return Document(None, path.parent, str(path), text=text)
        ours = [value for key, value in top.value if key.value == SECTION]
        _refuse_twice(path, top, ours)
        loader.flatten_mapping(top)
        content: dict[Any, Any] = {str(key.value): None for key, _ in top.value}
        lines: dict[KeyPath, int] = {}
        for key, value in top.value:
            if key.value == SECTION:
                content[SECTION] = loader.construct_document(value)
                lines = {(SECTION,): _line(key), **dict(_lines(value, (SECTION,)))}
        return Document(content, path.parent, str(path), lines, text)
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Says where a value stands that is not what its tag says, and not what it is."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of *node*."""
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            what = f"a value is no {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from None


def _refuse_twice(path: Path, top: yaml.MappingNode, ours: list[yaml.Node]) -> None:
    """Refuse a key that is there twice, where it is ours. Merged keys (``<<``) are no second ones.

    To be called before anything is constructed, which does the merging.
    """
    keys = [key for key, _ in top.value if key.value == SECTION]
    twice: list[tuple[KeyPath, int]] = [((SECTION,), _line(key)) for key in keys[1:]]
    for value in ours:
        twice += _twice(value, (SECTION,), ())
    problems = Problems(str(path), dict(twice))
    for each, _ in twice:
        problems.add(each, "is there twice")
    problems.raise_if_any()


def _twice(
    node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]
) -> Iterator[tuple[KeyPath, int]]:
    """Yield the path of every key below *node* that its mapping has already, and its line."""
    if node in above:
        mark = node.start_mark
        raise yaml.constructor.ConstructorError(None, None, "an alias refers to itself", mark)
    above = (*above, node)
    seen: set[Hashable] = set()
    for step, key, value in _entries(node):
        identity = key and (key.tag, str(key.value))
        if identity in seen:
            yield (*path, step), _line(key)
        if identity:
            seen.add(identity)
        yield from _twice(value, (*path, step), above)


def _lines(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    """Yield the path of every key and item below *node*, and its line; of two the last counts."""
    for step, key, value in _entries(node):
        yield (*path, step), _line(key or value)
        yield from _lines(value, (*path, step))


def _entries(node: yaml.Node) -> Iterator[tuple[str | int, yaml.Node | None, yaml.Node]]:
    """Yield each key or index of *node*, the key's node, and the value's."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), key, value
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield index, None, value


def _line(node: yaml.Node | None) -> int:
    return node.start_mark.line + 1 if node else 1


def _words(error: yaml.YAMLError, text: str) -> str:
    """Return what is wrong and where, without the text around it: that may be a secret."""
    if isinstance(error, yaml.reader.ReaderError):
        return f" (line {text.count(chr(10), 0, error.position) + 1}): a character can't be printed"
    if not isinstance(error, yaml.MarkedYAMLError):
        return ""
    line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
    problem = error.problem or "it can not be parsed"
    if problem == "but found another document":
        problem = "it holds a second document (---)"
    return f"{line}: {_QUOTED.sub('...', problem)}"
