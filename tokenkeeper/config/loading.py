"""Loads what reads a configuration, and says what to install where that is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenkeeper.config.configuration import Configuration
from tokenkeeper.exceptions import InvalidConfigurationError

if TYPE_CHECKING:
    from tokenkeeper.config.registration import Piece, Registration

__all__ = ["load_configuration", "load_pieces"]


def load_configuration(
    source: str | os.PathLike[str] | Mapping[str, Any],
) -> Configuration[Registration]:
    """Return the configuration that *source* holds: a YAML file, or what would be in it.

    Variables are looked up at each reading. The working directory counts as it is now.

    :raises InvalidConfigurationError: naming all that is wrong with it, each with file, line, key
        and what was expected; or the extra to install.
    """
    with _words_for_a_missing_extra():
        from tokenkeeper.config.document import Document, read_document
        from tokenkeeper.config.files import located
        from tokenkeeper.config.registration import read_registrations
    directory = Path.cwd()
    is_path = isinstance(source, (str, os.PathLike)) and os.fspath(source)
    if not is_path and not isinstance(source, Mapping):
        given = repr(source) if source in ("", None) else type(source).__name__
        raise InvalidConfigurationError(
            f"a configuration is the path of a file, or a mapping, and not {given}"
        )

    last: Document | None = None

    def read() -> dict[str, Registration]:
        nonlocal last
        if isinstance(source, Mapping):
            last = Document(source, directory)
        else:
            last = read_document(located(directory, os.fspath(source)), last)
        return read_registrations(last, os.environ)

    return Configuration(read)


def load_pieces(path: Path, environment: Mapping[str, str]) -> list[Piece]:
    """Return each block of the file *path*, right or wrong. It is read once.

    :raises InvalidConfigurationError: if it has no blocks, or naming the extra to install.
    """
    with _words_for_a_missing_extra():
        from tokenkeeper.config.document import read_document
        from tokenkeeper.config.files import located
        from tokenkeeper.config.registration import read_pieces
    return read_pieces(read_document(located(Path(), str(path))), environment)


@contextmanager
def _words_for_a_missing_extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as missing:
        if missing.name not in ("yaml", "pydantic"):
            raise
        raise InvalidConfigurationError(
            "a configuration needs an extra that is not installed: "
            'pip install "tokenkeeper-oauth2[yaml]"'
        ) from None
