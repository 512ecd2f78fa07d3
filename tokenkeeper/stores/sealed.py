"""Seals what is stored, and names the records: AES-GCM under a ring of keys.

A sealed text is ``1.kid.`` followed by a nonce of 12 bytes and the ciphertext with its tag
(AES-GCM, NIST SP 800-38D). The record's key and the purpose are associated data, so a sealed token
opens neither under another record's key nor in place of a failure. The first key of a ring seals,
all of them open; that is how keys are rotated without a token request.

Records are named by an HMAC of what identifies a token, which contains no client secret: a rotated
secret must not lose a refresh token. The key of that HMAC stays when the sealing keys change.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

from tokenkeeper._runtime.fork import forks_wait

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["KEY_BYTES", "LONGEST_KID", "KeyRing", "Plain", "Purpose", "Sealer", "UnreadableError"]

KEY_BYTES = 32
"""The length of every key: AES-256."""

LONGEST_KID = 32
"""The most characters of a key's id."""

NONCE_BYTES = 12
SEALED_VERSION = b"1"
PLAIN_VERSION = b"0"

_KID = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST_KID}}}")

Purpose = Literal["token", "failure"]
"""What a sealed text is."""


class UnreadableError(Exception):
    """A sealed text can't be opened. The message says why and what to do, in one sentence.

    :ivar kid: the id of the key that it needs, if the ring lacks it; ``None`` otherwise.
    """

    def __init__(self, message: str, kid: str | None = None) -> None:
        super().__init__(message)
        self.kid = kid


class Sealer(Protocol):
    """Seals, opens, and names records. Thread-safe."""

    def seal(self, plaintext: bytes, record_key: str, purpose: Purpose) -> bytes:
        """Return *plaintext* as it is stored under *record_key*."""
        ...

    def open(self, sealed: bytes, record_key: str, purpose: Purpose) -> bytes:
        """Return what was sealed.

        :raises UnreadableError: if it was not sealed for this record and purpose with a known key.
        """
        ...

    def is_current(self, sealed: bytes) -> bool:
        """Return whether *sealed* is sealed as :meth:`seal` does it now: with the first key."""
        ...

    def record_key(self, identity: str) -> str:
        """Return the key of the record of the token that *identity* identifies."""
        ...


class KeyRing:
    """Keys by their ids: the first one seals, all of them open. Immutable; shows none of them.

    :param keys: at least one key of :data:`KEY_BYTES` bytes, by id.
    :param names_key: the key that names records; by default derived from the last one in *keys*.
    :raises ValueError: for a key of another length, an id that can't be stored, or no key at all.
    """

    def __init__(self, keys: Mapping[str, bytes], names_key: bytes | None = None) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError(f"a key ring needs at least one key, each of {KEY_BYTES} bytes")
        if not all(map(_is_kid, keys)):
            raise ValueError(f"the id of a key must be 1 to {LONGEST_KID} letters, digits, - or _")
        self._keys = dict(keys)
        self.names_key: bytes = names_key or derived_names_key([*keys.values()][-1])

    @property
    def kids(self) -> tuple[str, ...]:
        """The ids of its keys; the first one seals."""
        return tuple(self._keys)

    @cached_property
    def _ciphers(self) -> dict[str, AESGCM]:
        with forks_wait():
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return {kid: AESGCM(key) for kid, key in self._keys.items()}

    def seal(self, plaintext: bytes, record_key: str, purpose: Purpose) -> bytes:
        """Return *plaintext* as it is stored under *record_key*."""
        kid = self.kids[0]
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = self._ciphers[kid]
        text = cipher.encrypt(nonce, plaintext, _bound_to(record_key, purpose))
        return b".".join((SEALED_VERSION, kid.encode(), nonce + text))

    def open(self, sealed: bytes, record_key: str, purpose: Purpose) -> bytes:
        """Return what was sealed.

        :raises UnreadableError: if it was not sealed for this record and purpose with a known key.
        """
        version, kid, text = _parts(sealed)
        if version == PLAIN_VERSION:
            raise UnreadableError(
                "it is not encrypted, but this process encrypts. Give all processes the same key "
                "file, or none"
            )
        cipher = self._ciphers.get(kid)
        if cipher is None:
            raise UnreadableError(
                f"it is sealed with the key {kid!r}, which the key file does not have", kid
            )
        from cryptography.exceptions import InvalidTag

        nonce, rest = text[:NONCE_BYTES], text[NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, rest, _bound_to(record_key, purpose))
        except (InvalidTag, ValueError):
            raise UnreadableError(
                "it was changed, or belongs to another record, or was sealed with another key of "
                "the same id"
            ) from None

    def is_current(self, sealed: bytes) -> bool:
        """Return whether *sealed* is sealed with the first key."""
        return sealed.startswith(b"%b.%b." % (SEALED_VERSION, self.kids[0].encode()))

    def record_key(self, identity: str) -> str:
        """Return the key of the record of the token that *identity* identifies."""
        return _named(self.names_key, identity)

    def __reduce__(self) -> tuple[type[KeyRing], tuple[dict[str, bytes], bytes]]:
        return KeyRing, (self._keys, self.names_key)  # without the ciphers

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.kids)})"


class Plain:
    """Encrypts nothing (``encrypt: false``): for a store that only this fleet can read."""

    def seal(self, plaintext: bytes, record_key: str, purpose: Purpose) -> bytes:
        """Return *plaintext* as it is stored."""
        return b".".join((PLAIN_VERSION, purpose.encode(), plaintext))

    def open(self, sealed: bytes, record_key: str, purpose: Purpose) -> bytes:
        """Return what was stored.

        :raises UnreadableError: if it is encrypted, or of another purpose.
        """
        version, kind, text = _parts(sealed)
        if version == SEALED_VERSION:
            raise UnreadableError(
                f"it is sealed with the key {kind!r}, but this process has no keys. Set key_file",
                kind,
            )
        if kind != purpose:
            raise UnreadableError("it was changed, or belongs to another record")
        return text

    def is_current(self, sealed: bytes) -> bool:
        """Return whether *sealed* is not encrypted."""
        return sealed.startswith(PLAIN_VERSION + b".")

    def record_key(self, identity: str) -> str:
        """Return the key of the record of the token that *identity* identifies."""
        return _named(b"tokenkeeper", identity)


def derived_names_key(key: bytes) -> bytes:
    """Return the key that names records, for a ring that states none."""
    return hmac.digest(key, b"tokenkeeper record names", "sha256")


def _named(key: bytes, identity: str) -> str:
    return hmac.new(key, identity.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _bound_to(record_key: str, purpose: Purpose) -> bytes:
    return f"{purpose}:{record_key}".encode()


def _parts(sealed: bytes) -> tuple[bytes, str, bytes]:
    version, _, rest = bytes(sealed).partition(b".")
    kid, dot, text = rest.partition(b".")
    if version not in (SEALED_VERSION, PLAIN_VERSION):
        if version.isdigit() and len(version) < 4 and dot:
            raise UnreadableError(
                f"it has the format {version.decode()}, which this version of Tokenkeeper does not "
                "know. Upgrade it"
            )
        raise UnreadableError("it is not something that Tokenkeeper wrote")
    if not dot:
        raise UnreadableError("it was cut short")
    name = kid.decode("ascii", "replace")
    if not _is_kid(name):
        raise UnreadableError("it is not something that Tokenkeeper wrote")
    return version, name, text


def _is_kid(text: str) -> bool:
    return _KID.fullmatch(text) is not None
