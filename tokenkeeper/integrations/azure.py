"""``azure-core``: a keeper as a credential of Azure clients, and any credential as a provider."""

from __future__ import annotations

import re
import threading
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

from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    OAuth2Error,
    TokenAcquisitionError,
)
from tokenkeeper.hiding import without_arguments, without_arguments_async
from tokenkeeper.manager import OAuth2TokenManager
from tokenkeeper.models import OAuth2Token
from tokenkeeper.network import network_reason
from tokenkeeper.providers.base import BaseOAuth2Provider

if TYPE_CHECKING:
    from azure.core.credentials import TokenProvider, TokenRequestOptions
    from azure.core.credentials_async import AsyncTokenProvider

    from tokenkeeper.keeper import TokenKeeper

    _Credential = TokenProvider | AsyncTokenProvider

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

    :param credential: whose ``get_token``, or ``get_token_info`` where it has no other, is called.
        It is not closed here. Or a function that makes one, such as the credential's class: it is
        called at first use, and again in a forked child; what it made is closed with the provider.
    :param scopes: what to ask it for.
    :param options: what ``BaseOAuth2Provider`` takes.
    :raises InvalidConfigurationError: if *credential* is neither.

    A credential of azure-identity keeps connections open, which a forked child must not use
    together with its parent. In a process that forks (Celery, gunicorn with ``--preload``), pass a
    function. One that was asked for a token before the fork is not asked again in the child: that
    is an ``InvalidConfigurationError``. A credential of your own may have a method
    ``after_fork_in_child()``, which is called there.

    Most credentials have a cache of their own: a renewal gets what they see fit to give.
    Thread-safe as far as the credential is.
    """

    def __init__(
        self,
        provider_name: str,
        credential: _Credential | Callable[[], _Credential],
        *scopes: str,
        **options: Any,
    ) -> None:
        super().__init__(provider_name, **options)
        self._make: Callable[[], Any] | None = None
        self._credential: Any = credential
        if isinstance(credential, type) or not _asks(credential):
            if not callable(credential):
                raise InvalidConfigurationError(
                    f"provider {provider_name!r}: credential must be a credential of Azure, or a "
                    f"function that makes one, not {type(credential).__name__}",
                    provider_name=provider_name,
                    field="credential",
                )
            self._make, self._credential = credential, None
        self._scopes = scopes
        self._was_asked = self._is_shared = False
        self._left_to_parent: list[Any] = []
        self._lock = threading.Lock()  # guards the making of a credential

    def after_fork_in_child(self) -> None:
        """Leave the credential, with its connections, to the parent."""
        self._lock = threading.Lock()
        if self._make is not None:
            # Not dropped: what closes itself when it is collected would say so, or do harm.
            self._left_to_parent.append(self._credential)
            self._credential = None
        elif hasattr(self._credential, "after_fork_in_child"):
            self._credential.after_fork_in_child()
        elif type(self._credential).__module__.partition(".")[0] == "azure":
            self._is_shared = self._was_asked

    def close(self) -> Awaitable[None] | None:
        """Close the credential if it was made here."""
        if self._make is None or self._credential is None:
            return None
        credential, self._credential = self._credential, None
        closed = getattr(credential, "close", lambda: None)()
        return closed if isawaitable(closed) else None

    def _get_token(self, *scopes: str, **options: Any) -> Any:
        """Ask the credential, which is made here if need be."""
        if self._is_shared:
            raise InvalidConfigurationError(
                f"provider {self.provider_name!r}: its {self._kind} was used "
                "before this process was forked, and shares a connection with the parent: give "
                "CredentialProvider a function that makes the credential",
                provider_name=self.provider_name,
                field="credential",
            )
        with self._lock:
            if self._credential is None and self._make is not None:
                self._credential = self._make()
            credential = self._credential
        self._was_asked = True
        return (getattr(credential, "get_token", None) or credential.get_token_info)(
            *scopes, **options
        )

    @property
    def _kind(self) -> str:
        return type(self._credential).__name__

    @without_arguments  # nor what the credential answered
    def acquire_token(self) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask the credential, by a coroutine if it is an async one."""
        with self._failures():
            answer = self._get_token(*self._scopes)
        return self._awaited(answer) if isawaitable(answer) else self._token(answer)

    @without_arguments_async
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


def _asks(credential: object) -> bool:
    return hasattr(credential, "get_token") or hasattr(credential, "get_token_info")


_NUMBER = re.compile(r"AADSTS\d+")
"""What Entra ID calls an error."""
_STATUS = re.compile(r"HTTP Error: (\d{3})")
"""How msal, below azure-identity, tells of a server that is not well."""
_LOST = (ServiceRequestError, ServiceResponseError)
"""How azure-core tells of connections that could not be made, or broke."""
