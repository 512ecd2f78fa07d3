"""``azure-core``: credentials that give Azure clients the tokens of a keeper.

The other way round, :class:`~tokenkeeper.integrations.azure_provider.CredentialProvider`
gives a keeper the tokens of any Azure credential.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import ClientAuthenticationError

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper.exceptions import OAuth2Error, TokenRejectedError
from tokenkeeper.integrations.azure_provider import CredentialProvider
from tokenkeeper.keeper import TokenKeeper, source_from
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.claims_challenge import is_claims
from tokenkeeper.source import TokenSource

if TYPE_CHECKING:
    from azure.core.credentials import TokenRequestOptions

__all__ = ["AsyncKeeperCredential", "CredentialProvider", "KeeperCredential"]


class KeeperCredential(NotPicklable):
    """A ``TokenCredential`` for blocking Azure clients. Thread-safe.

    The scopes that a client asks for are ignored: a keeper's token has the scopes that its source
    has, or its provider was registered with. Create one source for each Azure service.

    A client asks for the token at each request and keeps none, so a renewal takes effect at once.
    A claims challenge, as after a revocation, renews the token. If the API challenges each new
    token too, the client gets the same token for a while, and its caller the API's answer. Azure
    clients report no other refusal to a credential; use
    :mod:`tokenkeeper.integrations.azure_transport` for those.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
        Closing the credential does not close it.
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

    def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> AccessToken:
        """Return the token and its expiry.

        :raises azure.core.exceptions.ClientAuthenticationError: if there is none.
        """
        info = self.get_token_info(*scopes, options={"claims": claims} if claims else None)
        return AccessToken(info.token, info.expires_on)

    def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        """Return the token with its expiry and type. Raises what :meth:`get_token` does."""
        source, timeout = self._source, self._timeout
        try:
            if _is_challenged(source, options):
                refused = source.token(timeout=timeout)
                with suppress(TokenRejectedError):
                    source.renew_refused(
                        refused.access_token, timeout=timeout, claims=_claims_of(options)
                    )
            return _info(source.token(timeout=timeout))
        except OAuth2Error as error:
            raise ClientAuthenticationError(str(error)) from error

    def close(self) -> None:
        """Do nothing: closing the keeper is up to its owner."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncKeeperCredential(NotPicklable):
    """An ``AsyncTokenCredential`` for async Azure clients, under asyncio and trio.

    It does what :class:`KeeperCredential` does and has the same parameters. Any number of event
    loops may share it.
    """

    def __init__(
        self,
        keeper: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        self._source = source_from(keeper, provider_name, timeout).aio
        self._timeout = timeout

    async def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> AccessToken:
        """Return the token and its expiry: :meth:`KeeperCredential.get_token`."""
        info = await self.get_token_info(*scopes, options={"claims": claims} if claims else None)
        return AccessToken(info.token, info.expires_on)

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        """Return the token with its expiry and type: :meth:`KeeperCredential.get_token_info`."""
        source, timeout = self._source, self._timeout
        try:
            if _is_challenged(source.source, options):
                refused = await source.token(timeout=timeout)
                with suppress(TokenRejectedError):
                    await source.renew_refused(
                        refused.access_token, timeout=timeout, claims=_claims_of(options)
                    )
            return _info(await source.token(timeout=timeout))
        except OAuth2Error as error:
            raise ClientAuthenticationError(str(error)) from error

    async def close(self) -> None:
        """Do nothing: closing the keeper is up to its owner."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


def _is_challenged(source: TokenSource, options: TokenRequestOptions | None) -> bool:
    """Return whether an API answered the current token with a claims challenge."""
    claims = (options or {}).get("claims")
    return bool(claims) and source.keeper.get_cached_token_info(source.name) is not None


def _claims_of(options: TokenRequestOptions | None) -> str | None:
    """Return what the challenge demands, if it can be sent on."""
    claims = (options or {}).get("claims")
    return claims if isinstance(claims, str) and is_claims(claims) else None


_ALWAYS_DUE = 1
"""A Unix time in the past, so that clients ask again at each request. 0 would mean no time."""


def _info(token: OAuth2Token) -> AccessTokenInfo:
    return AccessTokenInfo(
        token.access_token,
        int(token.expires_at.timestamp()),
        token_type=token.token_type,
        refresh_on=_ALWAYS_DUE,
    )
