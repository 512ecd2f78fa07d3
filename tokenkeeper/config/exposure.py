"""Secrets in a configuration that other users may see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenkeeper._support.checks import names_a_secret, secrets_in_query
from tokenkeeper.config.block_spec import KNOWN_KEYS, is_secret_argument, is_secret_header
from tokenkeeper.config.credentials import PASSWORDS, CredentialFile, readable_credentials
from tokenkeeper.config.document import Document
from tokenkeeper.config.files import located, readable_by_all
from tokenkeeper.config.problems import KeyPath, Problems
from tokenkeeper.config.store import secrets_in_url
from tokenkeeper.config.variables import is_in_clear
from tokenkeeper.providers.kinds import OURS

__all__ = ["exposures_in", "readable_document"]


def exposures_in(
    content: object,
    filled: Mapping[str, Any],
    files: Iterable[CredentialFile],
    path: KeyPath,
    document: Document,
) -> Iterator[str]:
    """Yield a warning for each secret of one block that is written in clear or can be read.

    :param content: the block before its variables are filled in.
    :param filled: our keys of the block afterwards.
    :param files: those with its keys, certificates and tokens.
    """
    if isinstance(content, Mapping):
        yield from _written_in_clear(content, path, document)
    signed = filled.get("assertion")
    for block in (filled, signed if isinstance(signed, Mapping) else {}):
        for key in PASSWORDS:
            file = block.get(f"{key}_file")
            if isinstance(file, str) and file.strip():
                yield from readable_by_all(located(document.directory, file))
    yield from readable_credentials(files)
    kept_in = filled.get("custody")
    keys = kept_in.get("key_file") if isinstance(kept_in, Mapping) else None
    if isinstance(keys, str) and keys.strip():
        yield from readable_by_all(located(document.directory, keys))


def readable_document(document: Document, blocks: Mapping[KeyPath, object]) -> Iterator[str]:
    """Yield a warning if the file itself holds a secret of *blocks* and every user can read it."""
    in_clear = (
        each
        for path, content in blocks.items()
        if isinstance(content, Mapping)
        for each in _written_in_clear(content, path, document)
    )
    if next(in_clear, None) is not None:
        yield from readable_by_all(Path(document.name))


def _written_in_clear(
    content: Mapping[str, Any], path: KeyPath, document: Document
) -> Iterator[str]:
    if not document.name:
        return  # a mapping: its secrets come from the program
    places = Problems(document.name, document.lines)
    for key, remedy in _secrets_in(content):
        yield f"{places.where((*path, *key))} is written in clear: take it from {remedy}"


def _secrets_in(block: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the keys of the secrets that the file itself contains, and a better source."""
    variable = "a variable, ${NAME}"
    for place, value in _passwords_in(block):
        if is_in_clear(value):
            yield place, f"{variable}, or from a file, {place[-1]}_file"
    own = [] if block.get("provider_type") in OURS else [*block.keys() - KNOWN_KEYS]
    for key in sorted(map(str, own)):
        if is_secret_argument(key) and is_in_clear(block.get(key)):
            yield (key,), variable
    for key in ("additional_params", "headers", *sorted(map(str, own))):
        members = block.get(key)
        for name, value in members.items() if isinstance(members, Mapping) else ():
            secret = names_a_secret(str(name)) or (key == "headers" and is_secret_header(str(name)))
            if secret and is_in_clear(value):
                yield (key, str(name)), variable
    if any(map(is_in_clear, secrets_in_query(str(block.get("token_url", ""))))):
        yield ("token_url",), variable
    if block.get("provider_type") in OURS:
        kept_in = block.get("custody")
        inside = isinstance(kept_in, Mapping)
        url = kept_in.get("url") if isinstance(kept_in, Mapping) else kept_in
        if isinstance(url, str) and any(map(is_in_clear, secrets_in_url(url))):
            yield ("custody", "url") if inside else ("custody",), variable


def _passwords_in(block: Mapping[str, Any]) -> Iterator[tuple[KeyPath, object]]:
    """Yield the keys of *block* that are passwords, and their values."""
    ours = block.get("provider_type") in OURS
    for key in PASSWORDS if ours else PASSWORDS[:1]:  # a custom class may mean anything by others
        yield (key,), block.get(key)
    signed = block.get("assertion")
    if ours and isinstance(signed, Mapping):
        yield ("assertion", "private_key_password"), signed.get("private_key_password")
