"""``aiokafka``: a token provider for SASL/OAUTHBEARER.

Pass it as ``sasl_oauth_token_provider``, with ``sasl_mechanism="OAUTHBEARER"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._bearer import bearer_async
from tokenkeeper.source import TokenSource

if TYPE_CHECKING:

    class AbstractTokenProvider:  # aiokafka has no types
        pass

else:
    from aiokafka.abc import AbstractTokenProvider

__all__ = ["KeeperTokenProvider"]


class KeeperTokenProvider(NotPicklable, AbstractTokenProvider):
    """Gives a client the current token for each connection, without blocking the event loop.

    The client never reports to it that a broker rejected a token. Call :meth:`renew_refused` where
    your code gets the error, and give each client its own provider.

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
        self._tokens = source.aio
        self._extensions = dict(extensions or {})
        self._timeout = timeout
        self._last: Hidden[str] | None = None

    async def token(self) -> str:
        """Return a valid token.

        :raises OAuth2Error: if there is none.
        """
        self._last = Hidden(await bearer_async(self._tokens, self._timeout))
        return self._last.text

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions."""
        return self._extensions

    async def renew_refused(self, timeout: float | None = None) -> None:
        """Renew the token that was given last, unless that happened already.

        Call it if your code gets a ``KafkaError`` that may be a rejected token; aiokafka does not
        say more. The client's next attempt to connect has the new token.

        :param timeout: seconds to wait for the new token at most; by default there is no limit.
        :raises OAuth2Error: if renewing the token fails.
        """
        if self._last is not None:
            await self._tokens.renew_refused(self._last.text, timeout=timeout)
