"""The key ``custody``: where a provider keeps refresh tokens that work once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenkeeper.config.late_tokens import Note
from tokenkeeper.stores.options import read_options

__all__ = ["check_custody", "custody_of"]


def check_custody(content: Mapping[Any, Any], directory: Path, note: Note) -> None:
    """Note everything that is wrong with the custody of a block, if it has one.

    :param directory: where relative paths begin.
    """
    value = content.get("custody")
    if value is None:
        return
    if not isinstance(value, (str, Mapping)):
        note(("custody",), "must be a URL, or a block with url and key_file")
        return

    def noted(key: str, what: str) -> None:
        note(("custody", key) if key else ("custody",), what)

    read_options(value, directory, noted)


def custody_of(value: str | Mapping[str, Any], directory: Path) -> str | Mapping[str, Any]:
    """Return *value*, a valid custody, with absolute paths.

    :param directory: where relative paths begin.
    """
    options = read_options(value, directory, lambda _, __: None)
    if options is None or not options.url:
        return value
    if isinstance(value, str):
        return options.url
    paths = {} if options.key_file is None else {"key_file": str(options.key_file)}
    return {**value, "url": options.url, **paths}
