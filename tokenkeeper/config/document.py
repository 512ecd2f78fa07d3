"""Reads a YAML file as plain values, and the line of each."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tokenkeeper.config.bounds import DEEPEST, Parts, TooMuchError, check_nodes, weight_of
from tokenkeeper.config.files import read_file
from tokenkeeper.config.problems import KeyPath, Problems, as_error
from tokenkeeper.config.store import STORE_SECTION
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["MOST_NODES", "SECTION", "SECTIONS", "Document", "read_document"]

SECTION = "oauth2"

SECTIONS = (SECTION, STORE_SECTION)
"""The top-level keys that are ours."""

MOST_NODES = 20_000
"""All values and keys in a file, including other sections. More would take seconds to read."""

LONGEST_NUMBER = 100
"""Characters of a number. Python rejects some longer ones, and takes minutes for others."""

_MERGE = "tag:yaml.org,2002:merge"
_QUOTED = re.compile(r"'(?!\\.')[^']{2,}'|\"[^\"]{2,}\"")


@dataclass(frozen=True)
class Document:
    """The content of a configuration before variables are filled in.

    :ivar content: the top-level keys of a file, with the values of ours. Other sections are not
        read.
    :ivar directory: where relative paths in it begin.
    :ivar name: the file's path; empty for a mapping.
    :ivar lines: the lines by key path, counted from 1; empty for a mapping.
    :ivar text: the text of the file.
    :ivar duplicates: each key that its block already has, and the line of the second one.
    """

    content: Any
    directory: Path
    name: str = ""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    text: str = field(default="", repr=False)
    duplicates: tuple[tuple[KeyPath, int], ...] = ()


def read_document(path: Path, last: Document | None = None) -> Document:
    """Read a YAML file with the safe loader.

    :param last: the result of the previous read. It is returned if the text is the same, because a
        server may reject many providers at once, and each of them reads the file again.
    :raises InvalidConfigurationError: if it can't be read, or is not valid YAML.
    """
    text = ""
    try:
        text = read_file(path)
        return last if last and last.text == text else _compose(text, path)
    except yaml.YAMLError as error:
        what = f"is not YAML{_words(error, text)}"
    except TooMuchError as error:
        what = f"{error.what} (line {error.value.start_mark.line + 1}): {error.why}"
    except RecursionError:
        what = "is nested too deeply"
    except InvalidConfigurationError as error:
        what = str(error)
    problems = Problems(str(path))
    problems.add((), what)
    raise as_error(problems)


def _compose(text: str, path: Path) -> Document:
    loader = _Loader(text)
    try:
        top = loader.get_single_node()
        if not isinstance(top, yaml.MappingNode):
            return Document(None, path.parent, str(path), text=text)
        for key, value in top.value:
            if key.value in SECTIONS or key.tag == _MERGE:
                check_nodes(value, _parts)
        duplicates = tuple(_duplicates_in(top))  # before constructing, which merges keys
        loader.flatten_mapping(top)
        keys = [key for key, _ in top.value if isinstance(key, yaml.ScalarNode)]
        content: dict[Any, Any] = {key.value: None for key in keys}
        lines: dict[KeyPath, int] = {}
        for key, value in top.value:
            if key.value in SECTIONS:
                check_nodes(value, _parts)
                content[key.value] = loader.construct_document(value)
                lines |= {(key.value,): _line(key), **dict(_lines(value, (key.value,)))}
        return Document(content, path.parent, str(path), lines, text, duplicates)
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Limits what it reads, and reports the line of a value that does not fit its tag."""

    _count = 0
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node, unless there are too many or it is nested too deeply."""
        self._count += 1
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self._count > MOST_NODES:
            raise TooMuchError("is too large", f"more than {MOST_NODES} values", event)
        if self._depth > DEEPEST:
            raise TooMuchError("is nested too deeply", f"more than {DEEPEST} levels", event)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of *node*."""
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float") and len(node.value) > LONGEST_NUMBER:
            what = f"a number has more than {LONGEST_NUMBER} characters; put text in quotes"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            what = f"a value is not a valid {kind}"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from None


def _parts(node: yaml.Node) -> Parts:
    """Return how many values a node counts as, and its contents."""
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                mark = key.start_mark
                raise yaml.constructor.ConstructorError(None, None, "a key must be a string", mark)
        keys = sum(weight_of(key.value) for key, _ in node.value)
        return 1 + keys, [value for _, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return 1, node.value
    return weight_of(node.value), ()


def _duplicates_in(top: yaml.MappingNode) -> Iterator[tuple[KeyPath, int]]:
    """Yield the duplicate keys of our sections. Merged keys (``<<``) are not duplicates."""
    for section in SECTIONS:
        keys = [key for key, _ in top.value if key.value == section]
        for key in keys[1:]:
            yield (section,), _line(key)
    for key, value in top.value:
        if key.value in SECTIONS:
            yield from _duplicates(value, (key.value,))


def _duplicates(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    """Yield the path and line of each duplicate key below *node*."""
    seen: set[Hashable] = set()
    for step, key, value in _entries(node):
        identity = key and (key.tag, str(key.value))
        if identity in seen:
            yield (*path, step), _line(key)
        if identity:
            seen.add(identity)
        yield from _duplicates(value, (*path, step))


def _lines(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    """Yield the path and line of every key and item below *node*."""
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
    """Return what is wrong and where, without quoting the file, which may contain secrets."""
    if isinstance(error, yaml.reader.ReaderError):
        return f" (line {text.count(chr(10), 0, error.position) + 1}): a character can't be printed"
    if not isinstance(error, yaml.MarkedYAMLError):
        return ""
    line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
    problem = error.problem or "it can't be parsed"
    if problem == "but found another document":
        problem = "it contains a second document (---)"
    return f"{line}: {_QUOTED.sub('...', problem)}"
