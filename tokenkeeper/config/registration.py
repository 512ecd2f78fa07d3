"""A whole configuration, checked: the registrations of its clients, secrets included."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tokenkeeper.checks import names_a_secret
from tokenkeeper.config.document import SECTION, Document
from tokenkeeper.config.files import check_trusted, located, read_secret, warn, warn_if_readable
from tokenkeeper.config.problems import KeyPath, Problems, as_text
from tokenkeeper.config.schema import Block, read_block
from tokenkeeper.config.variables import fill_in, is_in_clear
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["Piece", "Registration", "read_pieces", "read_registrations"]

_HEADERS_WITH_SECRETS = frozenset({"authorization", "proxy-authorization", "cookie"})


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
        return json.dumps({name: _without_secrets(each) for name, each in content.items()})

    def make_provider(self) -> BaseOAuth2Provider:
        """Return a new provider."""
        return self.block.make_provider(self.secret, self.directory)


def _without_secrets(value: Any) -> Any:
    """Return *value* without the members below it whose name says that they are secrets."""
    if isinstance(value, Mapping):
        return {
            name: _without_secrets(each)
            for name, each in value.items()
            if not names_a_secret(str(name)) and str(name).lower() not in _HEADERS_WITH_SECRETS
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
    problems = Problems(document.name, document.lines)
    found: dict[str, Registration] = {}
    blocks = _blocks(document, problems)
    for path, content in blocks:
        _read_one(content, path, document, environment, problems, found)
    problems.raise_if_any()
    # Without a mistake there is one registration for each block.
    _warn(document, zip(blocks, found.values(), strict=True), problems)
    return found


def read_pieces(document: Document, environment: Mapping[str, str]) -> list[Piece]:
    """Return each block of *document*, for those who can do with the ones that are right.

    :raises InvalidConfigurationError: if it has no blocks.
    """
    pieces: list[Piece] = []
    right: list[tuple[tuple[KeyPath, Any], Registration]] = []
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
            if registration is not None:
                right.append(((path, content), registration))
    _warn(document, right, Problems(document.name, document.lines))
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
    directory = document.directory
    filled = fill_in(content, environment, problems, path)
    secret = _secret_of(filled, directory, problems, path)
    block = read_block(filled, problems, path)
    if block is None:
        return None
    _check_verify(block, directory, problems, path)
    if block.provider_name in found:
        problems.add((*path, "provider_name"), f"{block.provider_name!r} is taken already")
        return None
    if secret is None:
        return None
    found[block.provider_name] = registration = Registration(block, secret, directory)
    try:
        registration.make_provider()
    except InvalidConfigurationError as error:  # what only the provider itself can tell
        what = str(error).removeprefix(f"provider {block.provider_name!r}: ")
        problems.add((*path, *filter(None, [error.field])), what.removeprefix(f"{error.field} "))
    return registration


def _warn(
    document: Document,
    blocks: Iterable[tuple[tuple[KeyPath, Any], Registration]],
    problems: Problems,
) -> None:
    """Warn of secrets that others may see."""
    in_clear = False
    for (path, content), registration in blocks:
        for key, remedy in _in_clear(content) if document.name else ():
            in_clear = True
            where = problems.where((*path, *key))
            warn(f"{where} is written in clear: take it from {remedy}")
        file = registration.block.client_secret_file
        if file is not None:
            warn_if_readable(located(document.directory, file))
    if in_clear:
        warn_if_readable(Path(document.name))


def _in_clear(block: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the keys of the secrets that stand in the file itself, and where they should be."""
    variable = "a variable, ${NAME}"
    if is_in_clear(block.get("client_secret")):
        yield ("client_secret",), f"{variable}, or from a file, client_secret_file"
    for name, value in (block.get("additional_params") or {}).items():
        if names_a_secret(name) and is_in_clear(value):
            yield ("additional_params", name), variable
    query = parse_qsl(block.get("token_url", "").partition("?")[2])
    if any(names_a_secret(name) and is_in_clear(value) for name, value in query):
        yield ("token_url",), variable


def _blocks(document: Document, problems: Problems) -> list[tuple[KeyPath, object]]:
    """Return each block and where it is."""
    content = document.content
    if not isinstance(content, Mapping) or content.get(SECTION) is None:
        problems.add((), f"has no block {SECTION!r} with anything in it{_near_miss(content)}")
        raise problems.as_error()
    section = content[SECTION]
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
