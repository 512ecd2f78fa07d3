"""The blocking front: providers, the read path, and what users call."""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import random
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack, cast

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.coordinator import Coordinator
from tokenkeeper._renewal.need import Need
from tokenkeeper._renewal.nesting import waiting_for
from tokenkeeper._renewal.registry import checked_provider
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.usage import IdleTimeouts
from tokenkeeper._runtime import provider_loop
from tokenkeeper._runtime.background import Background
from tokenkeeper._runtime.fork import forks_wait, renew_after_fork
from tokenkeeper._runtime.interruptions import interruption_in
from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._runtime.uwsgi import is_uwsgi_master
from tokenkeeper._support.arguments import (
    check_clock,
    check_flag,
    check_instance,
    check_name,
    check_number,
    check_timeout,
    checked_callable,
    checked_hooks,
)
from tokenkeeper._support.hiding import without_arguments
from tokenkeeper._support.proofs import request_headers
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.events import EventHook
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    TokenAcquisitionError,
)
from tokenkeeper.models import Health, OAuth2Token, ReloadResult, TokenInfo
from tokenkeeper.names import TokenName, TokenParameters, is_chosen
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import DEFAULT_RETRY, RetryPolicy
from tokenkeeper.source import AsyncTokenSource, TokenSource

if TYPE_CHECKING:
    from tokenkeeper.authorization import Authorization
    from tokenkeeper.config.configuration import Configuration
    from tokenkeeper.integrations.requests import KeeperAuth
    from tokenkeeper.oauth.revocation import Revocation, TokenKind
    from tokenkeeper.stores.base import TokenStore
    from tokenkeeper.stores.settings import StoreSettings

__all__ = [
    "AuthorizeOptions",
    "KeeperOptions",
    "SourceParameters",
    "TokenKeeper",
    "checked_keeper",
    "source_from",
]

_log = logging.getLogger("tokenkeeper.keeper")

OWN_IDLE_SECONDS = 86400.0
"""How long a provider's own token is renewed without being used. There are few of them."""

CHOSEN_IDLE_SECONDS = 3600.0
"""How long a token is renewed without being used if a caller chose its parameters."""


ON_BEHALF_IDLE_SECONDS = 0.0
"""How long a token is renewed without being used if it is for the token of a subject. An API gets
many of those, often for one call each, and they expire."""


class KeeperOptions(TypedDict, total=False):
    """The keyword arguments of :class:`TokenKeeper`."""

    background: bool
    max_workers: int
    cooldown_seconds: float
    retry: RetryPolicy
    clock: Clock
    jitter: Callable[[], float]
    hooks: Iterable[EventHook]
    max_tokens: int
    idle_timeout_seconds: float | None
    store: str | Mapping[str, Any] | TokenStore | StoreSettings | None


class AuthorizeOptions(TypedDict, total=False):
    """The keyword arguments of :meth:`~tokenkeeper.TokenKeeper.authorize`."""

    scope: str | Iterable[str] | None
    resource: str | Iterable[str] | None
    audience: str | Iterable[str] | None
    account: str | None
    redirect_uri: str | None
    login_hint: str | None
    timeout_seconds: float


class SourceParameters(TypedDict, total=False):
    """The keyword arguments of :meth:`~tokenkeeper.TokenKeeper.source`."""

    scope: str | Iterable[str] | None
    resource: str | Iterable[str] | None
    audience: str | Iterable[str] | None
    tenant: str | None
    account: str | None
    subject: str | None
    actor: str | None


class TokenKeeper(NotPicklable):
    """Owns the access tokens of a process: ask by name, get a valid one.

    Thread-safe. A provider's first token is requested when it is first asked for. From then on it
    is renewed in the background before it expires, so callers wait only for a first token, after a
    real expiry, or when they ask to.

    :param background: whether to renew on background threads; they are used by default. Without
        them, the first caller inside the buffer renews inline: it waits for the request although
        its token is still valid, and ``timeout`` can't interrupt that request.
    :param max_workers: how many token requests may be under way at once; 32 by default. One that
        another request waits for, as for the subject of a token exchange, is not counted.
    :param cooldown_seconds: how many seconds after a refusal, with no valid token left, callers get
        the same error without another request; 30 by default. After a transient failure that is 2
        seconds at most, or as long as the server asked for (``Retry-After``).
    :param retry: the policy for transient failures, for providers that have none of their own; by
        default :class:`~tokenkeeper.RetryPolicy` with its own defaults.
    :param clock: the source of time; by default the system's clocks.
    :param jitter: returns random numbers from 0 to 1, which spread renewals; ``random.random`` by
        default.
    :param hooks: callables that receive each event of :mod:`tokenkeeper.events`; none by default.
    :param max_tokens: how many tokens whose parameters a caller chose (:meth:`source`) are kept;
        1,000 by default. Beyond it, the ones that were not used for longest are forgotten.
    :param store: where the processes of a fleet share their tokens, so that one of them requests
        each: a URL such as ``auto``, ``sqlite:///path``, ``redis://host`` or ``postgresql://host``,
        a mapping with ``url`` and further settings, or a
        :class:`~tokenkeeper.stores.TokenStore`; none by default, and then nothing is written
        anywhere.
    :param idle_timeout_seconds: after how many seconds without a use a token is no longer renewed
        in the background; the next caller then waits for a new one. ``None``, the default, is a day
        for a provider's own token and an hour for one whose parameters a caller chose, or 0 if
        those are the token of a subject or an actor. With 0,
        tokens are renewed only if they were used since their last renewal; with ``math.inf``, for
        ever.
    :raises InvalidConfigurationError: for an argument of the wrong type or value.

    A keeper that is dropped without :meth:`close` is collected, and its threads stop.
    """

    # For speed, not memory: slots are read faster. The __dict__ beside them lets users subclass,
    # and patch a method in their tests.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_background",
        "_cached",
        "_clock",
        "_coordinator",
        "_now",
        "_state",
    )

    def __init__(
        self,
        *,
        background: bool = True,
        max_workers: int = 32,
        cooldown_seconds: float = 30.0,
        retry: RetryPolicy = DEFAULT_RETRY,
        clock: Clock = SYSTEM_CLOCK,
        jitter: Callable[[], float] = random.random,
        hooks: Iterable[EventHook] = (),
        max_tokens: int = 1000,
        idle_timeout_seconds: float | None = None,
        store: str | Mapping[str, Any] | TokenStore | StoreSettings | None = None,
    ) -> None:
        check_flag(background, "background")
        check_number(max_workers, "max_workers", least=1, whole=True)
        check_number(cooldown_seconds, "cooldown_seconds", least=0, unit=" of seconds")
        check_instance(retry, RetryPolicy, "retry")
        check_number(max_tokens, "max_tokens", least=1, whole=True)
        check_clock(clock)
        checked_callable(jitter, "jitter", "random.random")
        self._clock = clock
        self._coordinator = Coordinator(
            background=background,
            max_workers=max_workers,
            cooldown_seconds=cooldown_seconds,
            retry=retry,
            clock=clock,
            jitter=jitter,
            hooks=checked_hooks(hooks),
            max_tokens=max_tokens,
            idle=_idle_timeouts(idle_timeout_seconds),
        )
        if store is not None:
            self._coordinator.memberships.join(store)
        self._now = self._coordinator.now
        self._state = self._coordinator.state
        self._cached = self._state.cache.readable
        self._background = self._coordinator.background
        self._configuration: Configuration | None = None
        self._sources: weakref.WeakValueDictionary[str, TokenSource] = weakref.WeakValueDictionary()
        renew_after_fork(self._coordinator)
        _keepers.add(self)
        weakref.finalize(self, _abandon, self._background).atexit = False

    # ---- tokens

    def get_token(
        self, provider_name: str, force_refresh: bool = False, timeout: float | None = None
    ) -> str:
        """Return a valid access token of the provider *provider_name*.

        While there is a valid token, this returns it at once; without background threads, the first
        caller inside the token's buffer renews it first. Otherwise it waits for the one request
        under way, and starts it if there is none.

        :param force_refresh: whether to return a token that was requested after this call began;
            ``False`` by default.
        :param timeout: how many seconds to wait at most; by default until the request has ended.
            The request goes on for other callers.
        :raises UnknownProviderError: if no provider has that name.
        :raises TokenAcquisitionError: if no token can be obtained; ``TokenRefreshError`` if there
            was one before, ``TokenWaitTimeoutError`` if *timeout* passed first.
        :raises KeeperClosedError: after :meth:`close`.
        """
        try:
            cached = self._cached[provider_name]
            now = self._now  # CPython 3.11 calls a local faster than an attribute
            if now() < cached.stale_at and not force_refresh:
                return cached.access_token
            background, moment = self._background, now()
            if (
                moment < cached.dead_at
                and not force_refresh
                and (moment < background.trusted_until or background.ensure_running())
            ):
                return cached.access_token
        except (KeyError, TypeError):  # TypeError: the name is unhashable, such as a list
            pass
        need = self._coordinator.need(provider_name, force=force_refresh, timeout=timeout)
        return self._wait_for(self._coordinator.ask(need), need).access_token

    def get_oauth2_token(
        self, provider_name: str, force_refresh: bool = False, timeout: float | None = None
    ) -> OAuth2Token:
        """Return the token of :meth:`get_token` with its expiry, scope and extra members.

        For clients that keep a token until it expires. If you ask on every call, as recommended,
        use :meth:`get_token`. Takes the same arguments and raises the same errors.
        """
        need = self._coordinator.need(provider_name, force=force_refresh, timeout=timeout)
        return self._wait_for(self._coordinator.ask(need), need).token

    def headers(self, provider_name: str, method: str, url: str) -> dict[str, str]:
        """Return the headers that authorize one request with the token of *provider_name*.

        ``Authorization: Bearer`` (RFC 6750 §2.1); for a token that is bound to a key
        ``Authorization: DPoP`` and ``DPoP``, a proof for this request (RFC 9449 §7.1), so ask again
        for each request, also for one that is repeated. The auth objects of
        :mod:`tokenkeeper.integrations` do so on their own, and give an API the nonce that it
        demands; without them, pass it to :meth:`~tokenkeeper.DPoPKey.note_nonce`.

        :param provider_name: the provider, or the name of one token.
        :param method: the request's method, such as ``GET``.
        :param url: the request's absolute URL. Query and fragment don't matter.
        :raises InvalidConfigurationError: if a proof is needed, and *url* is not absolute.

        Also raises the errors of :meth:`get_token`.
        """
        cached = self._cached.get(provider_name) if isinstance(provider_name, str) else None
        if cached is None or self._now() >= cached.stale_at:
            need = self._coordinator.need(provider_name)
            cached = self._wait_for(self._coordinator.ask(need), need)
        return request_headers(cached.token, method, url)

    @without_arguments
    def renew_refused(
        self,
        provider_name: str,
        refused_token: str,
        timeout: float | None = None,
        *,
        claims: str | None = None,
    ) -> str:
        """Return a valid access token in place of *refused_token*, which an API rejected (401).

        Because each caller names the token that was rejected, a hundred workers that are rejected
        at once cause one renewal, and late ones get its result. Never returns a rejected token.

        :param timeout: as for :meth:`get_token`.
        :param claims: what the API demands of the token, a JSON object from its challenge; nothing
            by default. It is part of this one request, if the provider takes it: Microsoft Entra
            ID's does.
        :raises TokenRejectedError: if the API rejects newly granted tokens as well, or the server
            grants the rejected one again. For a while, rejections then cause no token request, and
            ``get_token`` goes on returning the token: other APIs may accept it.

        Also raises the errors of :meth:`get_token`.
        """
        check_name(refused_token, "refused_token")
        need = self._coordinator.need(
            provider_name, refused=refused_token, timeout=timeout, claims=claims
        )
        return self._wait_for(self._coordinator.ask(need), need).access_token

    def refresh_all(self) -> dict[str, bool]:
        """Renew all cached tokens in parallel; return for each token's name if that worked."""
        asked = self._coordinator.ask_for_all()
        return {need.token_name: self._worked(need, answer) for need, answer in asked}

    def clear_token(self, provider_name: str | None = None) -> None:
        """Forget all tokens of *provider_name*, or of all providers, together with past refusals.

        With a store, they are removed there as well, for at most as long as the store's timeout;
        other processes go on with those that they have in memory.

        A renewal under way still serves the callers that wait for it; later callers start another.

        :param provider_name: the provider, or the name of one token; all providers by default.
        :raises UnknownProviderError: if no provider has that name.
        """
        providers = self._state.clear(provider_name)
        for name, provider in providers.items():
            membership = self._coordinator.memberships.of(provider)
            if membership is not None:
                membership.forget(provider, name)

    # ---- at the server

    def revoke(
        self,
        provider_name: str,
        *,
        account: str | None = None,
        token: TokenKind = "refresh_token",
    ) -> Revocation:
        """Have the server revoke a token (RFC 7009), and forget what goes with it: a sign-out.

        A refresh token of a sign-in is revoked at the server, and then removed with all access
        tokens of its grant, from memory and from the store. Meanwhile no process of the fleet can
        use it. Afterwards ``get_token`` raises
        :class:`~tokenkeeper.exceptions.AuthorizationRequiredError` in each of them until there is a
        new sign-in, and also where the configuration has a first refresh token: that is not used
        again, unless you call :meth:`clear_token`. Access tokens that other processes have in
        memory are used until they are due, or an API rejects them.

        Without such a refresh token, as with client credentials, the access token is revoked and
        forgotten; the next caller requests another one.

        Blocks, for one request, and while the refresh token is in use.

        :param provider_name: the provider, or the name of one token; all tokens of its grant go
            with it.
        :param account: the account whose grant it is; the provider's own by default.
        :param token: ``access_token`` revokes that alone. The refresh token is kept, but some
            servers revoke it as well (RFC 7009 §2.1); ``refresh_token`` by default.
        :returns: what was revoked and forgotten, and until when a copy may work.
        :raises UnknownProviderError: if no provider has that name.
        :raises InvalidConfigurationError: for an account or a token that can't be meant.
        :raises TokenAcquisitionError: if the server did not revoke it, or has no endpoint for that.
            Nothing is forgotten then, and you can call again; ``transient`` says if that may help.
        :raises KeeperClosedError: after :meth:`close`.
        """
        with forks_wait():  # few processes ever sign out
            from tokenkeeper._renewal.revoking import revoke
        return revoke(self._coordinator, provider_name, token, account=account)

    def introspect(self, provider_name: str) -> Mapping[str, Any]:
        """Return what the server knows of the current access token (RFC 7662 §2.2).

        It has the members of the server's answer, such as ``scope``, ``client_id``, ``exp`` and
        ``sub``; ``active`` is always there, and a bool. The token itself is never in it. For
        diagnostics: to use a token, get it and send it.

        If the server's metadata says that it signs such answers, a signed one is requested, and its
        signature, ``iss``, ``aud`` and ``iat`` are verified (RFC 9701 §5). That takes a second
        request, for the server's keys.

        Blocks; a token is requested first if there is none.

        :param provider_name: the provider, or the name of one token.
        :raises UnknownProviderError: if no provider has that name.
        :raises TokenAcquisitionError: if there is no token, or the server did not answer, or has no
            endpoint for that, or the answer can't be trusted.
        :raises KeeperClosedError: after :meth:`close`.
        """
        with forks_wait():  # few processes ever ask
            from tokenkeeper._renewal.introspecting import introspected
        need = self._coordinator.need(provider_name)
        token = self._wait_for(self._coordinator.ask(need), need).token
        return introspected(self._coordinator, need, token)

    # ---- diagnostics

    def get_cached_token_info(self, provider_name: str) -> TokenInfo | None:
        """Return diagnostics of a cached token, without a secret; ``None`` if there is none.

        The keys: ``provider_name``, ``token_name``, ``state`` ("fresh", "renewing" or "expired"),
        ``expires_at`` (ISO 8601, UTC), ``remaining_seconds``, ``is_expired`` (whether the buffer
        has begun), ``renews_in_seconds``, ``token_type``, ``scope``, ``renewals``, ``failures``
        (renewals that failed in a row since the last success) and ``last_error``.

        :raises UnknownProviderError: if no provider has that name.
        """
        return self._state.describe(provider_name)

    def health(self) -> Health:
        """Return whether callers can be served, for a readiness probe; without a secret.

        The key ``status`` is the worst status of all providers: "ok", "degraded" (the token is
        valid, but its last renewal failed) or "down" (there is no valid token, and the last request
        failed); "closed" after :meth:`close`. ``providers`` has, for each name, its ``status``,
        which may also be "idle" (no token was requested yet), ``state``, ``remaining_seconds`` and
        ``renews_in_seconds`` as in :meth:`get_cached_token_info`, ``failures``, ``last_error`` and
        ``last_failure_at`` (ISO 8601, UTC). While an API rejects newly granted tokens, the provider
        is "degraded" and ``refused_by_api`` is the number that it rejected in a row; at other times
        that key is missing. ``tokens`` has the same for each token whose parameters a caller chose,
        by name; it is missing if there are none. ``dropped_events`` is the number of events that
        slow hooks missed; it is missing while that is 0. With a store, ``store`` has its
        ``status`` ("ok" or "unavailable"), its URL without a secret, ``last_error`` and
        ``unavailable_seconds``. A store does not change the status of providers: while it is
        unavailable, valid tokens are served.

        Sends no request and does not wait. A provider that is down stays down until its token is
        requested again. A probe that keeps callers away should therefore request it:
        ``get_token(name, timeout=1)`` first.
        """
        found = self._state.health()
        membership = self._coordinator.memberships.main
        if membership is not None:
            found["store"] = membership.fleet.guard.health()
        return found

    def add_hook(self, hook: EventHook) -> None:
        """Call *hook* with each event from now on.

        See :class:`~tokenkeeper.events.EventHook` for when, and on which thread.

        :raises InvalidConfigurationError: if it is not callable.
        """
        self._state.notifier.add(checked_callable(hook, "hooks", "a function of one event"))

    def remove_hook(self, hook: EventHook) -> None:
        """Call *hook* no more, also for events that are pending. Without effect if it is unknown.

        A call that has begun goes on.
        """
        self._state.notifier.remove(hook)

    # ---- providers

    def add_provider(self, provider: BaseOAuth2Provider) -> None:
        """Register *provider* under its ``provider_name``.

        :raises InvalidConfigurationError: if the name is taken, *provider* is not a provider, or it
            can't be used with the settings of the store.
        """
        checked = checked_provider(provider)
        self._coordinator.memberships.add(checked)
        self._state.add(checked)

    def remove_provider(self, provider_name: str) -> None:
        """Remove and close the provider *provider_name*, and forget its token.

        :raises UnknownProviderError: if no provider has that name.
        """
        provider = self._state.remove(provider_name)
        self._coordinator.memberships.remove(provider_name)
        provider_loop.call(provider.close)

    def list_providers(self) -> list[str]:
        """Return the registered names, in the order of their registration."""
        return self._state.names()

    # ---- in other libraries

    def source(
        self,
        provider_name: str,
        *,
        scope: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        audience: str | Iterable[str] | None = None,
        tenant: str | None = None,
        account: str | None = None,
        subject: str | None = None,
        actor: str | None = None,
    ) -> TokenSource:
        """Return a handle on one token: the provider's own, or one with other parameters.

        Equal arguments give the same source, which holds no token and sends no request until it is
        asked. Keep it, or create it each time.

        :param provider_name: the provider, or the name of one token and nothing else.
        :param scope: the scope to request in place of the registration's (RFC 6749 §3.3).
        :param resource: the URIs of the resource servers (RFC 8707 §2).
        :param audience: the audiences, for servers that take them.
        :param tenant: the tenant to request the token in.
        :param account: whose consent the token is based on.
        :param subject: the token of the party to act for (RFC 8693 §2.1).
        :param actor: the token of the acting party (RFC 8693 §2.1).
        :raises UnknownProviderError: if no provider has that name.
        :raises InvalidConfigurationError: for a parameter that the provider does not take (its
            ``takes`` lists them), or a value that can't work.
        :raises KeeperClosedError: after :meth:`close`.
        """
        parameters = TokenParameters.of(
            scope=scope,
            resource=resource,
            audience=audience,
            tenant=tenant,
            account=account,
            subject=subject,
            actor=actor,
        )
        check_name(provider_name)
        name = TokenName.of(provider_name, parameters)
        found = self._sources.get(name)
        if found is None:
            return self._new_source(name, None if is_chosen(provider_name) else parameters)
        self._state.check_provider(name)
        return found

    def _new_source(self, name: TokenName, parameters: TokenParameters | None) -> TokenSource:
        """Return a source of the token *name*.

        :param parameters: what the name stands for; ``None`` for what it states.
        """
        self._state.check_token(name, parameters)
        made = TokenSource(self, name, parameters)
        with self._state.lock:  # guards the creation of sources, too
            return self._sources.setdefault(name, made)

    # ---- sign-ins

    def authorize(
        self,
        provider_name: str,
        *,
        scope: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        audience: str | Iterable[str] | None = None,
        account: str | None = None,
        redirect_uri: str | None = None,
        login_hint: str | None = None,
        timeout_seconds: float = 300.0,
    ) -> Authorization:
        """Begin a person's sign-in, and return how it is completed. Opens no browser.

        What it brings replaces what the grant of the provider, or of the *account*, had before.
        From then on ``get_token`` works without a person, and so do sources of other resources that
        were authorized.

        :param provider_name: a provider with a grant that begins with a sign-in, such as
            :class:`~tokenkeeper.AuthorizationCode`, or the name of an account's token.
        :param scope: the scope to authorize; by default the registration's. Many servers grant a
            refresh token only for ``offline_access`` in it.
        :param resource: the resources to authorize (RFC 8707 §2.1); by default those of the grant.
        :param audience: the audiences to authorize, for servers that take them.
        :param account: whose consent it is, a name of your choice; the provider's own by default.
        :param redirect_uri: where the server sends the browser; by default as the grant says.
        :param login_hint: who is to sign in, as the server knows the person (OpenID Connect Core
            §3.1.2.1); unknown by default.
        :param timeout_seconds: how many seconds the person has; 300 by default. With a device code
            or CIBA, the server decides.
        :raises UnknownProviderError: if no provider has that name.
        :raises InvalidConfigurationError: if the provider's tokens need no sign-in, or an argument
            can't work.
        :raises TokenAcquisitionError: if the server refuses to begin.
        :raises KeeperClosedError: after :meth:`close`.
        """
        check_name(provider_name)
        parameters = TokenParameters.of(resource=resource, audience=audience, account=account)
        check_number(timeout_seconds, "timeout_seconds", least=1, unit=" of seconds")
        with forks_wait():  # most processes need no sign-in
            from tokenkeeper.authorization import begin_authorization
        return begin_authorization(
            self,
            provider_name,
            parameters,
            scope=scope,
            redirect_uri=redirect_uri,
            login_hint=login_hint,
            timeout_seconds=timeout_seconds,
        )

    @without_arguments
    def complete_authorization(
        self, provider_name: str, callback_url: str, *, state: str
    ) -> TokenSource:
        """Complete a sign-in of a web application, and return a handle on its token.

        It may have been begun by another process that shares the store. Sends one request, and none
        if the answer is not accepted. Each sign-in can be completed once.

        :param callback_url: the whole URL that the browser was sent to, with its query.
        :param state: :attr:`Authorization.state`, from the session of the person. It is compared
            with that of the URL, so that no one is signed in with another person's answer (RFC
            6749 §10.12).
        :raises UnknownProviderError: if no provider has that name.
        :raises TokenAcquisitionError: if the answer is not for this sign-in or not from its server
            (RFC 9207), it was completed already, has expired, or was declined, no token was
            granted, or the store can't be used.
        :raises KeeperClosedError: after :meth:`close`.
        """
        check_name(provider_name)
        check_name(callback_url, "callback_url")
        check_name(state, "state")
        with forks_wait():
            from tokenkeeper.authorization import complete_authorization
        return self.source(complete_authorization(self, provider_name, callback_url, state))

    def auth(
        self,
        provider_name: str,
        *,
        allowed_hosts: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> KeeperAuth:
        """Return an ``auth=`` for ``requests``: it sends the token, and renews it after a 401.

        :param allowed_hosts: the hosts that may get the token; by default any host over https.
        :param timeout: how many seconds to wait for a token; see :meth:`get_token`.

        See :class:`tokenkeeper.integrations.requests.KeeperAuth`. Each other library has a module
        in :mod:`tokenkeeper.integrations`.
        """
        source = source_from(self, provider_name, timeout)
        return source.auth(allowed_hosts=allowed_hosts, timeout=timeout)

    # ---- configuration

    @classmethod
    def from_config(
        cls, source: str | os.PathLike[str] | Mapping[str, Any], **options: Unpack[KeeperOptions]
    ) -> Self:
        """Return a keeper with the providers of a YAML file, or of a mapping with its content.

        :param source: the file's path, or the mapping; the key ``oauth2`` holds one block, or a
            list of blocks. The key ``store`` holds the store, if there is one; otherwise
            ``TOKENKEEPER_STORE`` may name it.
        :param options: arguments of the keeper itself. ``store`` comes before the configuration's,
            and ``None`` means no store.
        :raises InvalidConfigurationError: names every mistake; its ``problems`` are one line for
            each, with file, line and key.

        Needs the extra ``yaml``.
        """
        from tokenkeeper.config.configuration import Configuration
        from tokenkeeper.config.discovery import Discovery

        found = Discovery.from_config(source)
        return cls._configured(
            Configuration(found.specs, found.store_options, found.tokens), options
        )

    @classmethod
    def from_env(cls, **options: Unpack[KeeperOptions]) -> Self:
        """Return a keeper with the providers that the environment describes.

        If ``TOKENKEEPER_CONFIG`` is set, this is :meth:`from_config` for the file that it names.
        Otherwise ``AZURE_CLIENT_ID``, ``AZURE_CLIENT_SECRET`` and ``AZURE_TENANT_ID`` make the
        provider "azure"; ``OAUTH2_CLIENT_ID``, ``OAUTH2_CLIENT_SECRET`` and ``OAUTH2_TOKEN_URL``
        make the provider "oauth2". ``AZURE_CLIENT_SECRET_FILE`` and ``OAUTH2_CLIENT_SECRET_FILE``
        name a file with the secret instead; other variables describe a key, a certificate or an
        assertion in its place. ``AZURE_SCOPE`` and ``OAUTH2_SCOPE`` set the scope.
        ``TOKENKEEPER_STORE`` is the URL of a store, ``TOKENKEEPER_STORE_KEY_FILE`` its key file.

        :param options: arguments of the keeper itself. ``store`` comes before the configuration's,
            and ``None`` means no store.
        :raises InvalidConfigurationError: names the variable that is missing or wrong.
        """
        from tokenkeeper.config.configuration import Configuration
        from tokenkeeper.config.discovery import Discovery

        found = Discovery.from_env()
        return cls._configured(
            Configuration(found.specs, found.store_options, found.tokens), options
        )

    @classmethod
    def _configured(cls, configuration: Configuration, options: KeeperOptions) -> Self:
        if "store" not in options:
            options = {**options, "store": configuration.store}
        keeper = cls(**options)
        keeper._configuration = configuration
        configuration.tokens.attach(keeper)
        for provider in configuration.providers:
            keeper.add_provider(provider)
        return keeper

    def reload(self) -> ReloadResult:
        """Read the configuration again and apply what changed, with no gap in service.

        A provider that changed, for example by a rotated secret, is renewed at once in the
        background; its current token serves until then. A provider that was removed by hand but is
        still configured comes back. If a server rejects a client, its configuration is read again
        without this call.

        :returns: the names that were ``added``, ``changed`` and ``removed``.
        :raises InvalidConfigurationError: if something is wrong, or a new name is taken by a
            provider that was added by hand; then nothing changes. Also for a keeper that was
            created neither by :meth:`from_config` nor by :meth:`from_env`.
        :raises KeeperClosedError: after :meth:`close`.
        """
        if self._configuration is None:
            raise InvalidConfigurationError(
                "this keeper was not created from a configuration. Use TokenKeeper.from_config()."
            )
        with forks_wait():  # this notices a fork: the configuration has its own locks
            from tokenkeeper._renewal.reload import reload
        return reload(self._coordinator, self._configuration, self.add_provider)

    # ---- the end

    def close(self) -> None:
        """Stop the background threads, close the providers, forget the tokens. Idempotent.

        Connections to a store are closed as well, unless you passed the store as an object.

        Callers that wait for a token get :class:`~tokenkeeper.exceptions.KeeperClosedError`, and so
        does every later call. A request that hangs is waited for one second, then abandoned.

        With a store, a request with a refresh token that works once is waited for until it is
        answered and stored: at most as long as it may take (30 seconds by default), and five
        seconds more. The end of the interpreter waits likewise. Ctrl-C ends the wait.
        """
        providers = self._coordinator.close(timeout=1.0)
        try:
            for membership in self._coordinator.memberships.all():
                membership.one_time.finish()
                membership.close()
        finally:
            self._close(providers)

    @staticmethod
    def _close(providers: Iterable[BaseOAuth2Provider]) -> None:
        handled_before = sys.exception()
        for provider in providers:
            try:
                provider_loop.call(provider.close)
            except Exception as error:  # noqa: BLE001 - the next provider must be closed too
                if struck := interruption_in(error, handled_before):
                    raise struck  # noqa: B904 - as it was raised
                _log.exception("provider %r failed to close", provider.provider_name)

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._state.is_closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self._state.registry)} providers>"

    # ---- waiting

    def _wait_for(self, answer: CachedToken | Renewal, need: Need) -> CachedToken:
        """Block until *need* is met, or raise why it can't be."""
        while not isinstance(answer, CachedToken):
            if provider_loop.on_provider_loop():
                raise TokenAcquisitionError(
                    f"provider {need.provider_name!r}: an async def provider must not block its "
                    "event loop. Await OAuth2TokenManager.get_token() there.",
                    provider_name=need.provider_name,
                    transient=False,
                )
            with waiting_for(answer):
                settled = answer.wait(need.remaining_wait(self._clock))
            if not settled:
                raise need.timeout_error()
            answer = self._coordinator.answer_from(answer, need)
        return answer

    def _worked(self, need: Need, answer: CachedToken | Renewal) -> bool:
        try:
            self._wait_for(answer, need)
        except (TokenAcquisitionError, InvalidConfigurationError):
            return False
        return True


def _idle_timeouts(seconds: float | None) -> IdleTimeouts:
    if seconds is None:
        return IdleTimeouts(
            own=OWN_IDLE_SECONDS, chosen=CHOSEN_IDLE_SECONDS, on_behalf=ON_BEHALF_IDLE_SECONDS
        )
    check_number(seconds, "idle_timeout_seconds", least=0, infinite=True, unit=" of seconds")
    return IdleTimeouts(own=seconds, chosen=seconds)


def checked_keeper(keeper: object) -> TokenKeeper:
    """Return *keeper* if it is one.

    :raises InvalidConfigurationError: names what it is instead.
    """
    hint = ""
    if isinstance(keeper, str):
        hint = "the keeper comes first, then the provider's name"
    elif isinstance(getattr(keeper, "keeper", None), TokenKeeper):
        hint = "pass its attribute keeper"
    check_instance(keeper, TokenKeeper, "keeper", hint)
    return cast("TokenKeeper", keeper)


def source_from(given: object, provider_name: object = None, timeout: object = None) -> TokenSource:
    """Return the source that a client library's module was given: one, or a keeper and a name.

    The name is not looked up: its provider may be added later.

    :raises InvalidConfigurationError: names the argument that is not valid.
    """
    check_timeout(timeout)
    if isinstance(given, AsyncTokenSource):
        given = given.source
    if isinstance(given, TokenSource):
        if provider_name is not None:
            raise InvalidConfigurationError(
                "a source already names its token. Leave out provider_name.", field="provider_name"
            )
        return given
    keeper = checked_keeper(given)
    check_name(provider_name)
    return TokenSource(keeper, TokenName(provider_name), None)


_keepers: weakref.WeakSet[TokenKeeper] = weakref.WeakSet()


def _abandon(background: Background) -> None:
    # The garbage collector calls this anywhere, even inside a lock that close() needs, and even
    # inside threading's own. Only a bare new thread is sure to hold none of them.
    if is_uwsgi_master():  # it has no threads to stop, and must start none
        return
    with suppress(RuntimeError):  # the interpreter is ending, and its threads with it
        _thread.start_new_thread(background.close, (0.0,))


@atexit.register
def _go_inline() -> None:
    # Threads that stop before the interpreter is torn down print nothing while it is. The keepers
    # stay open: daemon threads of the application may use them to the last moment.
    for keeper in list(_keepers):
        keeper._background.go_inline(timeout=0.2)  # noqa: SLF001 - module and class are one
