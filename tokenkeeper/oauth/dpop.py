"""Proofs that a client has the key that its tokens are bound to: DPoP (RFC 9449)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.hiding import Hidden, without_frames
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.challenges import ProofError
from tokenkeeper.oauth.dpop_servers import Role, Servers
from tokenkeeper.oauth.dpop_target import target_of
from tokenkeeper.oauth.jws import to_json

if TYPE_CHECKING:
    from tokenkeeper.oauth.signing import SigningKey

__all__ = ["DPoPKey", "ForeignKey", "dpop_key_of", "key_with", "restored_key"]

_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
"""The public members of a key by its type, in the order of RFC 7638 §3.2 and RFC 8037 §2."""

_known: weakref.WeakValueDictionary[str, DPoPKey] = weakref.WeakValueDictionary()
"""The keys of this process by thumbprint. A token that comes from a store is bound to one of them,
or brings its own."""


class DPoPKey:
    """A key that tokens are bound to, and that proves who sends them (RFC 9449 §4). Thread-safe.

    Pass one to several providers, and their tokens are bound to the same key. A forked child keeps
    the key, so tokens stay good for it. The key never changes: create another one to replace it.

    :param private_key: the private key, as PEM text, a JWK, or a key of ``cryptography``; by
        default a new ES256 key is generated, which is never written to a file.
    :param private_key_file: a file with it, in PEM or as a JWK, read once.
    :param password: the password of an encrypted PEM; none by default.
    :param signing_alg: the algorithm of the proofs (RFC 9449 §4.2), such as ``ES256``, ``EdDSA`` or
        ``PS256``; by default the one that suits the key.
    :ivar is_generated: whether the key was generated. With a store, a generated key is sealed
        beside each token that is bound to it, so that the other processes can use the token. A key
        of your own is never stored: all processes need it.
    :raises InvalidConfigurationError: for a key that can't be read or can't sign proofs.
    """

    __slots__ = (
        "__weakref__",
        "_first",
        "_headers",
        "_latest",
        "_pem",
        "_servers",
        "_signing",
        "alg",
        "is_generated",
        "thumbprint",
    )

    alg: str
    """The algorithm of the proofs."""

    thumbprint: str
    """The SHA-256 thumbprint of the public key (RFC 7638), which servers state as ``jkt``."""

    @without_frames
    def __init__(
        self,
        private_key: Any = None,
        *,
        private_key_file: str | os.PathLike[str] | None = None,
        password: str | bytes | None = None,
        signing_alg: str | None = None,
    ) -> None:
        if private_key is not None and private_key_file is not None:
            raise _unusable("set private_key or private_key_file, not both", "private_key")
        pem = None
        if private_key_file is not None:
            private_key = _content(private_key_file, password, signing_alg)
        elif private_key is None:
            private_key = pem = _generated_pem()
        self._begin(_signing_key(private_key, password, signing_alg), pem)

    def _begin(self, signing: SigningKey, pem: str | None) -> None:
        self._signing = signing
        self._pem = Hidden(pem)
        public = _public_members(signing)
        self._headers = {"typ": "dpop+jwt", "jwk": public}
        self._servers = Servers()
        self._latest = Hidden(("", ""))
        self.alg: str = signing.alg
        self.is_generated: bool = pem is not None
        self.thumbprint: str = _digest(json.dumps(public, separators=(",", ":"), sort_keys=True))
        first = _known.setdefault(self.thumbprint, self)
        self._first = None if first is self else first  # stays known as long as this object

    def proof(
        self, method: str, url: str, *, token: str | None = None, role: Role = "resource server"
    ) -> str:
        """Return the value of the ``DPoP`` header of one request. Each works once.

        :param method: the request's method, such as ``GET``. It is stated in upper case, as clients
            send it.
        :param url: its URL; query and fragment are not part of the proof.
        :param token: the access token that the request carries; ``None``, the default, for one to
            an authorization server.
        :param role: as what the server takes the proof.
        :raises ValueError: for a URL that is not an absolute http or https URL.
        """
        target = target_of(url)
        learned = self._servers.get(role, target.origin)
        # As text, because an encoder would take longer than all the rest but the signature. None
        # of the values in quotes can contain a character that JSON escapes.
        claims = (
            f'{{"jti":"{secrets.token_urlsafe(16)}","htm":{to_json(method.upper())},'
            f'"htu":"{target.htu}",'
            f'"iat":{int(SYSTEM_CLOCK.time() + learned.ahead_seconds)}'
        )
        if token is not None:
            claims += f',"ath":"{self._digest_of(token)}"'
        if learned.nonce is not None:
            claims += f',"nonce":"{learned.nonce}"'
        return self._signing.sign_json(claims + "}", headers=self._headers)

    def _digest_of(self, token: str) -> str:
        """Return the digest of *token*, which is mostly that of the request before."""
        latest, digest = self._latest.text
        if token != latest:
            digest = _digest(token)
            self._latest = Hidden((token, digest))
        return digest

    def note_nonce(self, url: str, nonce: str | None, *, role: Role = "resource server") -> None:
        """Remember the ``DPoP-Nonce`` of a response for the next proof (RFC 9449 §8.2).

        The auth objects of :mod:`tokenkeeper.integrations` do so. Call it if you send a request
        with :meth:`TokenKeeper.headers` to an API that demands nonces.

        :param url: the URL that responded.
        :param nonce: the header's value; ``None`` if the response had none.
        :param role: as what the server took the proof.
        """
        if nonce is not None:
            self._servers.note_nonce(role, target_of(url).origin, nonce)

    def is_worth_another(
        self,
        error: ProofError,
        url: str,
        headers: Mapping[str, str],
        *,
        role: Role = "resource server",
    ) -> bool:
        """Return whether another proof may satisfy the server that refused one with *error*.

        :meta private:
        """
        now = SYSTEM_CLOCK.time()
        return self._servers.is_worth_another(error, role, target_of(url).origin, headers, now)

    def exported(self) -> str | None:
        """Return a generated key, in PEM, for a sealed record; ``None`` for a given key.

        :meta private:
        """
        return self._pem.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DPoPKey) and other.thumbprint == self.thumbprint

    def __hash__(self) -> int:
        return hash(self.thumbprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.thumbprint, self._signing, self._pem)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.alg} {self.thumbprint}>"


class ForeignKey:
    """Stands for a key that a stored token is bound to, and that this process does not have."""

    __slots__ = ("thumbprint",)

    def __init__(self, thumbprint: str) -> None:
        self.thumbprint: str = thumbprint

    def proof(self, method: str, url: str, *, token: str | None = None) -> str:
        """Raise: there can be no proof.

        :raises InvalidConfigurationError: always.
        """
        raise InvalidConfigurationError(
            f"the token is bound to the DPoP key {self.thumbprint}, which this process does not "
            "have. Give all processes that share a store the same key.",
            field="dpop",
        )

    def note_nonce(self, url: str, nonce: str | None) -> None:
        """Do nothing."""

    def is_worth_another(self, error: object, url: str, headers: Mapping[str, str]) -> bool:
        """Return ``False``."""
        return False

    def exported(self) -> None:
        """Return ``None``: it is not here."""


def dpop_key_of(given: object) -> DPoPKey:
    """Return the key that the option ``dpop`` of a provider describes.

    :raises InvalidConfigurationError: if it is neither a switch nor a key.
    """
    if isinstance(given, DPoPKey):
        return given
    if given is True:
        return DPoPKey()
    raise _unusable(f"dpop must be True, False or a DPoPKey, not {type(given).__name__}", "dpop")


def restored_key(pem: str, thumbprint: str) -> DPoPKey:
    """Return the key of a sealed record: the one of this process, if it has that already.

    :raises InvalidConfigurationError: if it is not that key.
    """
    known = _known.get(thumbprint)
    if known is not None:
        return known
    key = _made(_signing_key(pem, None, None), pem)
    if key.thumbprint != thumbprint:
        raise _unusable("the stored key is another one", "dpop")
    return key


def key_with(thumbprint: str) -> DPoPKey | ForeignKey:
    """Return the key of this process with that thumbprint."""
    return _known.get(thumbprint) or ForeignKey(thumbprint)


def _again(thumbprint: str, signing: SigningKey, pem: Hidden[str | None]) -> DPoPKey:
    """Return a key that was pickled, or the same one of this process."""
    return _known.get(thumbprint) or _made(signing, pem.text)


def _made(signing: SigningKey, pem: str | None) -> DPoPKey:
    key = DPoPKey.__new__(DPoPKey)
    key._begin(signing, pem)  # noqa: SLF001 - one class
    return key


def _signing_key(private_key: Any, password: Any, signing_alg: str | None) -> SigningKey:
    with forks_wait():  # with cryptography, which a process without such a key does not load
        from tokenkeeper.oauth.signing import SigningKey

    if isinstance(private_key, SigningKey):  # its file may be replaced, and with it the key
        raise _unusable("private_key must be the key itself, not a SigningKey", "private_key")
    return SigningKey.of(private_key, password=password, signing_alg=signing_alg)


def _public_members(key: SigningKey) -> dict[str, str]:
    public = key.public_jwk()
    return {name: public[name] for name in _MEMBERS[public["kty"]]}  # there are no other kinds


def _generated_pem() -> str:
    with forks_wait():
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem.decode()


def _content(path: object, password: object, signing_alg: object) -> object:
    """Return the content of a key file: PEM, or a JWK. Errors name the file."""
    with forks_wait():
        from tokenkeeper.oauth.key_options import KeyOptions
        from tokenkeeper.oauth.private_keys import UnusableKeyError

    options = KeyOptions.of(None, path, password, None, signing_alg, None)
    try:
        contents = options.read()
        options.key_in(contents, SYSTEM_CLOCK.time())
    except UnusableKeyError as error:
        failure = InvalidConfigurationError(str(error), field=error.field)
    else:
        return contents.key
    raise failure  # out here, so that it has no context


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _unusable(problem: str, field: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(f"{problem}.", field=field)
