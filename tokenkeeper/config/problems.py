"""What is wrong with a configuration: gathered, and said in one go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from tokenkeeper._support.escaping import escaped
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["KeyPath", "Problems", "as_text", "in_lines"]

KeyPath = tuple[str | int, ...]
"""Where a value is: the keys and indexes that lead to it from the top."""

_LONGEST_KEY = 80
"""Characters of a key that are shown."""


def as_text(path: KeyPath) -> str:
    """Return *path* as people write it: ``oauth2[1].client_id``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = escaped(step if len(step) <= _LONGEST_KEY else f"{step[:_LONGEST_KEY]}...")
            text += f".{name}" if text else name
    return text


class Problems:
    """Gathers mistakes. Not thread-safe.

    :param name: how the whole is called in messages; a file's name is shortened to its last part.
    :param lines: the line of each key, where there are lines.
    :param twice: each key that its block has already, and that key's line: a mistake in any case.
    """

    def __init__(
        self,
        name: str,
        lines: Mapping[KeyPath, int] | None = None,
        twice: Iterable[tuple[KeyPath, int]] = (),
    ) -> None:
        self._name = escaped(PurePath(name).name) if name else "configuration"
        self._lines = lines or {}
        self._found: dict[KeyPath, str] = {}
        self._twice = list(twice)

    def add(self, path: KeyPath, what: str) -> None:
        """Note that the value at *path* is wrong. Of two mistakes at one place the first counts."""
        self._found.setdefault(path, what)

    def __contains__(self, path: KeyPath) -> bool:
        """Return whether something is wrong at *path*, or above it."""
        return any(path[:length] in self._found for length in range(len(path) + 1))

    def where(self, path: KeyPath) -> str:
        """Return file, line and key."""
        return self._place(path, self._line(path))

    def raise_if_any(self) -> None:
        """Raise all of it as one error.

        :raises InvalidConfigurationError: each mistake is one of its ``problems``.
        """
        if self._found or self._twice:
            raise self.as_error()

    def as_error(self) -> InvalidConfigurationError:
        """Return all of it, which is something, as one error: a line each, as the file has them."""
        found: list[tuple[int | None, KeyPath, str]]
        found = [(line, path, "is there twice") for path, line in self._twice]
        found += [(self._line(path), path, what) for path, what in self._found.items()]
        found.sort(key=lambda each: (each[0] or 0, [_sortable(step) for step in each[1]]))
        lines = tuple(escaped(f"{self._place(path, line)} {what}") for line, path, what in found)
        field = next((step for step in reversed(found[0][1]) if step), None)
        return InvalidConfigurationError(
            in_lines(lines), field=field if isinstance(field, str) else None, problems=lines
        )

    def _line(self, path: KeyPath) -> int | None:
        return next((self._lines[up] for up in _upwards(path) if up in self._lines), None)

    def _place(self, path: KeyPath, line: int | None) -> str:
        place = self._name if line is None else f"{self._name}, line {line}"
        return f"{place}: {as_text(path)}" if path else place


def in_lines(problems: Sequence[str]) -> str:
    """Return *problems* as one text: a line for each, and above several how many there are."""
    if len(problems) == 1:
        return problems[0]
    return "\n  ".join([f"{len(problems)} mistakes:", *problems])


def _sortable(step: str | int) -> tuple[int, str]:
    return (step, "") if isinstance(step, int) else (0, step)


def _upwards(path: KeyPath) -> list[KeyPath]:
    return [path[:length] for length in range(len(path), -1, -1)]
