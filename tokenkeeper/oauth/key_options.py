"""Where a signing key is from and how it is used: the options, checked, and the key in them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tokenkeeper._runtime.fork import late_import
from tokenkeeper._support.checks import checked_text
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.jws import JwsSigner
from tokenkeeper.oauth.key_certificates import thumbprint_in
from tokenkeeper.oauth.private_keys import (
    ALGORITHMS,
    PrivateKey,
    UnusableKeyError,
    key_of,
    read_key,
)

__all__ = ["KeyContents", "KeyOptions", "UsableKey", "checked_algorithm"]

_LONGEST = 256 * 1024
"""In bytes. A key and a chain of certificates have a few thousand; a larger file is another one."""


@dataclass(frozen=True, slots=True)
class KeyContents:
    """The key and the certificates that options refer to, as they were read.

    :ivar key: PEM or a JWK as bytes, or an object of cryptography.
    :ivar chain: certificates in PEM, or ``None``.
    :ivar digest: equal for equal contents.
    """

    key: object = field(repr=False)
    chain: bytes | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class UsableKey:
    """A key, and what signs with it as the options say. Immutable."""

    key: PrivateKey
    signer: JwsSigner
    kid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOptions:
    """The options of :meth:`~tokenkeeper.oauth.signing.SigningKey.of`, checked. Immutable."""

    given: Hidden[Any]
    key_file: str | None
    password: Hidden[bytes | None]
    key_id: str | None
    signing_alg: str | None
    certificate_file: str | None

    @classmethod
    def of(
        cls,
        private_key: object,
        private_key_file: object,
        password: object,
        key_id: object,
        signing_alg: object,
        certificate_file: object,
    ) -> KeyOptions:
        """Return the options.

        :raises InvalidConfigurationError: if one can't be right, whatever the key is.
        """
        if (private_key is None) == (private_key_file is None):
            raise _wrong("private_key", "or private_key_file is required, and not both")
        return cls(
            given=Hidden(None if private_key is None else _as_bytes(private_key)),
            key_file=_checked_path(private_key_file, "private_key_file"),
            password=Hidden(_checked_password(password)),
            key_id=None if key_id is None else checked_text(key_id, "key_id"),
            signing_alg=None if signing_alg is None else checked_algorithm(signing_alg),
            certificate_file=_checked_path(certificate_file, "certificate_file"),
        )

    def files(self) -> tuple[str, ...]:
        """Return the paths of the files that are read."""
        return tuple(path for path in (self.key_file, self.certificate_file) if path is not None)

    def read(self) -> KeyContents:
        """Read the files.

        :raises UnusableKeyError: if one can't be read.
        """
        key: object = self.given.text
        if self.key_file is not None:
            with _located("private_key_file", self.key_file):
                key = _content_of(self.key_file)
        chain = None
        if self.certificate_file is not None:
            with _located("certificate_file", self.certificate_file):
                chain = _content_of(self.certificate_file)
        return KeyContents(key, chain, _digest(key, chain))

    def key_in(self, contents: KeyContents, now: float) -> UsableKey:
        """Return the key in *contents*.

        :param now: seconds since the epoch.
        :raises UnusableKeyError: if it can't be used as the options say.
        """
        where = "private_key" if self.key_file is None else "private_key_file"
        with _located(where, self.key_file):
            if isinstance(contents.key, bytes):
                key = read_key(contents.key, self.password.text)
            elif self.password.text is not None:
                raise UnusableKeyError("is an object, which takes no password", "password")
            else:
                key = key_of(contents.key)
        alg = _algorithm(key, self.signing_alg)
        kid = self.key_id or key.kid
        headers = {} if kid is None else {"kid": kid}
        if contents.chain is not None:
            with _located("certificate_file", self.certificate_file):
                headers["x5t#S256"] = thumbprint_in(contents.chain, key.key, now)
        return UsableKey(key, JwsSigner(alg, key.key, headers), kid)

    def for_pickle(self) -> KeyOptions:
        """Return the options with PEM in place of an object of cryptography."""
        key = self.given.text
        if key is None or isinstance(key, bytes):
            return self
        serialization = late_import("cryptography.hazmat.primitives.serialization")
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return replace(self, given=Hidden(pem))


def checked_algorithm(value: object, field: str = "signing_alg") -> str:
    """Return *value* if it is an algorithm that private keys sign with."""
    if isinstance(value, str) and value in ALGORITHMS:
        return value
    problem = f"must be {', '.join(map(repr, ALGORITHMS[:-1]))} or {ALGORITHMS[-1]!r}"
    shown = f", not {value!r}" if isinstance(value, str) else f", not {type(value).__name__}"
    raise _wrong(field, problem + shown)


@contextmanager
def _located(field: str, path: str | None) -> Iterator[None]:
    """Put the option and its file before the reason in an :class:`UnusableKeyError`."""
    try:
        yield
    except UnusableKeyError as error:
        place = field if path is None else f"{field} {path}"
        failure = UnusableKeyError(f"{place} {error}.", error.field or field)
    else:
        return
    raise failure


def _algorithm(key: PrivateKey, signing_alg: str | None) -> str:
    """Return the algorithm to sign with.

    :raises UnusableKeyError: if the key can't, or is meant for another one.
    """
    if key.alg is not None and signing_alg not in (None, key.alg):
        problem = f"{signing_alg!r} is not the alg of the JWK, {key.alg!r}. Remove one of them."
        raise UnusableKeyError(f"signing_alg {problem}", "signing_alg")
    alg = signing_alg or key.alg or key.algorithms[0]
    if alg not in key.algorithms:
        what = "signing_alg" if signing_alg else "the JWK's alg"
        problem = f"does not fit the key, which signs with {', '.join(key.algorithms)}."
        raise UnusableKeyError(f"{what} {alg!r} {problem}", "signing_alg")
    return alg


def _content_of(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        problem = f"can't be read: {reason}"
    else:
        if len(content) <= _LONGEST:
            return content
        problem = f"is larger than {_LONGEST // 1024} KiB"
    raise UnusableKeyError(problem)


def _digest(key: object, chain: bytes | None) -> bytes:
    """Return a digest of what may change: an object of cryptography never does."""
    text = key if isinstance(key, bytes) else b""
    return hashlib.sha256(b"%d %b %b" % (len(text), text, chain or b"")).digest()


def _as_bytes(private_key: object) -> object:
    """Return a key as bytes if it is text or a JWK."""
    if isinstance(private_key, Mapping):
        try:
            return json.dumps(dict(private_key)).encode()
        except (TypeError, ValueError):
            problem = "is not a valid JWK: it has values that JSON does not know"
    elif not isinstance(private_key, str):
        return private_key
    elif "-----BEGIN" in private_key or private_key.lstrip().startswith("{"):
        return private_key.encode("utf-8", "surrogateescape")
    else:
        problem = "is neither PEM nor a JWK. For the path of a file, use private_key_file"
    raise _wrong("private_key", problem)


def _checked_path(value: object, field: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise _wrong(field, f"must be a path, not {type(value).__name__}")
    return checked_text(os.fspath(value), field)


def _checked_password(value: object) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, (str, bytes)):
        raise _wrong("password", f"must be a string or bytes, not {type(value).__name__}")
    if not value:
        raise _wrong("password", "is empty. Set it, or check the variable that it comes from")
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _wrong(field: str, problem: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(f"{field} {problem}.", field=field)
