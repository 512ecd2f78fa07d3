"""``azure-core``: a provider whose tokens come from any Azure credential."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError

from tokenkeeper._support.hiding import without_arguments, without_arguments_async
from tokenkeeper._support.network import network_reason
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.exchange import DEFAULT_LIFETIME_SECONDS
from tokenkeeper.oauth.jwt_claims import jwt_claims
from tokenkeeper.oauth.time_values import as_timestamp
from tokenkeeper.providers.base import BaseOAuth2Provider

if TYPE_CHECKING:
    from azure.core.credentials import TokenProvider
    from azure.core.credentials_async import AsyncTokenProvider

    _Credential = TokenProvider | AsyncTokenProvider

__all__ = ["CredentialProvider"]

_STATED = ("_client_id", "_tenant_id")
"""Attributes of azure-identity's credentials that say whose tokens they get."""


class CredentialProvider(BaseOAuth2Provider):
    """Gets tokens from a credential of ``azure-identity``, or any other, blocking or async.

    Thread-safe as far as the credential is.

    :param credential: an object with ``get_token_info`` or, failing that, ``get_token``. The
        provider does not close it. Or a function that makes one, such as the credential's class:
        it is called at first use, and again in each forked child; the provider closes what it
        made.
    :param scopes: the scopes to ask the credential for.
    :param options: what ``BaseOAuth2Provider`` takes.
    :raises InvalidConfigurationError: if *credential* is neither.

    A credential of azure-identity keeps connections open, which a forked child must not share with
    its parent. In a process that forks (Celery, gunicorn with ``--preload``), pass a function. A
    credential that was used before the fork raises ``InvalidConfigurationError`` in the child. A
    credential of your own may have a method ``after_fork_in_child()``, which is called there.

    Most credentials have a cache, so a renewal may bring the same token again. When an API refused
    a token, credentials that take ``claims`` are asked with an empty claims challenge, which those
    of ``azure-identity`` do not answer from their cache. Others may return the refused token, which
    raises :class:`~tokenkeeper.exceptions.TokenRejectedError`. A token is renewed no later than its
    ``refresh_on``. It expires at its ``expires_on``, or at its own ``exp`` if it is a JWT that
    expires earlier.
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
        if isinstance(credential, type) or not _is_credential(credential):
            if not callable(credential):
                raise InvalidConfigurationError(
                    f"provider {provider_name!r}: credential must be a credential of Azure, or a "
                    f"function that makes one, not {type(credential).__name__}",
                    provider_name=provider_name,
                    field="credential",
                )
            self._make, self._credential = credential, None
        self._scopes = scopes
        # Of what was given, not of what a function makes: an identity does not change.
        stated = {name: getattr(self._credential, name, None) for name in _STATED}
        self._stated = {name: value for name, value in stated.items() if isinstance(value, str)}
        self._was_used = self._is_shared = False
        self._left_to_parent: list[Any] = []
        self._lock = threading.Lock()  # guards making the credential

    def after_fork_in_child(self) -> None:
        """Leave the credential, with its connections, to the parent."""
        self._lock = threading.Lock()
        if self._make is not None:
            # Kept, because an object may close its connections, or warn, when it is collected.
            self._left_to_parent.append(self._credential)
            self._credential = None
        elif hasattr(self._credential, "after_fork_in_child"):
            self._credential.after_fork_in_child()
        elif type(self._credential).__module__.partition(".")[0] == "azure":
            self._is_shared = self._was_used

    def close(self) -> Awaitable[None] | None:
        """Close the credential if this provider made it."""
        if self._make is None or self._credential is None:
            return None
        credential, self._credential = self._credential, None
        closed = getattr(credential, "close", lambda: None)()
        return closed if isawaitable(closed) else None

    @without_arguments  # so that no frame shows what the credential returned
    def acquire_token(self) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask the credential for a token; return a coroutine if it is an async one."""
        with self._failures():
            answer = self._ask()
        return self._awaited(answer) if isawaitable(answer) else self._token(answer)

    def replace_refused_token(self, token: OAuth2Token) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask the credential for a token that is not from its cache, if it supports that."""
        return self.replace_challenged_token(token, EMPTY_CLAIMS)

    @without_arguments
    def replace_challenged_token(
        self, token: OAuth2Token, claims: str
    ) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Do the same, and have the credential request *claims*."""
        try:
            with self._failures():
                answer = self._ask(claims)
        except TokenAcquisitionError as error:
            if not _takes_no_claims(error):
                raise
            answer = None
        if answer is None:
            return self.acquire_token()
        return self._awaited_anew(answer) if isawaitable(answer) else self._token(answer)

    def _ask(self, claims: str | None = None) -> Any:
        """Ask the credential, after making it if necessary.

        :param claims: those of a challenge, which its cache must not answer; returns ``None`` if it
            can't be asked that.
        """
        if self._is_shared:
            raise InvalidConfigurationError(
                f"provider {self.provider_name!r}: its {self._kind} was used before this process "
                "was forked, and shares a connection with the parent. Give CredentialProvider a "
                "function that makes the credential.",
                provider_name=self.provider_name,
                field="credential",
            )
        with self._lock:
            if self._credential is None and self._make is not None:
                self._credential = self._make()
            credential = self._credential
        self._was_used = True
        with_info = getattr(credential, "get_token_info", None)
        get_token = with_info or credential.get_token
        if claims is None:
            return get_token(*self._scopes)
        challenge = _claims_challenge(get_token, claims, in_options=with_info is not None)
        return get_token(*self._scopes, **challenge) if challenge else None

    @without_arguments_async
    async def _awaited(self, answer: Awaitable[Any]) -> OAuth2Token:
        with self._failures():
            token = await answer
        return self._token(token)

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

    def _token(self, answer: Any) -> OAuth2Token:
        stated = as_timestamp(answer.expires_on), as_timestamp(jwt_claims(answer.token).get("exp"))
        expires_at = min((each for each in stated if each is not None), default=None)
        if expires_at is None:  # 0 means that the credential does not know
            expires_at = SYSTEM_CLOCK.time() + DEFAULT_LIFETIME_SECONDS
        refresh_on = as_timestamp(getattr(answer, "refresh_on", None))
        return OAuth2Token(
            answer.token,
            getattr(answer, "token_type", "Bearer"),
            _moment(expires_at),
            " ".join(self._scopes) or None,
            refresh_at=None if refresh_on is None else _moment(refresh_on),
        )

    def identity(self) -> Mapping[str, object]:
        """Return the scopes, and the client and tenant of a credential that states them."""
        return {**super().identity(), "scopes": list(self._scopes), **self._stated}

    @property
    def _kind(self) -> str:
        return type(self._credential).__name__

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Translate errors of azure-core."""
        try:
            yield
        except AzureError as error:
            raise self._failed(error) from error

    def _failed(self, error: AzureError) -> TokenAcquisitionError:
        chain = [each for each in (error, error.__cause__) if each is not None]
        is_lost = any(isinstance(each, _CONNECTION_ERRORS) for each in chain)
        message = str(error.message)
        status_code = getattr(error, "status_code", None)
        if status_code is None and (found := _MSAL_STATUS.search(message)):
            status_code = int(found[1])
        # The message may repeat anything that a server sent. Codes are safe, and can be looked up.
        kinds = " from ".join(type(each).__name__ for each in chain)
        facts = [kinds, *dict.fromkeys(_ENTRA_CODE.findall(message))]
        if status_code is not None:
            facts.append(f"HTTP {status_code}")
        return TokenAcquisitionError(
            f"provider {self.provider_name!r}: {self._kind} could not get a token "
            f"({', '.join(facts)}). See __cause__ for the details.",
            provider_name=self.provider_name,
            network_reason=network_reason(error),
            status_code=status_code,
            transient=is_lost or (False if status_code is None else None),
        )


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(min(timestamp, LATEST), UTC)


def _is_credential(candidate: object) -> bool:
    return hasattr(candidate, "get_token") or hasattr(candidate, "get_token_info")


LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""The latest moment that a ``datetime`` can hold, with a year to spare for time zones."""

EMPTY_CLAIMS = '{"access_token": {}}'
"""A claims challenge that requests no claim (OpenID Connect Core §5.5). Credentials must not answer
a challenge from their cache."""


def _claims_challenge(
    get_token: Callable[..., Any], claims: str, *, in_options: bool
) -> dict[str, Any]:
    """Return the keywords that keep a credential from its cache; none if it takes no such."""
    keyword = "options" if in_options else "claims"
    try:
        parameters = inspect.signature(get_token).parameters.values()
    except (TypeError, ValueError):  # written in C, or a mock
        return {}
    if not any(each.kind is each.VAR_KEYWORD or each.name == keyword for each in parameters):
        return {}
    return {"options": {"claims": claims}} if in_options else {"claims": claims}


def _takes_no_claims(error: TokenAcquisitionError) -> bool:
    """Return whether a credential can't answer claims challenges, as the Azure CLI's can't."""
    return "claims" in str(getattr(error.__cause__, "message", ""))


_ENTRA_CODE = re.compile(r"AADSTS\d+")
_MSAL_STATUS = re.compile(r"HTTP Error: (\d{3})")
"""How msal, which azure-identity uses, reports an HTTP status."""
_CONNECTION_ERRORS = (ServiceRequestError, ServiceResponseError)
