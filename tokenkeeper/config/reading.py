"""Reads the blocks of a configuration: for each its specification, or what is wrong with it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenkeeper.config.block_spec import BlockSpec
from tokenkeeper.config.bounds import TooMuchError, check_values
from tokenkeeper.config.construction import UnknownArgumentError
from tokenkeeper.config.document import SECTION, Document
from tokenkeeper.config.exposure import exposures_in, readable_document
from tokenkeeper.config.files import check_trusted, located, read_secret
from tokenkeeper.config.problems import KeyPath, Problems, as_text, in_order
from tokenkeeper.config.schema import Block, read_block
from tokenkeeper.config.spec import Discovered
from tokenkeeper.config.variables import fill_in, variables_in
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["read_blocks"]

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def read_blocks(document: Document, environment: Mapping[str, str]) -> list[Discovered]:
    """Return the provider that each block of *document* describes, valid or not.

    :raises InvalidConfigurationError: if it has no blocks, or two sections of them.
    """
    blocks = dict(_blocks(document))
    names: set[str] = set()
    found = [_read(path, blocks[path], document, environment, names) for path in blocks]
    if found:
        last = found[-1]
        exposed = (*last.warnings, *readable_document(document, blocks))
        found[-1] = replace(last, warnings=exposed)
    return found


def _read(
    path: KeyPath,
    content: object,
    document: Document,
    environment: Mapping[str, str],
    names: set[str],
) -> Discovered:
    """Return what the block *content* at *path* describes.

    :param names: the names of the providers before it, to which its own is added.
    """
    duplicates = [each for each in document.duplicates if each[0][: len(path)] == path]
    problems = Problems(document.name, document.lines, duplicates)
    filled = fill_in(content, environment, problems, path)
    spec = _spec_of(filled, path, document.directory, problems, names)
    name = filled.get("provider_name") if isinstance(filled, Mapping) else None
    found = tuple(in_order(problems))
    return Discovered(
        name if isinstance(name, str) and name else as_text(path),
        None if found else spec,
        found,
        tuple(exposures_in(content, filled, path, document)),
        tuple(variables_in(content)),
        spec.block.client_secret_file if spec else None,
    )


def _spec_of(
    filled: Any, path: KeyPath, directory: Path, problems: Problems, names: set[str]
) -> BlockSpec | None:
    """Return the specification in a block with its variables filled in, or note its mistakes."""
    filled = _without_surrogates(filled, problems, path)
    secret = _secret_of(filled, directory, problems, path)
    block = read_block(filled, problems, path)
    if isinstance(filled, Mapping) and isinstance(name := filled.get("provider_name"), str):
        if name in names:
            problems.add_key((*path, "provider_name"), f"duplicate provider_name {name!r}")
            block = None
        names.add(name)
    if block is None:
        return None
    _check_verify(block, directory, problems, path)
    if any((*path, key) in problems for key in ("client_secret", "client_secret_file")):
        return None
    spec = BlockSpec(block, secret, directory)
    try:
        spec.make_provider()
    except UnknownArgumentError as error:
        problems.add_key((*path, str(error.field)), str(error))
    except InvalidConfigurationError as error:  # a mistake that only the provider finds
        what = str(error).removeprefix(f"provider {block.provider_name!r}: ")
        problems.add((*path, *filter(None, [error.field])), what.removeprefix(f"{error.field} "))
    return spec


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
        problems.add((*path, "verify"), "names a file of CA certificates that does not exist")
        return
    try:
        check_trusted(located(directory, verify))
    except InvalidConfigurationError as error:
        problems.add((*path, "verify"), str(error))
