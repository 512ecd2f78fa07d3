"""``anthropic``: HTTP clients for its ``http_client=`` that renew a refused token once.

``Anthropic(auth_token="unused", http_client=http_client(source))`` is the recommended way: the HTTP
client replaces the ``auth_token``, which has to be there. :class:`KeeperCredentials` are for
``credentials=``, the SDK's own interface, which is less exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anthropic import DefaultAsyncHttpxClient, DefaultHttpxClient

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import TokenRejectedError
from tokenkeeper.integrations._bearer import bearer, bearer_async
from tokenkeeper.integrations._last_token import LastToken
from tokenkeeper.integrations._sdk_clients import auth_for
from tokenkeeper.keeper import TokenKeeper, source_from
from tokenkeeper.source import TokenSource

if TYPE_CHECKING:
    from anthropic.lib.credentials import AccessToken

__all__ = ["AsyncKeeperCredentials", "KeeperCredentials", "async_http_client", "http_client"]


def http_client(
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    allowed_hosts: Iterable[str] | None = None,
    **options: Any,
) -> DefaultHttpxClient:
    """Return an HTTP client for ``Anthropic``, with the SDK's own defaults.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    :param allowed_hosts: the hosts that may get the token, as for
        :class:`tokenkeeper.integrations.httpx.KeeperAuth`.
    :param options: arguments of ``anthropic.DefaultHttpxClient``, such as ``proxy``, ``verify``.
    """
    auth = auth_for(DefaultHttpxClient, keeper, provider_name, allowed_hosts)
    return DefaultHttpxClient(auth=auth, **options)


def async_http_client(
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    allowed_hosts: Iterable[str] | None = None,
    **options: Any,
) -> DefaultAsyncHttpxClient:
    """Return the same for ``AsyncAnthropic``."""
    auth = auth_for(DefaultAsyncHttpxClient, keeper, provider_name, allowed_hosts)
    return DefaultAsyncHttpxClient(auth=auth, **options)


_ASK_EACH_TIME = 0
"""An expiry that makes the client ask before each request, so renewals take effect at once."""


class KeeperCredentials(NotPicklable):
    """The token of a provider as ``credentials=`` of a client. Any number of them may share it.

    The client asks for the token before each request. If the API answers 401, the client asks for a
    new one and sends the request again after about half a second, as one of its retries. With
    ``max_retries=0`` it doesn't: calls fail until the token expires. The client does not say which
    token was refused: if many requests are refused at once, a second renewal may follow.
    :func:`http_client` has none of these limits.

    They need anthropic 2. For ``AsyncAnthropic`` use :class:`AsyncKeeperCredentials`.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
        Closing the client does not close it.
    :param provider_name: the provider whose token to use.
    :param timeout: seconds to wait for a token at most; by default there is no limit.
    """

    def __init__(
        self,
        keeper: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        self._source = source_from(keeper, provider_name, timeout)
        self._timeout = timeout
        self._last = LastToken(self._source)

    def __call__(self, *, force_refresh: bool = False) -> AccessToken:
        """Return the token; if *force_refresh* is set, a new one in place of the last.

        :raises OAuth2Error: if there is none.
        """
        source, timeout = self._source, self._timeout
        if force_refresh:
            refused = self._last.get() or Hidden(bearer(source, timeout))
            with suppress(TokenRejectedError):
                source.renew_refused(refused.text, timeout=timeout)
        return _answer(self._last.handed(bearer(source, timeout)))


class AsyncKeeperCredentials(NotPicklable):
    """The same for ``AsyncAnthropic``, under asyncio and trio. It has the same parameters."""

    def __init__(
        self,
        keeper: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        self._source = source_from(keeper, provider_name, timeout)
        self._aio = self._source.aio
        self._timeout = timeout
        self._last = LastToken(self._source)

    async def __call__(self, *, force_refresh: bool = False) -> AccessToken:
        """Return the token: :meth:`KeeperCredentials.__call__`."""
        aio, timeout = self._aio, self._timeout
        if force_refresh:
            refused = self._last.get() or Hidden(await bearer_async(aio, timeout))
            with suppress(TokenRejectedError):
                await aio.renew_refused(refused.text, timeout=timeout)
        return _answer(self._last.handed(await bearer_async(aio, timeout)))


def _answer(token: str) -> AccessToken:
    from anthropic.lib.credentials import AccessToken  # older versions have none

    return AccessToken(token, _ASK_EACH_TIME)
