"""The base class of providers: objects that fetch a token, and do nothing else.

A provider needs no lock, no cache and no retries. A keeper calls it for one renewal at a time,
caches the token, retries transient failures, and renews the token before it expires.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.arguments import check_number
from tokenkeeper._support.checks import checked_text
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError, naming
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS, OAuth2Token
from tokenkeeper.names import NO_PARAMETERS, TokenName, TokenParameters
from tokenkeeper.providers.reacquire import reacquire

if TYPE_CHECKING:
    from tokenkeeper.providers.grants.sign_in import Asked, PendingSignIn
    from tokenkeeper.retry import RetryPolicy

__all__ = ["BaseOAuth2Provider", "made_again", "no_sign_in"]


class BaseOAuth2Provider(NotPicklable, ABC):
    """Base class for custom providers.

    Implement ``acquire_token``; override ``refresh_token`` and ``close`` if you need to. Each may
    be a plain method or an ``async def``, and either kind serves blocking and async callers. Plain
    methods run on a thread of the keeper. ``async def`` methods run on one asyncio event loop that
    the library owns. It is always the same loop, so a client session created there can be kept.

    :param provider_name: the name to register the provider under, and to request tokens by.
    :param buffer_seconds: how many seconds before its expiry a token is renewed; 300 by default.
    :param retry: how to retry transient failures; ``None``, the default, uses the keeper's policy.
    :raises InvalidConfigurationError: for a name or a buffer that can't work.

    Methods may be called from any thread. A keeper makes one request at a time for each token,
    unless it is cleared during one. A provider that ``takes`` nothing has one token.
    """

    takes: frozenset[str] = frozenset()
    """The parameters that :meth:`~tokenkeeper.TokenKeeper.source` may set for this provider: names
    of :class:`~tokenkeeper.TokenParameters`; none by default. ``acquire_token`` then reads
    them from ``self.parameters``, and must send what they say and nothing beside it."""

    parameters: TokenParameters = NO_PARAMETERS
    """What to request in place of what the registration says; empty for the provider itself."""

    repeatable: bool = True
    """Whether a request that may have reached the server can simply be made again; ``True`` by
    default. ``False`` for a grant that works once, such as a rotating refresh token (RFC 9700
    §4.14.2). With a store, such a request is never made without a claim, nor a second time for
    one that may still be under way."""

    longest_request_seconds: float = 30.0
    """How long one request may take at most; 30 by default. In a fleet, another process takes over
    five seconds later."""

    custody: object = None
    """Where refresh tokens that work once are kept, in the form of the keeper's ``store=``;
    ``None``, the default, is the keeper's own store, or its memory if it has none."""

    buffer_seconds: float = DEFAULT_BUFFER_SECONDS
    retry: RetryPolicy | None = None
    _token_name: str | None = None

    def __init__(
        self,
        provider_name: str,
        *,
        buffer_seconds: float = DEFAULT_BUFFER_SECONDS,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.provider_name: str = checked_text(provider_name, "provider_name")
        with naming(provider_name):
            check_number(buffer_seconds, "buffer_seconds", least=0, unit=" of seconds")
        self.buffer_seconds = buffer_seconds
        self.retry = retry

    @abstractmethod
    def acquire_token(self) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Request a token once, and return it.

        Raise :class:`~tokenkeeper.exceptions.TokenAcquisitionError` if none is granted, with
        ``transient=True`` if a retry may succeed. ``ConnectionError`` and ``TimeoutError`` are
        transient; every other exception is final.
        """

    def refresh_token(self, token: OAuth2Token) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Return a token that replaces *token*; by default the result of ``acquire_token``.

        The ``expires_at`` of *token* is in the past if the token can no longer be used: it
        expired, or an API rejected it.

        :raises TokenAcquisitionError: by default, if ``acquire_token`` itself calls
            ``refresh_token``, which would be endless.
        """
        return reacquire(self)

    def variant(self, name: TokenName, parameters: TokenParameters) -> Self:
        """Return a provider like this one that requests the token *name*, with *parameters*.

        By default a shallow copy: it shares clients and connections with this provider, which is
        the one that is closed. Override it if a variant needs state of its own.

        :param parameters: only those that the provider ``takes``.
        """
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._token_name = str(name)  # not a subclass, which is slower as a key
        twin.parameters = parameters
        return twin

    @property
    def token_name(self) -> str:
        """The name of the token that this provider requests; its ``provider_name`` by default."""
        return self._token_name or self.provider_name

    @property
    def grant_name(self) -> str:
        """The name of the token whose refresh token this provider uses; by default its own.

        Where several tokens come from one grant that works once, they share its refresh token, and
        are requested in turn. It is then the name of one of them, the same for all.
        """
        return self.token_name

    def replace_refused_token(self, token: OAuth2Token) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Return a token that replaces *token*, which an API rejected (HTTP 401).

        By default this calls :meth:`refresh_token`. Override it if your tokens come from a cache
        that would return the rejected one.
        """
        return self.refresh_token(token)

    def replace_challenged_token(
        self, token: OAuth2Token, claims: str
    ) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Return a token that replaces *token*, and has the *claims* that an API demands.

        By default this calls :meth:`replace_refused_token`, and the claims are ignored. Override it
        if the server takes them: they are the parameter ``claims`` of this one request (OpenID
        Connect Core §5.5).

        :param claims: a JSON object, from the API's challenge.
        """
        return self.replace_refused_token(token)

    def begin_sign_in(self, asked: Asked) -> PendingSignIn:
        """Begin a sign-in: :meth:`TokenKeeper.authorize` calls this. May send requests.

        :raises InvalidConfigurationError: by default, as most tokens need no sign-in.
        """
        raise no_sign_in(self.provider_name)

    def finish_sign_in(
        self,
        pending: PendingSignIn,
        callback_url: str | None = None,
        *,
        once: Callable[[], None] | None = None,
    ) -> OAuth2Token:
        """Return the token that a sign-in brought, by one request.

        :param callback_url: the URL that the browser was sent to; ``None`` without a redirect.
        :param once: called after the answer was checked and before the request, which it can
            prevent by an exception; nothing by default.
        :raises InvalidConfigurationError: by default, as most tokens need no sign-in.
        """
        raise no_sign_in(self.provider_name)

    def sign_in_wait_seconds(
        self, error: TokenAcquisitionError, interval_seconds: float
    ) -> float | None:
        """Return how long to wait before :meth:`finish_sign_in` is called again after *error*.

        :param interval_seconds: how long the wait was so far.
        :returns: ``None`` if the sign-in has failed, as by default.
        """
        return None

    def close(self) -> Awaitable[None] | None:
        """Close connections. The provider may be used again, and then opens new ones."""
        return None

    def describe(self) -> Mapping[str, object]:
        """Return what ``tokenkeeper doctor`` may show of this provider; by default its ``type``.

        Any names and values, without a secret, and without a request. The doctor uses those of
        :class:`~tokenkeeper.providers.kinds.Description`: for example, it examines the network up
        to the host of ``token_url``, and compares ``scope`` with the scope that was granted.
        """
        return {"type": f"{type(self).__module__}:{type(self).__qualname__}"}

    def identity(self) -> Mapping[str, object]:
        """Return the settings that identify the client and its server.

        By default what :meth:`describe` returns.

        Processes that share a store share the tokens of providers whose identities and names are
        equal. Include all that makes the tokens of two registrations different, such as the
        endpoint and the client, and leave out the secret: a token must outlive a rotation of it.
        """
        return self.describe()

    def continues(self, other: BaseOAuth2Provider) -> bool:
        """Return whether a refresh token that *other* received may be used by this provider.

        Asked after the configuration changed. ``False`` by default: a refresh token belongs to the
        client, the scope and the server of the provider that received it.
        """
        return False

    def revoke_token(
        self, token: OAuth2Token | None, kind: Literal["refresh_token", "access_token"]
    ) -> bool | Awaitable[bool]:
        """Have the server revoke one part of *token* (RFC 7009); return whether there was any.

        By default this is not possible. A provider without this can't sign out.

        :param token: what the keeper has; ``None`` if it has nothing, and a refresh token that the
            provider would begin with is meant, if it has one.
        :param kind: ``refresh_token`` or ``access_token``.
        :raises TokenAcquisitionError: if the server did not do it. Nothing may be lost then: the
            same call is made again.
        """
        raise _has_no("revoke_token", "its tokens can't be revoked", self)

    def introspect_token(
        self, token: OAuth2Token
    ) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """Return what the server knows of the access token of *token* (RFC 7662 §2.2).

        By default this is not possible.

        :returns: the members of the answer; ``active`` is a bool, and the token is not among them.
        :raises TokenAcquisitionError: if the server did not answer.
        """
        raise _has_no("introspect_token", "its server can't be asked about a token", self)

    def for_another_process(self) -> Callable[[], BaseOAuth2Provider]:
        """Return a function that makes this provider in another process, and that can be pickled.

        Asked only for providers that are not ``repeatable``, with a store that has ``detached:
        true``. It is often ``partial(MyProvider, self.provider_name, self._key)``, and is sent
        through a pipe, so it may contain secrets. Define the class in a module that can be
        imported. By default this works for classes that define ``__reduce__``.

        :raises InvalidConfigurationError: by default, for all other classes.
        """
        if type(self).__reduce__ is not object.__reduce__:
            return partial(_itself, self)
        kind = type(self).__name__
        raise InvalidConfigurationError(
            f"provider {self.provider_name!r}: store.detached is true, so another process must be "
            f"able to make this provider. Implement {kind}.for_another_process, or set detached: "
            "false.",
            provider_name=self.provider_name,
            field="store.detached",
        )

    def after_fork_in_child(self) -> None:
        """Drop clients, connections and locks, which belong to the parent; by default do nothing.

        A keeper calls this in a forked child for each of its providers before it calls any other
        method there, and perhaps more than once. If parent and child used one connection, their
        responses would be mixed up, and the parent's event loop does not run in the child. So drop
        the client without closing it (shutting down its TLS session here would break the parent's),
        and create a new one when the next token is needed. Don't block, and don't call a keeper.
        Exceptions are logged.
        """


def no_sign_in(name: str) -> InvalidConfigurationError:
    """Return the error for a provider whose tokens need no sign-in."""
    return InvalidConfigurationError(
        f"provider {name!r}: its tokens need no sign-in. Set a grant that begins with one, such as "
        "AuthorizationCode().",
        provider_name=name,
        field="grant",
    )


def _itself(provider: BaseOAuth2Provider) -> BaseOAuth2Provider:
    return provider


def made_again(kind: type[BaseOAuth2Provider], state: Mapping[str, object]) -> BaseOAuth2Provider:
    """Return a provider of the class *kind* with the attributes *state*, as another one had."""
    twin = object.__new__(kind)
    twin.__dict__.update(state)
    return twin


def _has_no(method: str, what: str, provider: BaseOAuth2Provider) -> TokenAcquisitionError:
    with forks_wait():  # with all that an endpoint needs
        from tokenkeeper.oauth.server import NoEndpointError

    kind = type(provider).__name__
    return NoEndpointError(
        f"provider {provider.provider_name!r}: {what}, because {kind} has no {method}().",
        provider_name=provider.provider_name,
        transient=False,
    )
