"""Variables in a configuration: ``${NAME}``, ``${NAME:-default}`` and ``$$``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tokenkeeper.config.problems import KeyPath, Problems

__all__ = ["fill_in", "is_in_clear", "variables_in"]

_REFERENCE = re.compile(
    r"\$(?:(?P<dollar>\$)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:(?!\$\{)[^}])*))?\}"
    r"|(?P<odd>\{))"
)

_INVALID = (
    "contains an invalid variable reference; write ${NAME}, ${NAME:-default}, or $$ for a literal $"
)


def fill_in(value: Any, environment: Mapping[str, str], problems: Problems, path: KeyPath) -> Any:
    """Return *value* with the variables in all of its strings filled in.

    As in a shell, ``${NAME}`` is the variable, and ``${NAME:-default}`` the default if the variable
    is not set or empty. ``$$`` is a dollar sign, and any other dollar sign is literal.
    """
    if isinstance(value, Mapping):
        return {
            key: fill_in(each, environment, problems, (*path, str(key)))
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [
            fill_in(each, environment, problems, (*path, index)) for index, each in enumerate(value)
        ]
    if not isinstance(value, str):
        return value
    missing: dict[str, str] = {}

    def filled(reference: re.Match[str]) -> str:
        name, default = reference["name"], _default_of(reference)
        if reference["dollar"]:
            return "$"
        if name is None:
            problems.add(path, _INVALID)
            return ""
        found = environment.get(name, "")
        if not found and default is None:
            missing[name] = "is empty" if name in environment else "is not set"
        return found or default or ""

    text = _REFERENCE.sub(filled, value)
    if missing:
        needed = [f"the environment variable {name}, which {why}" for name, why in missing.items()]
        problems.add(path, f"needs {' and '.join(needed)}")
    return text


def variables_in(value: Any) -> Iterator[str]:
    """Yield the name of each variable in the strings of *value*, once."""
    yield from dict.fromkeys(_names_in(value))


def _names_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (each["name"] for each in _REFERENCE.finditer(value) if each["name"])
        return
    inside = value.values() if isinstance(value, Mapping) else value
    for each in inside if isinstance(value, (Mapping, list, tuple)) else ():
        yield from _names_in(each)


def is_in_clear(value: object) -> bool:
    """Return whether *value* has its own content besides variables without a default."""
    if isinstance(value, (list, tuple)):
        return any(map(is_in_clear, value))
    if not isinstance(value, str):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return bool(
        _REFERENCE.sub(lambda found: _default_of(found) or found["dollar"] or "", value).strip()
    )


def _default_of(reference: re.Match[str]) -> str | None:
    default = reference["default"]
    return default and default.replace("$$", "$")
