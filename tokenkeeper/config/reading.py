"""Reads the blocks of a configuration: for each its specification, or what is wrong with it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenkeeper.config.block_spec import BlockSpec
from tokenkeeper.config.blocks import Generic
from tokenkeeper.config.bounds import TooMuchError, check_values
from tokenkeeper.config.construction import UnknownArgumentError
from tokenkeeper.config.credentials import (
    PASSWORDS,
    check_credential_files,
    credential_files,
    digest_of,
)
from tokenkeeper.config.custody import check_custody
from tokenkeeper.config.document import SECTION, Document
from tokenkeeper.config.exposure import exposures_in, readable_document
from tokenkeeper.config.files import check_trusted, located, read_secret
from tokenkeeper.config.keeper_tokens import KeeperTokens
from tokenkeeper.config.keys import keys_of
from tokenkeeper.config.late_tokens import Note, links_in
from tokenkeeper.config.links import link_problems
from tokenkeeper.config.own_classes import keys_taken
from tokenkeeper.config.problems import KeyPath, Problems, as_text, in_order
from tokenkeeper.config.schema import Block, model_of, read_block
from tokenkeeper.config.spec import Discovered
from tokenkeeper.config.variables import fill_in, variables_in
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["read_blocks"]

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def read_blocks(
    document: Document, environment: Mapping[str, str], tokens: KeeperTokens
) -> list[Discovered]:
    """Return the provider that each block of *document* describes, valid or not.

    :param tokens: where providers get the tokens of others.
    :raises InvalidConfigurationError: if it has no blocks, or two sections of them.
    """
    blocks = dict(_blocks(document))
    reader = _Reader(document, environment, tokens)
    filled = {path: reader.fill(path, content) for path, content in blocks.items()}
    for place, what in link_problems({path: each for path, (each, _) in filled.items()}).items():
        path = next(each for each in blocks if place[: len(each)] == each)
        filled[path][1].add(place, what)
    found = [reader.read(path, blocks[path], *filled[path]) for path in blocks]
    if found:
        last = found[-1]
        exposed = (*last.warnings, *readable_document(document, blocks))
        found[-1] = replace(last, warnings=exposed)
    return found


class _Reader:
    """Reads the blocks of one document, in their order."""

    def __init__(
        self, document: Document, environment: Mapping[str, str], tokens: KeeperTokens
    ) -> None:
        self._document = document
        self._environment = environment
        self._tokens = tokens
        self._names: set[str] = set()  # of the providers before

    def fill(self, path: KeyPath, content: object) -> tuple[Any, Problems]:
        """Return the block at *path* with its variables filled in, and its mistakes so far."""
        document = self._document
        duplicates = [each for each in document.duplicates if each[0][: len(path)] == path]
        problems = Problems(document.name, document.lines, duplicates)
        return fill_in(content, self._environment, problems, path), problems

    def read(self, path: KeyPath, content: object, filled: Any, problems: Problems) -> Discovered:
        """Return what the block *content* at *path* describes.

        :param filled: the block with its variables filled in.
        """
        directory = self._document.directory
        filled = _without_surrogates(filled, problems, path)
        model = model_of(filled, problems, path)
        # Other keys are arguments of a custom class, which may mean anything by them.
        ours = {} if model is None else _ours(filled, model)
        secrets = dict(_secrets_of(ours, directory, problems, path))
        files = credential_files(ours, directory, secrets)
        check_credential_files(files, lambda key, what: problems.add((*path, *key), what))
        block = self._block(filled, model, problems, path)
        if model is not None and issubclass(model, Generic):
            check_custody(ours, directory, _noted_in(problems, path))
        spec = None
        if block is not None:
            spec = BlockSpec(block, secrets, directory, digest_of(files), self._tokens)
            _check_made(spec, problems, path)
        name = filled.get("provider_name") if isinstance(filled, Mapping) else None
        found = tuple(in_order(problems))
        return Discovered(
            name if isinstance(name, str) and name else as_text(path),
            None if found else spec,
            found,
            tuple(exposures_in(content, ours, files, path, self._document)),
            tuple(variables_in(content)),
            block.client_secret_file if block else None,
            tuple(files),
            tuple(each for _, each in links_in(filled)),
        )

    def _block(
        self, filled: Any, model: type[Block] | None, problems: Problems, path: KeyPath
    ) -> Block | None:
        """Return the block, whose name must be new, or note its mistakes."""
        block = read_block(filled, model, problems, path)
        if isinstance(filled, Mapping) and isinstance(name := filled.get("provider_name"), str):
            if name in self._names:
                problems.add_key((*path, "provider_name"), f"duplicate provider_name {name!r}")
                block = None
            self._names.add(name)
        return block


def _ours(filled: Mapping[str, Any], model: type[Block]) -> dict[str, Any]:
    """Return the keys of a block that mean what ours mean."""
    taken = keys_taken(model, str(filled.get("provider_type")))
    return {key: filled[key] for key in keys_of(model) if key in filled and key not in taken}


def _check_made(spec: BlockSpec, problems: Problems, path: KeyPath) -> None:
    """Note mistakes that only the provider finds, and those in the files it uses."""
    block = spec.block
    fits = not problems.any_noted
    _check_verify(block, spec.directory, problems, path)
    if not fits:
        return
    try:
        spec.make_provider()
    except UnknownArgumentError as error:
        problems.add_key((*path, str(error.field)), str(error))
    except InvalidConfigurationError as error:
        what = str(error).removeprefix(f"provider {block.provider_name!r}: ")
        keys = error.field.split(".") if error.field else []
        problems.add((*path, *keys), what.removeprefix(f"{error.field}").lstrip(": "))


def _without_surrogates(block: Any, problems: Problems, path: KeyPath) -> Any:
    """Return *block* without keys that are not text: they contain half a UTF-16 character."""
    if not isinstance(block, Mapping):
        return block
    odd = [key for key in block if isinstance(key, str) and _SURROGATE.search(key)]
    for key in odd:
        problems.add((*path, key), "is not a key: it contains a character that is not UTF-8")
    return {key: value for key, value in block.items() if key not in odd} if odd else block


def _blocks(document: Document) -> list[tuple[KeyPath, object]]:
    """Return each block and its path.

    :raises InvalidConfigurationError: if there are none, or two sections of them.
    """
    sections = [each for each in document.duplicates if each[0] == (SECTION,)]
    problems = Problems(document.name, document.lines, sections)
    problems.raise_if_any()
    content = document.content
    if not isinstance(content, Mapping) or content.get(SECTION) is None:
        problems.add((), f"has no providers under the key {SECTION!r}{_near_miss(content)}")
        problems.raise_if_any()
    section = content[SECTION]
    if not document.name:  # a file was checked before it was parsed
        try:
            check_values(section)
        except TooMuchError as error:
            problems.add((SECTION,), f"can't be read: {error.why}")
        problems.raise_if_any()
    if isinstance(section, (list, tuple)):
        return [((SECTION, index), block) for index, block in enumerate(section)]
    return [((SECTION,), section)]


def _near_miss(content: Mapping[Any, Any] | None) -> str:
    names = {str(name).lower(): name for name in content or () if name != SECTION}
    nearest = difflib.get_close_matches(SECTION, names, n=1)
    return f". Is the key {names[nearest[0]]!r} meant?" if nearest else ""


def _secrets_of(
    content: Mapping[Any, Any], directory: Path, problems: Problems, path: KeyPath
) -> Iterator[tuple[str, str]]:
    """Yield the secrets of the block *content* by key, also those that are in files."""
    for key in PASSWORDS:
        yield from _secret_of(key, key, content, directory, problems, path)
    inner = content.get("assertion")
    if isinstance(inner, Mapping):
        key = "private_key_password"
        place = (*path, "assertion")
        yield from _secret_of(key, f"assertion.{key}", inner, directory, problems, place)


def _secret_of(
    key: str,
    name: str,
    content: Mapping[Any, Any],
    directory: Path,
    problems: Problems,
    path: KeyPath,
) -> Iterator[tuple[str, str]]:
    """Yield the secret *key* of *content*, if it has one, under *name*."""
    secret, file = content.get(key), content.get(f"{key}_file")
    place = (*path, f"{key}_file")
    if file is None:
        if isinstance(secret, str):
            yield name, secret
    elif isinstance(file, str) and file.strip() and place not in problems:
        try:
            yield name, read_secret(located(directory, file))
        except InvalidConfigurationError as error:
            problems.add(place, str(error))


def _check_verify(block: Block, directory: Path, problems: Problems, path: KeyPath) -> None:
    verify = block.verify
    if not isinstance(verify, str):
        return
    if not os.path.exists(located(directory, verify)):
        problems.add((*path, "verify"), "names a file of CA certificates that does not exist")
        return
    try:
        check_trusted(located(directory, verify))
    except InvalidConfigurationError as error:
        problems.add((*path, "verify"), str(error))


def _noted_in(problems: Problems, path: KeyPath) -> Note:
    """Return a function that notes what is wrong in the block at *path*."""

    def note(key: KeyPath, what: str) -> None:
        if what.startswith(": "):
            problems.add_key((*path, *key), what.removeprefix(": "))
        else:
            problems.add((*path, *key), what)

    return note
