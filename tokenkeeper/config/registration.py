"""A whole configuration, checked: the registrations of its clients, secrets included."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tokenkeeper._support.checks import names_a_secret, secrets_in_query
from tokenkeeper.config.blocks import Azure, Generic
from tokenkeeper.config.bounds import TooMuchError, check_values
from tokenkeeper.config.document import SECTION, Document
from tokenkeeper.config.files import check_trusted, located, read_secret, warn, warn_if_readable
from tokenkeeper.config.problems import KeyPath, Problems, as_text
from tokenkeeper.config.schema import Block, read_block
from tokenkeeper.config.variables import fill_in, is_in_clear
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.kinds import OURS

__all__ = ["Piece", "Registration", "read_pieces", "read_registrations"]

_SECRET_HEADER = re.compile(r"auth|cookie|session|signature", re.IGNORECASE)
_NO_SECRET = re.compile(r"_(?:file|path|url|uri|endpoint|method|id|name|type|seconds)s?$")
_KNOWN_KEYS = Azure.model_fields.keys() | Generic.model_fields.keys()
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Registration:
    """What one provider is made from. Equal ones make equal providers."""

    block: Block
    secret: str | None = field(repr=False)
    directory: Path

    @property
    def provider_name(self) -> str:
        """The name that callers ask for."""
        return self.block.provider_name

    @cached_property
    def identity(self) -> str:
        """A text that is equal for equal requests of one client to one server, without a secret.

        A rotated secret leaves it as it is: the client's tokens stay the client's.
        """
        content = self.block.model_dump(
            mode="json", exclude={"client_secret", "client_secret_file"}
        )
        if isinstance(url := content.get("token_url"), str):
            content["token_url"] = _without_secrets_in_query(url)
        members = {
            name: _without_secrets(each)
            for name, each in content.items()
            if not _is_secret_argument(name)
        }
        return json.dumps(members, default=str)

    @property
    def secrets(self) -> list[str]:
        """What nobody may see: the secret, and arguments of a class that are secrets by name."""
        own = self.block.model_extra or {}
        named = [value for name, value in own.items() if names_a_secret(name)]
        return [each for each in (self.secret, *named) if isinstance(each, str) and each]

    def make_provider(self) -> BaseOAuth2Provider:
        """Return a new provider."""
        return self.block.make_provider(self.secret, self.directory)


def _is_secret_argument(name: str) -> bool:
    """Return whether a key that is not one of ours is that of a secret, by its name."""
    return name not in _KNOWN_KEYS and names_a_secret(name) and not _NO_SECRET.search(name)


def _without_secrets(value: Any) -> Any:
    """Return *value* without the members below it whose name says that they are secrets."""
    if isinstance(value, Mapping):
        return {
            name: _without_secrets(each)
            for name, each in value.items()
            if not names_a_secret(str(name)) and not _SECRET_HEADER.search(str(name))
        }
    if isinstance(value, (list, tuple)):
        return [_without_secrets(each) for each in value]
    return value


def _without_secrets_in_query(url: str) -> str:
    before, _, query = url.partition("?")
    kept = [each for each in parse_qsl(query, True) if not names_a_secret(each[0])]
    return f"{before}?{urlencode(kept)}" if kept else before


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
    problems = Problems(document.name, document.lines, document.twice)
    found: dict[str, Registration] = {}
    names: set[str] = set()
    blocks = [
        _Filled(path, content, fill_in(content, environment, problems, path))
        for path, content in _blocks(document)
    ]
    for each in blocks:
        registration = _read_one(each, document, problems, names)
        if registration is not None:
            found[registration.provider_name] = registration
    try:
        _warn(document, blocks)
    finally:  # where warnings are errors, mistakes count for more
        problems.raise_if_any()
    return found


def read_pieces(document: Document, environment: Mapping[str, str]) -> list[Piece]:
    """Return each block of *document*, for callers that can do with the ones that are right.

    :raises InvalidConfigurationError: if it has no blocks, or two sections of them.
    """
    pieces: list[Piece] = []
    blocks: list[_Filled] = []
    names: set[str] = set()
    for path, content in _blocks(document):
        twice = [each for each in document.twice if each[0][: len(path)] == path]
        problems = Problems(document.name, document.lines, twice)
        each = _Filled(path, content, fill_in(content, environment, problems, path))
        blocks.append(each)
        registration = _read_one(each, document, problems, names)
        name = each.filled.get("provider_name") if isinstance(each.filled, Mapping) else None
        name = name if isinstance(name, str) and name else as_text(path)
        try:
            problems.raise_if_any()
        except InvalidConfigurationError as error:
            pieces.append(Piece(name, content, None, error.problems))
        else:
            pieces.append(Piece(name, content, registration, ()))
    _warn(document, blocks)
    return pieces


@dataclass(frozen=True)
class _Filled:
    """A block as it is written, and with its variables filled in."""

    path: KeyPath
    content: object = field(repr=False)
    filled: Any = field(repr=False)


def _read_one(
    block: _Filled, document: Document, problems: Problems, names: set[str]
) -> Registration | None:
    """Return the registration of one block, or note what is wrong with it.

    :param names: of the providers before it, to which its own is added.
    """
    path, directory = block.path, document.directory
    filled = _without_odd_keys(block.filled, problems, path)
    secret = _secret_of(filled, directory, problems, path)
    read = read_block(filled, problems, path)
    if isinstance(filled, Mapping) and isinstance(name := filled.get("provider_name"), str):
        if name in names:
            problems.add((*path, "provider_name"), f"{name!r} is taken already")
            read = None
        names.add(name)
    if read is None:
        return None
    _check_verify(read, directory, problems, path)
    if any((*path, key) in problems for key in ("client_secret", "client_secret_file")):
        return None
    registration = Registration(read, secret, directory)
    try:
        registration.make_provider()
    except InvalidConfigurationError as error:  # what only the provider itself can tell
        what = str(error).removeprefix(f"provider {read.provider_name!r}: ")
        problems.add((*path, *filter(None, [error.field])), what.removeprefix(f"{error.field} "))
    return registration


def _without_odd_keys(block: Any, problems: Problems, path: KeyPath) -> Any:
    """Return *block* without the keys that are not text: halves of a character, as in UTF-16."""
    if not isinstance(block, Mapping):
        return block
    odd = [key for key in block if isinstance(key, str) and _SURROGATE.search(key)]
    for key in odd:
        problems.add((*path, key), "is not a key: it holds a character that is not UTF-8")
    return {key: value for key, value in block.items() if key not in odd} if odd else block


def _warn(document: Document, blocks: Iterable[_Filled]) -> None:
    """Warn of secrets that others may see, whatever else is wrong."""
    problems = Problems(document.name, document.lines)
    in_clear = False
    for block in blocks:
        if not isinstance(block.filled, Mapping) or not isinstance(block.content, Mapping):
            continue
        for key, remedy in _in_clear(block.content) if document.name else ():
            in_clear = True
            where = problems.where((*block.path, *key))
            warn(f"{where} is written in clear: take it from {remedy}")
        file = block.filled.get("client_secret_file")
        if isinstance(file, str) and file.strip():
            warn_if_readable(located(document.directory, file))
    if in_clear:
        warn_if_readable(Path(document.name))


def _in_clear(block: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the keys of the secrets that are in the file itself, and where they should be."""
    variable = "a variable, ${NAME}"
    if is_in_clear(block.get("client_secret")):
        yield ("client_secret",), f"{variable}, or from a file, client_secret_file"
    own = [] if block.get("provider_type") in OURS else [*block.keys() - _KNOWN_KEYS]
    for key in sorted(map(str, own)):
        if _is_secret_argument(key) and is_in_clear(block.get(key)):
            yield (key,), variable
    for key in ("additional_params", "headers", *sorted(map(str, own))):
        parameters = block.get(key)
        for name, value in parameters.items() if isinstance(parameters, Mapping) else ():
            by_name = names_a_secret(str(name))
            if (by_name or (key == "headers" and _SECRET_HEADER.search(str(name)))) and is_in_clear(
                value
            ):
                yield (key, str(name)), variable
    if any(map(is_in_clear, secrets_in_query(str(block.get("token_url", ""))))):
        yield ("token_url",), variable


def _blocks(document: Document) -> list[tuple[KeyPath, object]]:
    """Return each block and where it is.

    :raises InvalidConfigurationError: if there are none, or it can't be told which are meant.
    """
    whole = [each for each in document.twice if each[0] == (SECTION,)]
    problems = Problems(document.name, document.lines, whole)
    problems.raise_if_any()
    content = document.content
    if not isinstance(content, Mapping) or content.get(SECTION) is None:
        problems.add((), f"has no block {SECTION!r} with anything in it{_near_miss(content)}")
        raise problems.as_error()
    section = content[SECTION]
    if not document.name:  # what a file holds was checked before it was filled in
        try:
            check_values(section)
        except TooMuchError as error:
            problems.add((SECTION,), f"can't be read: {error.why}")
            raise problems.as_error() from None
    if isinstance(section, (list, tuple)):
        return [((SECTION, index), block) for index, block in enumerate(section)]
    return [((SECTION,), section)]


def _near_miss(content: Mapping[Any, Any] | None) -> str:
    names = {str(name).lower(): name for name in content or () if name != SECTION}
    nearest = difflib.get_close_matches(SECTION, names, n=1)
    return f": is it what stands under {names[nearest[0]]!r}?" if nearest else ""


def _secret_of(block: object, directory: Path, problems: Problems, path: KeyPath) -> str | None:
    """Return the secret of *block*."""
    content = block if isinstance(block, Mapping) else {}
    secret, name = content.get("client_secret"), content.get("client_secret_file")
    path = (*path, "client_secret_file")
    if name is None:
        return secret if isinstance(secret, str) else None
    if isinstance(name, str) and name.strip() and path not in problems:
        try:
            return read_secret(located(directory, name))
        except InvalidConfigurationError as error:
            problems.add(path, str(error))
    return None


def _check_verify(block: Block, directory: Path, problems: Problems, path: KeyPath) -> None:
    verify = block.verify
    if not isinstance(verify, str):
        return
    if not os.path.exists(located(directory, verify)):
        problems.add((*path, "verify"), "names a file of CA certificates that is not there")
        return
    try:
        check_trusted(located(directory, verify))
    except InvalidConfigurationError as error:
        problems.add((*path, "verify"), str(error))
