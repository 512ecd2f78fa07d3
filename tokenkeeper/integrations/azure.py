"""``azure-core``: a keeper as a credential of Azure clients, and any credential as a provider."""

from __future__ import annotations

import inspect
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

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden, without_arguments, without_arguments_async
from tokenkeeper._support.network import network_reason
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    OAuth2Error,
    TokenAcquisitionError,
)
from tokenkeeper.integrations._refusals import renewed, renewed_async
from tokenkeeper.keeper import TokenKeeper, checked_pair
from tokenkeeper.manager import OAuth2TokenManager
from tokenkeeper.models import OAuth2Token
from tokenkeeper.providers.base import BaseOAuth2Provider

if TYPE_CHECKING:
    from azure.core.credentials import TokenProvider, TokenRequestOptions
    from azure.core.credentials_async import AsyncTokenProvider

    _Credential = TokenProvider | AsyncTokenProvider

__all__ = ["AsyncKeeperCredential", "CredentialProvider", "KeeperCredential"]


class KeeperCredential(NotPicklable):
    """A ``TokenCredential`` for blocking Azure clients. Thread-safe.

    A keeper's token is for the scopes that its provider was registered with: register one for
    each service. The scopes that a client asks for are not looked at. A client that comes back
    with a claims challenge, as after a revocation, gets a new token; where the API challenges each
    new token as well, it gets the same again for a while, and its caller the API's answer. A client
    hears of no other refusal: :mod:`tokenkeeper.integrations.azure_transport` is for those.

    A client asks for the token at each request, and keeps none of its own: what the keeper does
    counts at once.

    :param keeper: where tokens come from. Closing the credential does not close it.
    :param provider_name: whose.
    :param timeout: seconds to wait for a token, at most.
    """

    def __init__(
        self, keeper: TokenKeeper, provider_name: str, *, timeout: float | None = None
    ) -> None:
        self._keeper = checked_pair(keeper, provider_name, timeout)
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
        name, timeout = self._provider_name, self._timeout
        try:
            if _is_challenged(self._keeper, name, options):
                refused = self._keeper.get_oauth2_token(name, timeout=timeout)
                renewed(self._keeper, name, Hidden(refused.access_token), timeout)
            return _info(self._keeper.get_oauth2_token(name, timeout=timeout))
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


class AsyncKeeperCredential(NotPicklable):
    """The same for async Azure clients, under asyncio and trio; any number of loops may share it.

    Its parameters are those of :class:`KeeperCredential`.
    """

    def __init__(
        self, keeper: TokenKeeper, provider_name: str, *, timeout: float | None = None
    ) -> None:
        self._manager = OAuth2TokenManager(checked_pair(keeper, provider_name, timeout))
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
        name, timeout = self._provider_name, self._timeout
        try:
            if _is_challenged(self._manager.keeper, name, options):
                refused = await self._manager.get_oauth2_token(name, timeout=timeout)
                await renewed_async(self._manager, name, Hidden(refused.access_token), timeout)
            return _info(await self._manager.get_oauth2_token(name, timeout=timeout))
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


def _is_challenged(
    keeper: TokenKeeper, provider_name: str, options: TokenRequestOptions | None
) -> bool:
    """Return whether an API refused the current token, and asked for claims."""
    claims = (options or {}).get("claims")
    return bool(claims) and keeper.get_cached_token_info(provider_name) is not None


def _info(token: OAuth2Token) -> AccessTokenInfo:
    return AccessTokenInfo(
        token.access_token,
        int(token.expires_at.timestamp()),
        token_type=token.token_type,
        refresh_on=_LONG_AGO,
    )


class CredentialProvider(BaseOAuth2Provider):
    """Gets tokens from a credential of ``azure-identity``, or any other, blocking or async.

    :param credential: whose ``get_token_info``, or ``get_token`` where it has no other, is called.
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

    Most credentials have a cache of their own: a renewal gets what they see fit to give. Where an
    API refused a token, those that take ``claims`` are asked with an empty claims challenge, which
    those of ``azure-identity`` do not answer out of their cache. Others may return the refused
    token; :class:`~tokenkeeper.exceptions.TokenRejectedError` then says so. A token is renewed no
    later than its ``refresh_on``. Thread-safe as far as the credential is.
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

    def _ask(self, *, anew: bool = False) -> Any:
        """Ask the credential, which is made here if need be.

        :param anew: whether it must not answer out of its cache; ``None`` is returned where it
            can't be asked that.
        """
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
        informed = getattr(credential, "get_token_info", None)
        get_token = informed or credential.get_token
        options = _challenge(get_token, informed=informed is not None) if anew else {}
        return None if anew and not options else get_token(*self._scopes, **options)

    @property
    def _kind(self) -> str:
        return type(self._credential).__name__

    @without_arguments  # nor what the credential answered
    def acquire_token(self) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask the credential, by a coroutine if it is an async one."""
        with self._failures():
            answer = self._ask()
        return self._awaited(answer) if isawaitable(answer) else self._token(answer)

    @without_arguments
    def replace_refused_token(self, token: OAuth2Token) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask the credential not to answer out of its cache, if it can be asked that."""
        try:
            with self._failures():
                answer = self._ask(anew=True)
        except TokenAcquisitionError as error:
            if not _takes_no_claims(error):
                raise
            answer = None
        if answer is None:
            return self.acquire_token()
        return self._awaited_anew(answer) if isawaitable(answer) else self._token(answer)

    @without_arguments_async
    async def _awaited_anew(self, answer: Awaitable[Any]) -> OAuth2Token:
        try:
            return await self._awaited(answer)
        except TokenAcquisitionError as error:
            if not _takes_no_claims(error):
                raise
        with self._failures():
            token = await self._ask()
        return self._token(token)

    @without_arguments_async
    async def _awaited(self, answer: Awaitable[Any]) -> OAuth2Token:
        with self._failures():
            token = await answer
        return self._token(token)

    def _token(self, answer: Any) -> OAuth2Token:
        ends = datetime.fromtimestamp(float(answer.expires_on), UTC)
        kind = getattr(answer, "token_type", "Bearer")
        renew = getattr(answer, "refresh_on", None)
        return OAuth2Token(
            answer.token,
            kind,
            ends,
            " ".join(self._scopes) or None,
            refresh_at=datetime.fromtimestamp(float(renew), UTC) if renew else None,
        )

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


CLAIMS = '{"access_token": {}}'
"""A claims challenge that asks for nothing (OpenID Connect Core §5.5): a credential must not answer
it with a token that it has already."""


def _challenge(get_token: Callable[..., Any], *, informed: bool) -> dict[str, Any]:
    """Return the keywords that keep a credential from its cache; none if it takes no such."""
    keyword = "options" if informed else "claims"
    try:
        parameters = inspect.signature(get_token).parameters.values()
    except (TypeError, ValueError):  # written in C, or a stand-in for a test
        return {}
    taken = any(each.kind is each.VAR_KEYWORD or each.name == keyword for each in parameters)
    if not taken:
        return {}
    return {"options": {"claims": CLAIMS}} if informed else {"claims": CLAIMS}


def _takes_no_claims(error: TokenAcquisitionError) -> bool:
    """Return whether a credential said that it can't answer a claims challenge.

    Those of the Azure command-line tools do.
    """
    return "claims" in str(getattr(error.__cause__, "message", ""))


_NUMBER = re.compile(r"AADSTS\d+")
"""What Entra ID calls an error."""
_STATUS = re.compile(r"HTTP Error: (\d{3})")
"""How msal, below azure-identity, tells of a server that is not well."""
_LOST = (ServiceRequestError, ServiceResponseError)
"""How azure-core tells of connections that could not be made, or broke."""
