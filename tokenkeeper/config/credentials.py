"""The files with keys, certificates and tokens that a block names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tokenkeeper.config.files import (
    beginning_of,
    check_trusted,
    is_read_only,
    located,
    readable_by_all,
)
from tokenkeeper.config.late_tokens import LATE_TOKENS, Note
from tokenkeeper.config.problems import KeyPath
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = [
    "PASSWORDS",
    "CredentialFile",
    "check_credential_files",
    "credential_files",
    "digest_of",
    "readable_credentials",
]

PASSWORDS = ("client_secret", "private_key_password", "certificate_password", "password")
"""Keys whose value may be in a file instead, which ``_file`` after the key names."""

_KINDS: Mapping[str, Literal["key", "certificate", "token"]] = {
    "private_key_file": "key",
    "certificate_file": "certificate",
    "certificate_key_file": "key",
    "client_assertion_file": "token",
    "federated_token_file": "token",
    "refresh_token_file": "token",
    "dpop": "key",
}

_PASSWORD_OF = {
    "private_key_file": "private_key_password",
    "certificate_file": "certificate_password",
}


@dataclass(frozen=True)
class CredentialFile:
    """A file that a client proves with who it is, or what it acts for.

    :ivar path: the keys of the block that lead to its name.
    :ivar kind: ``token`` for one that something else replaces before it expires.
    :ivar password: what its key is encrypted with; ``None`` if it is not.
    """

    path: KeyPath
    file: Path
    kind: Literal["key", "certificate", "token"]
    password: str | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """The key as people write it."""
        return ".".join(map(str, self.path))


def credential_files(
    content: Mapping[Any, Any], directory: Path, secrets: Mapping[str, str]
) -> list[CredentialFile]:
    """Return the files that the block *content* names, whether or not they exist.

    :param directory: where relative paths begin.
    :param secrets: the passwords of the block, by key.
    """
    return [
        CredentialFile(path, located(directory, name), kind, secrets.get(password))
        for path, name, kind, password in _named(content)
    ]


def _named(
    content: Mapping[Any, Any],
) -> Iterator[tuple[KeyPath, str, Literal["key", "certificate", "token"], str]]:
    for key, kind in _KINDS.items():
        name = content.get(key)
        if isinstance(name, str) and name.strip() and name.lower() not in ("true", "false"):
            yield (key,), name, kind, _PASSWORD_OF.get(key, "")
    for key in LATE_TOKENS:
        value = content.get(key)
        if not isinstance(value, Mapping):
            continue
        if isinstance(name := value.get("file"), str) and name.strip():
            yield (key, "file"), name, "token", ""
        if isinstance(name := value.get("private_key_file"), str) and name.strip():
            yield (key, "private_key_file"), name, "key", f"{key}.private_key_password"


def check_credential_files(files: list[CredentialFile], note: Note) -> None:
    """Note the keys and certificates that do not exist, or that other users can replace.

    Tokens may be written later, and belong to what writes them. What exists must be a file.
    """
    for each in files:
        try:
            if each.kind != "token":
                check_trusted(each.file)
        except InvalidConfigurationError as error:
            note(each.path, str(error))
            continue
        if each.file.is_dir():
            note(each.path, "names a directory")
        elif each.file.exists() and not each.file.is_file():
            note(each.path, "can't be read: it is not a regular file")


def digest_of(files: Iterable[CredentialFile]) -> str:
    """Return a digest of those of *files* that are read once; "" if there are none."""
    digest = ""
    for each in files:
        if each.key == "dpop":  # tokens are bound to this key, so it does not change unnoticed
            digest = hashlib.sha256(beginning_of(each.file)).hexdigest()
    return digest


def readable_credentials(files: Iterable[CredentialFile]) -> Iterator[str]:
    """Yield a warning for each of *files* that contains a secret and that every user can read."""
    for each in files:
        if each.kind == "token":
            # A platform mounts it, and decides who can read it.
            if not is_read_only(each.file):
                yield from readable_by_all(each.file)
        elif each.kind == "key" or _has_private_key(each.file):
            yield from readable_by_all(each.file)


def _has_private_key(certificate: Path) -> bool:
    """Return whether the file of a certificate contains its private key as well."""
    content = beginning_of(certificate)
    if not content:
        return False
    return b"PRIVATE KEY" in content or b"BEGIN CERTIFICATE" not in content  # PKCS #12
