"""``azure-core``: a keeper as a credential of Azure clients, and any credential as a provider."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from inspect import isawaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    ServiceRequestError,
    ServiceResponseError,
)

from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError
from tokenkeeper.manager import OAuth2TokenManager
from tokenkeeper.models import OAuth2Token
from tokenkeeper.network import network_reason
from tokenkeeper.providers.base import BaseOAuth2Provider

if TYPE_CHECKING:
    from azure.core.credentials import TokenProvider, TokenRequestOptions
    from azure.core.credentials_async import AsyncTokenProvider

    from tokenkeeper.keeper import TokenKeeper

__all__ = ["AsyncKeeperCredential", "CredentialProvider", "KeeperCredential"]


class KeeperCredential:
    """A ``TokenCredential`` for blocking Azure clients. Thread-safe.

    A keeper's token is for the scopes that its provider was registered with: register one for
    each service. The scopes that a client asks for are not looked at. A client that comes back
    with a claims challenge, as after a revocation, gets a new token. A client hears of no other
    refusal: :mod:`tokenkeeper.integrations.azure_transport` is for those.

    A client asks for the token at each request, and keeps none of its own: what the keeper does
    counts at once.

    :param keeper: where tokens come from. Closing the credential does not close it.
    :param provider_name: whose.
    :param timeout: seconds to wait for a token, at most.
    """

    def __init__(
        self, keeper: TokenKeeper, provider_name: str, *, timeout: float | None = None
    ) -> None:
        self._keeper = keeper
        self._provider_name = provider_name
        self._timeout = timeout

    def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> AccessToken:
        """Return the token and when it ends.

        :raises azure.core.exceptions.ClientAuthenticationError: if there is none.
        """
        info = self.get_token_info(*scopes, options={"claims": claims} if claims else None)
        return AccessToken(info.token, info.expires_on)

    def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        """Return the same with more about it."""
        try:
            force = bool((options or {}).get("claims"))
            return _info(self._keeper.get_oauth2_token(self._provider_name, force, self._timeout))
        except OAuth2Error as error:
            raise ClientAuthenticationError(str(error)) from error

    def close(self) -> None:
        """Do nothing: the keeper is its owner's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncKeeperCredential:
    """The same for async Azure clients, under asyncio and trio; any number of loops may share it.

    Its parameters are those of :class:`KeeperCredential`.
    """

    def __init__(
        self, keeper: TokenKeeper, provider_name: str, *, timeout: float | None = None
    ) -> None:
        self._manager = OAuth2TokenManager(keeper)
        self._provider_name = provider_name
        self._timeout = timeout

    async def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> AccessToken:
        """Return the token and when it ends: :meth:`KeeperCredential.get_token`."""
        info = await self.get_token_info(*scopes, options={"claims": claims} if claims else None)
        return AccessToken(info.token, info.expires_on)

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        """Return the same with more about it."""
        try:
            force = bool((options or {}).get("claims"))
            return _info(
                await self._manager.get_oauth2_token(self._provider_name, force, self._timeout)
            )
        except OAuth2Error as error:
            raise ClientAuthenticationError(str(error)) from error

    async def close(self) -> None:
        """Do nothing: the keeper is its owner's."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


_LONG_AGO = 1
"""A Unix time; azure-core takes 0 for no time at all."""


def _info(token: OAuth2Token) -> AccessTokenInfo:
    return AccessTokenInfo(
        token.access_token,
        int(token.expires_at.timestamp()),
        token_type=token.token_type,
        refresh_on=_LONG_AGO,
    )


class CredentialProvider(BaseOAuth2Provider):
    """Gets tokens from a credential of ``azure-identity``, or any other, blocking or async.

    :param credential: whose ``get_token``, or ``get_token_info`` where it has no other, is called;
        it is not closed here.
    :param scopes: what to ask it for.
    :param options: what ``BaseOAuth2Provider`` takes.

    Most credentials have a cache of their own: a renewal gets what they see fit to give.
    Thread-safe as far as the credential is.
    """

    def __init__(
        self,
        provider_name: str,
        credential: TokenProvider | AsyncTokenProvider,
        *scopes: str,
        **options: Any,
    ) -> None:
        super().__init__(provider_name, **options)
        self._get_token: Callable[..., Any]
        self._get_token = getattr(credential, "get_token", None) or credential.get_token_info  # type: ignore[union-attr]
        self._scopes = scopes
        self._kind = type(credential).__name__

    def acquire_token(self) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask the credential, by a coroutine if it is an async one."""
        with self._failures():
            answer = self._get_token(*self._scopes)
        return self._awaited(answer) if isawaitable(answer) else self._token(answer)

    async def _awaited(self, answer: Awaitable[Any]) -> OAuth2Token:
        with self._failures():
            token = await answer
        return self._token(token)

    def _token(self, answer: Any) -> OAuth2Token:
        ends = datetime.fromtimestamp(float(answer.expires_on), UTC)
        kind = getattr(answer, "token_type", "Bearer")
        return OAuth2Token(answer.token, kind, ends, " ".join(self._scopes) or None)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except AzureError as error:
            raise self._failed(error) from error

    def _failed(self, error: AzureError) -> TokenAcquisitionError:
        roots = [each for each in (error, error.__cause__) if each is not None]
        lost = any(isinstance(each, _LOST) for each in roots)
        words = str(error.message)
        status_code = getattr(error, "status_code", None)
        if status_code is None and (found := _STATUS.search(words)):
            status_code = int(found[1])
        # The words may be a server's, and those may be anything. Numbers are what one looks up.
        kinds = " from ".join(type(each).__name__ for each in roots)
        known = [kinds, *dict.fromkeys(_NUMBER.findall(words))]
        if status_code is not None:
            known.append(f"HTTP {status_code}")
        return TokenAcquisitionError(
            f"provider {self.provider_name!r}: {self._kind} could not get a token: "
            f"{', '.join(known)}; __cause__ has the details",
            provider_name=self.provider_name,
            network_reason=network_reason(error),
            status_code=status_code,
            transient=lost or (False if status_code is None else None),
        )


_NUMBER = re.compile(r"AADSTS\d+")
"""What Entra ID calls an error."""
_STATUS = re.compile(r"HTTP Error: (\d{3})")
"""How msal, below azure-identity, tells of a server that is not well."""
_LOST = (ServiceRequestError, ServiceResponseError)
"""How azure-core tells of connections that could not be made, or broke."""
