"""The private key that a client signs JWTs with (RFC 7515), followed while its file is replaced."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tokenkeeper._runtime.fork import late_import
from tokenkeeper._support.frozen import EMPTY
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.file_stamps import Stamp, is_settled, stamps_of
from tokenkeeper.oauth.key_options import KeyOptions, UsableKey, checked_algorithm
from tokenkeeper.oauth.private_keys import UnusableKeyError, new_key

__all__ = ["SigningKey"]

_JWK_MEMBERS = ("kty", "crv", "x", "y", "e", "n")
"""The members of public keys (RFC 7518 §6, RFC 8037 §2)."""

_log = logging.getLogger("tokenkeeper.oauth")


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """The key in use, and the files as they were when it was read."""

    usable: UsableKey
    digest: bytes
    stamps: tuple[Stamp, ...]
    settled: bool


class SigningKey:
    """A private key that signs JWTs. Create it with :meth:`of` or :meth:`generate`.

    Thread-safe without a lock, and usable in a forked child. If the file of the key or of the
    certificate is replaced, the next JWT is signed with the new key. If the files can't be used,
    for example because only one of them was replaced so far, the last good key is used, and a
    warning is logged once.

    It can be pickled. A key that was given is then a part of the result, unencrypted if it was an
    object; of a key file, only the path is.
    """

    __slots__ = ("_clock", "_faults", "_files", "_loaded", "_options")

    def __init__(self, options: KeyOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._files = options.files()
        self._loaded: _Loaded | None = None
        self._faults: dict[str, object] = {}  # those that were logged

    @classmethod
    @without_frames
    def of(
        cls,
        private_key: object = None,
        *,
        private_key_file: str | os.PathLike[str] | None = None,
        password: str | bytes | None = None,
        key_id: str | None = None,
        signing_alg: str | None = None,
        certificate_file: str | os.PathLike[str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> SigningKey:
        """Return a key, which is read and checked at once.

        :param private_key: the key: PEM as text or bytes, a JWK as a mapping or as text, or an
            object of cryptography. Either this or *private_key_file* is required. A
            :class:`SigningKey` without further options is returned unchanged.
        :param private_key_file: a file with the key, in PEM or as a JWK, which is read again when
            it is replaced.
        :param password: the password of an encrypted PEM; ``None``, the default, for other keys.
        :param key_id: the ``kid`` of each header (RFC 7515 §4.1.4); by default that of the JWK, or
            none.
        :param signing_alg: the algorithm (RFC 7518 §3.1): ``RS256``, ``RS384``, ``RS512``,
            ``PS256``, ``PS384`` or ``PS512`` for RSA; ``ES256``, ``ES384`` or ``ES512`` by the
            curve; ``EdDSA`` for Ed25519, or ``Ed25519``, as RFC 9864 calls it. By default the
            ``alg`` of the JWK, or else the first of these that the key can sign with.
        :param certificate_file: the key's certificate in PEM, which is read again when it is
            replaced, for the ``x5t#S256`` of each header (RFC 7515 §4.1.8); by default none.
        :param clock: the source of time; by default the system's.
        :raises InvalidConfigurationError: if there is no such key, or it can't sign with the
            algorithm. The message does not show it.
        """
        options = password, key_id, signing_alg, certificate_file
        if isinstance(private_key, SigningKey):
            if private_key_file is None and all(each is None for each in options):
                return private_key
            raise InvalidConfigurationError(
                "private_key is a SigningKey, which has these options itself.", field="private_key"
            )
        key = cls(KeyOptions.of(private_key, private_key_file, *options), clock)
        try:
            key._loaded = key._load(stamps_of(key._files), None, clock.time())
        except UnusableKeyError as error:
            failure = InvalidConfigurationError(str(error), field=error.field)
        else:
            return key
        raise failure  # out here, so that it has no context

    @classmethod
    def generate(cls, alg: str = "ES256") -> SigningKey:
        """Return a new key for *alg*; of RSA, with 2048 bits.

        :param alg: see *signing_alg* of :meth:`of`; ``ES256`` by default.
        :raises InvalidConfigurationError: for an algorithm that is not supported.
        """
        return cls.of(new_key(checked_algorithm(alg, "alg")), signing_alg=alg)

    @property
    def alg(self) -> str:
        """The algorithm of the current key."""
        return self._current().signer.alg

    @property
    def key_id(self) -> str | None:
        """The ``kid`` of the current key, or ``None`` if it has none."""
        return self._current().kid

    def public_jwk(self) -> dict[str, Any]:
        """Return the public half of the current key (RFC 7517 §4), with its ``kid`` if it has one.

        Without a ``kid``, these are the members that its thumbprint is made of (RFC 7638 §3.2).
        """
        usable = self._current()
        algorithm = late_import("jwt.algorithms").get_default_algorithms()[usable.key.algorithms[0]]
        jwk = algorithm.to_jwk(usable.key.key.public_key(), as_dict=True)
        members = {name: jwk[name] for name in _JWK_MEMBERS if name in jwk}
        return members if usable.kid is None else {**members, "kid": usable.kid}

    def sign(self, claims: Mapping[str, Any], *, headers: Mapping[str, Any] = EMPTY) -> str:
        """Return the JWT with *claims* (RFC 7519 §7.1).

        :param headers: parameters of its header besides ``alg``, ``kid`` and ``x5t#S256``, such as
            ``typ``, which is ``JWT`` by default.
        :raises TokenAcquisitionError: if this object was pickled, and the file can't be used in the
            process that reads it. The error is transient.
        """
        return self._current().signer.sign(claims, headers)

    def sign_json(self, claims: str, *, headers: Mapping[str, Any] = EMPTY) -> str:
        """Return the JWT with *claims*, which are a JSON object already; see :meth:`sign`."""
        return self._current().signer.sign_json(claims, headers)

    def _current(self) -> UsableKey:
        """Return the newest usable key."""
        loaded = self._loaded
        if loaded is not None and not self._files:
            return loaded.usable
        stamps = stamps_of(self._files)
        if loaded is not None and loaded.settled and stamps == loaded.stamps:
            return loaded.usable
        return self._look(stamps, loaded)

    def _look(self, stamps: tuple[Stamp, ...], last: _Loaded | None) -> UsableKey:
        """Return the key after reading the files again; the *last* one if they can't be used."""
        now = self._clock.time()
        try:
            loaded = self._load(stamps, last, now)
        except UnusableKeyError as error:
            fault = str(error)
        else:
            self._faults = {}
            self._loaded = loaded
            return loaded.usable
        if last is None:
            raise TokenAcquisitionError(fault, transient=True)
        # setdefault() is atomic, so of threads that notice it at the same time, one logs it.
        mine = object()
        if self._faults.setdefault(fault, mine) is mine:
            _log.warning("the last good key is used, because a file can't be: %s", fault)
        self._loaded = replace(last, stamps=stamps, settled=is_settled(stamps, now))
        return last.usable

    def _load(self, stamps: tuple[Stamp, ...], last: _Loaded | None, now: float) -> _Loaded:
        """Return the key in the files, which had *stamps* before *now*.

        :raises UnusableKeyError: if it can't be used. The message names the option.
        """
        contents = self._options.read()
        if last is not None and last.digest == contents.digest:
            usable = last.usable
        else:
            usable = self._options.key_in(contents, now)
        return _Loaded(usable, contents.digest, stamps, is_settled(stamps, now))

    def __repr__(self) -> str:
        loaded, path = self._loaded, self._options.key_file
        details = [] if loaded is None else [loaded.usable.signer.alg]
        details += [] if loaded is None or not loaded.usable.kid else [repr(loaded.usable.kid)]
        details += [] if path is None else [f"in {path}"]
        return f"<{' '.join([type(self).__name__, *details])}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return SigningKey, (self._options.for_pickle(), self._clock)
