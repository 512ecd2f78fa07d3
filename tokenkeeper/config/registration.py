"""A whole configuration, checked: the registrations of its clients, secrets included."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenkeeper.checks import checked_text
from tokenkeeper.config.document import Document
from tokenkeeper.config.problems import KeyPath, Problems, as_text
from tokenkeeper.config.schema import Block, read_block
from tokenkeeper.config.variables import fill_in, is_in_clear
from tokenkeeper.exceptions import ConfigurationWarning, InvalidConfigurationError
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["SECTION", "Piece", "Registration", "read_pieces", "read_registrations"]

SECTION = "oauth2"


@dataclass(frozen=True)
class Registration:
    """What one provider is made from. Equal ones make equal providers."""

    block: Block
    secret: str = field(repr=False)
    directory: Path

    @property
    def provider_name(self) -> str:
        """The name that callers ask for."""
        return self.block.provider_name

    def make_provider(self) -> BaseOAuth2Provider:
        """Return a new provider."""
        return self.block.make_provider(self.secret, self.directory)


@dataclass(frozen=True)
class Piece:
    """One block of a configuration by itself, right or wrong.

    :ivar name: the provider's; where the block stands, if that can't be told.
    :ivar content: the block before variables are filled in.
    :ivar registration: ``None`` where something is wrong.
    :ivar problems: what is.
    """

    name: str
    content: object = field(repr=False)
    registration: Registration | None
    problems: tuple[str, ...]


def read_registrations(
    document: Document, environment: Mapping[str, str]
) -> dict[str, Registration]:
    """Return what *document* registers, by provider name.

    :raises InvalidConfigurationError: naming all that is wrong.
    """
    problems = Problems(document.name, document.lines)
    found: dict[str, Registration] = {}
    for path, content in _blocks(document, problems):
        _read_one(content, path, document, environment, problems, found)
    problems.raise_if_any()
    _warn(document, problems)
    return found


def read_pieces(document: Document, environment: Mapping[str, str]) -> list[Piece]:
    """Return each block of *document*, for those who can do with the ones that are right.

    :raises InvalidConfigurationError: if it has no blocks.
    """
    pieces: list[Piece] = []
    found: dict[str, Registration] = {}
    for path, content in _blocks(document, Problems(document.name, document.lines)):
        problems = Problems(document.name, document.lines)
        registration = _read_one(content, path, document, environment, problems, found)
        told = content.get("provider_name") if isinstance(content, Mapping) else None
        filled = fill_in(told, environment, Problems(""), ())
        name = filled if isinstance(filled, str) and filled else as_text(path)
        try:
            problems.raise_if_any()
        except InvalidConfigurationError as error:
            pieces.append(Piece(name, content, None, error.problems))
        else:
            pieces.append(Piece(name, content, registration, ()))
    return pieces


def _read_one(
    content: object,
    path: KeyPath,
    document: Document,
    environment: Mapping[str, str],
    problems: Problems,
    found: dict[str, Registration],
) -> Registration | None:
    """Return the registration of one block, and put it to those *found*; or note what is wrong."""
    directory = Path(document.name).parent
    filled = fill_in(content, environment, problems, path)
    secret = _secret_of(filled, directory, problems, path)
    block = read_block(filled, problems, path)
    if block is None:
        return None
    if block.provider_name in found:
        problems.add((*path, "provider_name"), f"{block.provider_name!r} is taken already")
        return None
    if secret is None:
        return None
    found[block.provider_name] = registration = Registration(block, secret, directory)
    try:
        registration.make_provider()
    except InvalidConfigurationError as error:  # what only the provider itself can tell
        problems.add((*path, *filter(None, [error.field])), f"can't work: {error}")
    return registration


def _warn(document: Document, problems: Problems) -> None:
    """Warn of secrets that others may see."""
    in_clear = False
    for path, content in _blocks(document, problems):
        block = content if isinstance(content, Mapping) else {}
        if document.name and is_in_clear(block.get("client_secret")):
            in_clear = True
            _say(
                f"{problems.where((*path, 'client_secret'))} is written in clear: "
                "take it from a variable, ${NAME}, or from a file, client_secret_file"
            )
        file = block.get("client_secret_file")
        if isinstance(file, str) and "$" not in file:
            _warn_if_readable(Path(document.name).parent / file)
    if in_clear:
        _warn_if_readable(Path(document.name))


def _warn_if_readable(file: Path) -> None:
    if os.name == "posix" and file.stat().st_mode & stat.S_IROTH:
        _say(f"{file.name} holds a secret and is readable by every user: chmod o-r {file.name}")


def _say(what: str) -> None:
    # Far from here, so that "once for each place" is once for each text.
    warnings.warn(what, ConfigurationWarning, stacklevel=2)


def _blocks(document: Document, problems: Problems) -> list[tuple[KeyPath, object]]:
    """Return each block and where it is."""
    content = document.content
    if not isinstance(content, Mapping) or content.get(SECTION) is None:
        problems.add((), f"has no block {SECTION!r} with anything in it")
        problems.raise_if_any()
        return []
    section = content[SECTION]
    if isinstance(section, list):
        return [((SECTION, index), block) for index, block in enumerate(section)]
    return [((SECTION,), section)]


def _secret_of(block: object, directory: Path, problems: Problems, path: KeyPath) -> str | None:
    """Return the secret of *block*: a file's without the line end that editors put there."""
    content = block if isinstance(block, Mapping) else {}
    name, path = content.get("client_secret_file"), (*path, "client_secret_file")
    if name is None:
        return content.get("client_secret")
    if not isinstance(name, str) or path in problems:
        return None
    file = directory / name
    try:
        return checked_text(file.read_text(encoding="utf-8").rstrip("\r\n"), "it")
    except OSError as error:
        problems.add(path, f"can't be read: {error.strerror or type(error).__name__}")
    except UnicodeDecodeError:
        problems.add(path, "names a file that is not UTF-8")
    except InvalidConfigurationError as error:
        problems.add(path, f"names a file that can't be a secret: {error}")
    return None
