"""``kafka-python``: a token provider for SASL/OAUTHBEARER that hears of a broker's challenge.

Pass it as ``sasl_oauth_token_provider``, with ``sasl_mechanism="OAUTHBEARER"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kafka.net.sasl import register_sasl_mechanism
from kafka.net.sasl.oauth import SaslMechanismOAuth

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.integrations._bearer import bearer
from tokenkeeper.source import TokenSource

if TYPE_CHECKING:

    class AbstractTokenProvider:  # kafka-python has no types
        pass

else:
    from kafka.net.sasl.oauth import AbstractTokenProvider

__all__ = ["KeeperTokenProvider"]


class KeeperTokenProvider(NotPicklable, AbstractTokenProvider):
    """Gives a client the current token for each connection, and for each re-authentication.

    Producers, consumers and admin clients may share one. If a broker rejects a token with a
    challenge (RFC 7628), as Apache Kafka does, the token is renewed, and the client's next attempt
    has the new one. However many connections are rejected at once, one renewal follows.

    The client calls it on its network thread, which waits while there is no token.

    :param source: the source of the token.
    :param extensions: SASL extensions, such as ``{"logicalCluster": "lkc-1"}``; none by default.
    :param timeout: seconds to wait for a token at most; by default there is no limit.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        extensions: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self._extensions = dict(extensions or {})
        self._timeout = timeout
        self._last: Hidden[str] | None = None

    def token(self) -> str:
        """Return a valid token.

        :raises OAuth2Error: if there is none.
        """
        self._last = Hidden(bearer(self.source, self._timeout))
        return self._last.text

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions."""
        return self._extensions

    def renew_refused(self, timeout: float | None = None) -> None:
        """Renew the token that was given last, unless that happened already.

        Call it if your code gets a ``SaslAuthenticationFailedError`` from a broker that rejects
        tokens without a challenge. Give each client its own provider then.

        :param timeout: seconds to wait for the new token at most; by default there is no limit.
        :raises OAuth2Error: if renewing the token fails.
        """
        if self._last is not None:
            self.source.renew_refused(self._last.text, timeout=timeout)


class _Connection(AbstractTokenProvider):
    """The provider as one connection uses it. It remembers the token that it presented."""

    def __init__(self, provider: KeeperTokenProvider) -> None:
        super().__init__()
        self._provider = provider
        self._presented: Hidden[str] | None = None

    def token(self) -> str:
        self._presented = Hidden(self._provider.token())
        return self._presented.text

    def extensions(self) -> dict[str, str]:
        return self._provider.extensions()

    def on_rejection(self) -> None:
        """Start a renewal. This is the client's network thread; its next attempt waits."""
        if self._presented is not None:
            with suppress(OAuth2Error):  # such as TokenWaitTimeoutError
                self._provider.source.renew_refused(self._presented.text, timeout=0)


class _Mechanism(SaslMechanismOAuth):  # type: ignore[misc]
    """The library's own mechanism; it also reports a challenge to a :class:`KeeperTokenProvider`.

    The library creates one for each authentication of a connection.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        provider = config["sasl_oauth_token_provider"]
        self._connection: _Connection | None = None
        if isinstance(provider, KeeperTokenProvider):
            self.token_provider = self._connection = _Connection(provider)

    def receive(self, auth_bytes: bytes) -> None:
        super().receive(auth_bytes)
        if auth_bytes and self._connection is not None:
            self._connection.on_rejection()


# A registry of the library's, of mechanisms by name. Other token providers work as before.
register_sasl_mechanism("OAUTHBEARER", _Mechanism, overwrite=True)
