"""What is wrong with a configuration: gathered, and said in one go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["KeyPath", "Problems", "as_text"]

KeyPath = tuple[str | int, ...]
"""Where a value is: the keys and indexes that lead to it from the top."""


def as_text(path: KeyPath) -> str:
    """Return *path* as people write it: ``oauth2[1].client_id``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class Problems:
    """Gathers mistakes. Not thread-safe.

    :param name: how the whole is called in messages; a file's name is shortened to its last part.
    :param lines: the line of each key, where there are lines.
    """

    def __init__(self, name: str, lines: Mapping[KeyPath, int] | None = None) -> None:
        self._name = PurePath(name).name if name else "configuration"
        self._lines = lines or {}
        self._found: dict[KeyPath, str] = {}

    def add(self, path: KeyPath, what: str) -> None:
        """Note that the value at *path* is wrong. Of two mistakes at one place the first counts."""
        self._found.setdefault(path, what)

    def __contains__(self, path: KeyPath) -> bool:
        """Say whether something is wrong at *path*, or above it."""
        return any(path[:length] in self._found for length in range(len(path) + 1))

    def where(self, path: KeyPath) -> str:
        """Return file, line and key."""
        line = next((self._lines[up] for up in _upwards(path) if up in self._lines), None)
        place = self._name if line is None else f"{self._name}, line {line}"
        return f"{place}: {as_text(path)}" if path else place

    def raise_if_any(self) -> None:
        """Raise all of it as one error.

        :raises InvalidConfigurationError: each mistake is one of its ``problems``.
        """
        if self._found:
            raise self.as_error()

    def as_error(self) -> InvalidConfigurationError:
        """Return all of it, which is something, as one error."""
        lines = [f"{self.where(path)} {what}" for path, what in self._found.items()]
        count = f"{len(lines)} mistakes: " if len(lines) > 1 else ""
        field = next((step for step in reversed(next(iter(self._found))) if step), None)
        return InvalidConfigurationError(
            count + "; ".join(lines),
            field=field if isinstance(field, str) else None,
            problems=tuple(lines),
        )


def _upwards(path: KeyPath) -> list[KeyPath]:
    return [path[:length] for length in range(len(path), -1, -1)]
