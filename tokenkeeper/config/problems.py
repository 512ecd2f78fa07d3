"""Everything that is wrong with a configuration, collected and reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from tokenkeeper._support.escaping import escaped
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["KeyPath", "Problem", "Problems", "as_error", "as_text", "in_order", "shortened"]

KeyPath = tuple[str | int, ...]
"""The keys and indexes that lead from the top of a configuration to a value."""

_LONGEST_KEY = 80
"""Characters of a key that are shown."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a configuration.

    :ivar text: the mistake in one line, with file, line and key.
    :ivar field: the key, or the variable, at fault.
    :ivar line: where the file has one, counted from 1.
    """

    text: str
    field: str | None = None
    line: int | None = None
    path: KeyPath = ()

    def __str__(self) -> str:
        return self.text


def as_error(problems: Iterable[Problem]) -> InvalidConfigurationError:
    """Return *problems*, at least one, as one error with a line for each, in the file's order."""
    found = in_order(problems)
    lines = tuple(each.text for each in found)
    return InvalidConfigurationError(_in_lines(lines), field=found[0].field, problems=lines)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return *problems* in the order of the file, and by key within a line."""
    return sorted(problems, key=lambda each: (each.line or 0, [_sortable(s) for s in each.path]))


def as_text(path: KeyPath) -> str:
    """Return *path* as people write it: ``oauth2[1].client_id``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = escaped(shortened(step))
            text += f".{name}" if text else name
    return text


def shortened(key: str) -> str:
    """Return *key*, or its beginning if it is too long for a message."""
    return key if len(key) <= _LONGEST_KEY else f"{key[:_LONGEST_KEY]}..."


@dataclass(frozen=True)
class _Mistake:
    """What is wrong, and the value that the sentence is about."""

    what: str
    subject: KeyPath


class Problems:
    """Collects mistakes. Not thread-safe.

    :param name: the file's path, which messages shorten to its last part; empty for a mapping.
    :param lines: the line of each key, where there are lines.
    :param duplicates: each key that its block already has, and the line of the second one.
    """

    def __init__(
        self,
        name: str,
        lines: Mapping[KeyPath, int] | None = None,
        duplicates: Iterable[tuple[KeyPath, int]] = (),
    ) -> None:
        self._name = escaped(PurePath(name).name) if name else "configuration"
        self._lines = lines or {}
        self._found: dict[KeyPath, _Mistake] = {}
        self._duplicates = list(duplicates)

    def add(self, path: KeyPath, what: str) -> None:
        """Note that the value at *path* is wrong: *what* continues a sentence about it.

        Only the first mistake at a path counts.
        """
        self._found.setdefault(path, _Mistake(what, path))

    def add_key(self, path: KeyPath, what: str) -> None:
        """Note that the key at *path* is wrong: *what* is a sentence about its block."""
        self._found.setdefault(path, _Mistake(f": {what}", path[:-1]))

    @property
    def any_noted(self) -> bool:
        """Whether anything is wrong beside duplicate keys."""
        return bool(self._found)

    def __contains__(self, path: KeyPath) -> bool:
        """Return whether something is wrong at *path*, or above it."""
        return any(path[:length] in self._found for length in range(len(path) + 1))

    def __iter__(self) -> Iterator[Problem]:
        for path, line in self._duplicates:
            duplicate = _Mistake(f": duplicate key {shortened(str(path[-1]))!r}", path[:-1])
            yield self._problem(path, line, duplicate)
        for path, mistake in self._found.items():
            yield self._problem(path, self._line(path), mistake)

    def where(self, path: KeyPath) -> str:
        """Return file, line and key."""
        return self._place(path, self._line(path))

    def raise_if_any(self) -> None:
        """Raise all mistakes as one error.

        :raises InvalidConfigurationError: each mistake is one of its ``problems``.
        """
        found = list(self)
        if found:
            raise as_error(found)

    def _problem(self, path: KeyPath, line: int | None, mistake: _Mistake) -> Problem:
        key = next((step for step in reversed(path) if step), None)
        field = key if isinstance(key, str) else None
        separator = "" if mistake.what.startswith(":") else " "
        text = f"{self._place(mistake.subject, line)}{separator}{mistake.what}"
        return Problem(escaped(text), field, line, path)

    def _line(self, path: KeyPath) -> int | None:
        upwards = (path[:length] for length in range(len(path), -1, -1))
        return next((self._lines[each] for each in upwards if each in self._lines), None)

    def _place(self, path: KeyPath, line: int | None) -> str:
        place = self._name if line is None else f"{self._name}, line {line}"
        return f"{place}: {as_text(path)}" if path else place


def _in_lines(problems: Sequence[str]) -> str:
    """Return *problems* as one text: a line for each, below how many there are if several."""
    if len(problems) == 1:
        return problems[0]
    return "\n  ".join([f"{len(problems)} mistakes:", *problems])


def _sortable(step: str | int) -> tuple[int, str]:
    return (step, "") if isinstance(step, int) else (0, step)
