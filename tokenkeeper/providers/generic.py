"""Tokens from any OAuth2 server, by client credentials (RFC 6749 §4.4) and refresh tokens (§6)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.checks import checked_switch, shown_url
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import (
    AuthorizationRequiredError,
    InvalidConfigurationError,
    TokenAcquisitionError,
    naming,
)
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS, OAuth2Config, OAuth2Token
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.oauth.attribution import attributed_to
from tokenkeeper.oauth.client_auth import ClientAuth, client_auth_of
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.exchange import DEFAULT_LIFETIME_SECONDS
from tokenkeeper.oauth.secret_parameters import SECRET_PARAMETERS
from tokenkeeper.oauth.server import server_of
from tokenkeeper.providers.base import BaseOAuth2Provider, made_again
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.providers.grants.choice import grant_of
from tokenkeeper.providers.reacquire import is_reacquiring, reacquire
from tokenkeeper.providers.received_tokens import ReceivedTokens
from tokenkeeper.providers.shared_settings import (
    shared_omissions,
    shared_reading,
    shared_style,
    shared_transport,
)
from tokenkeeper.providers.sign_in_requests import (
    AUTHORIZED,
    begun,
    checked_answer,
    key_of,
    sign_in_of,
    warn_without_refresh_token,
    without_unauthorized,
)
from tokenkeeper.providers.token_binding import NOT_BOUND, TokenBinding, token_binding
from tokenkeeper.retry import is_transient

if TYPE_CHECKING:
    import requests

    from tokenkeeper.oauth.dpop import DPoPKey
    from tokenkeeper.oauth.request_style import RequestStyle
    from tokenkeeper.oauth.revocation import TokenKind
    from tokenkeeper.oauth.transport import HttpTransport
    from tokenkeeper.providers.grants.sign_in import Asked, PendingSignIn
    from tokenkeeper.retry import RetryPolicy

__all__ = ["GenericOAuth2Provider"]


class GenericOAuth2Provider(BaseOAuth2Provider):
    """Gets tokens from the token endpoint of any OAuth2 server. Thread-safe.

    If *config* has an ``issuer``, the endpoint is read from the server's metadata before the first
    request, and again every hour (RFC 8414, OpenID Connect Discovery).

    :param config: the client's registration: its credentials, the server and the scope.
    :param client_auth: how the client authenticates, if not with its secret, such as
        :class:`~tokenkeeper.PrivateKeyJwt`; by default as *token_endpoint_auth_method* says.
    :param grant: what is presented for a token, such as :class:`~tokenkeeper.TokenExchange`; by
        default the client's own credentials.
    :param dpop: whether to bind tokens to a key, which makes a stolen one useless (RFC 9449):
        ``True`` generates the key, a :class:`~tokenkeeper.DPoPKey` is one of your own; ``False`` by
        default. A request with such a token needs a proof: see :meth:`TokenKeeper.headers`.
    :param allow_bearer: with *dpop*, whether to accept a token that the server did not bind to the
        key; ``False`` by default, which refuses it.
    :param token_endpoint_auth_method: how the client authenticates with its secret (RFC 7591 §2):
        ``client_secret_basic``, the default, ``client_secret_post``, or ``none`` for a public
        client, which sends only its ``client_id``.
    :param send_client_id: whether to send ``client_id`` as a parameter too when HTTP Basic is used;
        ``False`` by default.
    :param form_encode_credentials: whether to form-encode id and secret for HTTP Basic, as RFC 6749
        §2.3.1 requires; ``True`` by default. Some servers expect them unencoded.
    :param grant_type: the grant for a new token by its name or URI, in place of *grant*;
        ``client_credentials`` by default. Set its other parameters in ``additional_params`` of
        *config*. With ``refresh_token``, that is the first refresh token, as in
        :class:`~tokenkeeper.RefreshToken`.
    :param custody: where refresh tokens that work once are kept, in the form of the keeper's
        ``store=``, such as ``sqlite:///tokens.db``; by default in the keeper's store, or in its
        memory if it has none. Choose one that outlives the process, or a new sign-in is needed
        after it.
    :param request_format: ``form``, the default (RFC 6749 §4.4.2), ``json`` for a JSON object as
        the body, or ``query`` for parameters in the query of the URL.
    :param accept: the ``Accept`` header; ``application/json`` by default.
    :param headers: further headers, such as ``X-API-Key``; none by default. Their values are
        treated as secrets. A ``User-Agent`` replaces ``tokenkeeper/VERSION``; other headers that
        the library sets can't be overridden.
    :param default_lifetime_seconds: the lifetime of a token if the server states none; an hour by
        default.
    :param lifetime_seconds: the lifetime of every token, whatever the server states; ``None``, the
        default, believes the server.
    :param never_expires: whether a lifetime of 0, -1 or none means that a token does not expire;
        ``False`` by default. Such tokens are renewed daily.
    :param accept_token_types: values of ``token_type`` to accept besides ``Bearer``, a string or
        several; none by default.
    :param refresh_tokens: whether to renew with the refresh tokens that the server sends. By
        default they are ignored and not stored: with client credentials a server should send none
        (RFC 6749 §4.4.3), and a new token takes one request, too.
    :param connect_timeout: how many seconds to wait for a connection, including its TLS handshake;
        5 by default.
    :param read_timeout: how many seconds to wait for each piece of the response; 10 by default.
    :param total_timeout: how many seconds one request may take in total; 30 by default. The
        requests for the metadata of an issuer may take as long again.
    :param verify: a file or directory of CA certificates; by default ``REQUESTS_CA_BUNDLE``, or
        else the usual ones. ``False`` turns verification off.
    :param session: a ``requests.Session`` whose settings to use, such as proxies and certificates;
        it is neither changed nor closed. By default the library uses its own.
    :param clock: the source of time; by default the system's. In tests, pass the keeper's.
    :param buffer_seconds: how many seconds before its expiry a token is renewed; 300 by default.
    :param retry: how to retry transient failures; ``None``, the default, uses the keeper's policy.
    :raises InvalidConfigurationError: for an option that can't work.
    """

    takes: frozenset[str] = frozenset({"scope", "resource", "audience"})

    _warned: set[str] | None = None  # few servers cause a warning, so few providers need a set
    _omitted: tuple[str, ...] = ()
    _binding: TokenBinding = NOT_BOUND

    def __init__(
        self,
        config: OAuth2Config,
        *,
        client_auth: ClientAuth | None = None,
        grant: Grant | None = None,
        dpop: bool | DPoPKey = False,
        allow_bearer: bool = False,
        token_endpoint_auth_method: str | None = None,
        send_client_id: bool = False,
        form_encode_credentials: bool = True,
        grant_type: str | None = None,
        custody: object = None,
        request_format: Literal["form", "json", "query"] = "form",
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
        default_lifetime_seconds: float = DEFAULT_LIFETIME_SECONDS,
        lifetime_seconds: float | None = None,
        never_expires: bool = False,
        accept_token_types: str | Iterable[str] = (),
        refresh_tokens: bool = False,
        connect_timeout: float = 5.0,
        read_timeout: float = 10.0,
        total_timeout: float = 30.0,
        verify: bool | str | os.PathLike[str] | None = None,
        session: requests.Session | None = None,
        clock: Clock = SYSTEM_CLOCK,
        buffer_seconds: float = DEFAULT_BUFFER_SECONDS,
        retry: RetryPolicy | None = None,
    ) -> None:
        _check_config(config)
        super().__init__(config.provider_name, buffer_seconds=buffer_seconds, retry=retry)
        self._config, self._clock = config, clock
        with naming(config.provider_name):
            self._set_binding(token_binding(dpop, allow_bearer))
            self._reading = shared_reading(
                default_lifetime_seconds, lifetime_seconds, never_expires, accept_token_types
            )
            self._set_grant(grant_of(grant, grant_type, config), refresh_tokens, custody)
            transport = shared_transport(
                connect_timeout, read_timeout, total_timeout, verify, session, clock
            )
            auth = _client_auth(
                config,
                client_auth,
                token_endpoint_auth_method,
                form_encode_credentials,
                send_client_id,
            )
            self._set_client(auth, transport, shared_style(request_format, accept, headers))

    @property
    def client_id(self) -> str:
        """The client's identifier."""
        return self._config.client_id

    @property
    def client_auth(self) -> ClientAuth:
        """How the client authenticates."""
        return self._client.auth

    def _set_binding(self, binding: TokenBinding) -> None:
        if binding is not NOT_BOUND:  # most providers have none, and stay small
            self._binding = binding

    def _set_grant(self, grant: Grant, refresh_tokens: object, custody: object) -> None:
        if custody is not None:
            self.custody = custody
        self._grant = grant
        if grant.takes != GenericOAuth2Provider.takes:
            own = type(self).takes - GenericOAuth2Provider.takes
            self.takes: frozenset[str] = own | grant.takes
        if grant.accept_token_types:
            accepted = (*self._reading["accept_token_types"], *grant.accept_token_types)
            self._reading = {**self._reading, "accept_token_types": accepted}
        self.repeatable: bool = not grant.works_once
        keeps = checked_switch(refresh_tokens, "refresh_tokens") or not self.repeatable
        self._received = ReceivedTokens() if keeps else None

    def _set_client(self, auth: ClientAuth, transport: HttpTransport, style: RequestStyle) -> None:
        from tokenkeeper.oauth.client import OAuthClient  # with requests, which is loaded late

        config, clock = self._config, self._clock
        server = server_of(config, transport, clock)
        self._client = OAuthClient(config, server, auth, transport, clock, style)
        requests = 1 if config.issuer is None else 2  # its metadata is requested before the token
        self.longest_request_seconds: float = requests * transport.total_timeout

    @without_frames
    def acquire_token(self) -> OAuth2Token:
        """Request a token once, by client credentials (RFC 6749 §4.4.2) or another grant.

        With ``grant_type="refresh_token"`` it uses the newest refresh token of this process, or the
        configured one. A forked child does not use the parent's, unless a store is shared.
        """
        scope = str(self.parameters.scope or self._config.scope or "")
        used, key = None, self._binding.key
        if self._received is not None and not self.repeatable:
            with attributed_to(self.provider_name):
                used = self._received.first(self._grant.first)
            key = self._received.key or key

        def parameters(to: Recipient) -> dict[str, Any]:
            own = self._grant.parameters(self.parameters, to)
            given = {**own, "grant_type": self._grant.grant_type, "scope": scope}
            return {**given, "refresh_token": used or "", **self._targets()}

        return self._request(parameters, scope, scope, used, key)

    @without_frames
    def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Return a token that replaces *token*, by its refresh token (RFC 6749 §6) or a new grant.

        A refresh token is used if ``refresh_tokens`` is ``True``, once, and only in the process
        that received it: after a fork, two processes must not both use it. The request has no
        scope, so it asks for the scope that was granted; a server that narrowed the scope would
        refuse the wider one. If the server refuses the refresh token for good, or if *token* has
        expired and the request fails in any way, a new token is requested immediately.
        """
        if is_reacquiring(self):  # a subclass's acquire_token calls this one
            return GenericOAuth2Provider.acquire_token(self)
        received = self._received
        if received and token.refresh_token and received.may_spend(token):
            renewed = self._refresh(token, received.newest_for(token.refresh_token))
            if renewed is not None:
                received.exchange(token.refresh_token, renewed.refresh_token)
                return renewed
        return cast("OAuth2Token", reacquire(self))

    def _refresh(self, token: OAuth2Token, refresh_token: str) -> OAuth2Token | None:
        """Return a token by *refresh_token*, or ``None`` if a new grant is needed."""
        narrowed = "" if self.repeatable else self.parameters.scope or ""
        authorized = token.extra.get(AUTHORIZED, ())
        grant = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "scope": narrowed,
            **without_unauthorized(self._config.additional_params, authorized),
            **self._targets(),
        }
        scope = narrowed or token.scope
        with naming(self.provider_name):
            self._grant.check_authorized(self.parameters, authorized)
        try:
            key = self._binding.key_for(token)
            renewed = self._request(lambda _: grant, scope, narrowed or None, refresh_token, key)
        except TokenAcquisitionError as failed:
            is_valid = self._clock.time() < token.expires_at.timestamp()
            if not self.repeatable or (is_transient(failed) and is_valid):
                raise
            return None
        return _authorized(renewed, authorized)

    @without_frames
    def begin_sign_in(self, asked: Asked) -> PendingSignIn:
        """Begin a sign-in with the grant of this provider. May send requests.

        :raises OAuth2Error: if it can't be begun.
        """
        with naming(self.provider_name):
            grant = sign_in_of(self._grant, self.provider_name)
            asked = replace(asked, scope=asked.scope or str(self._config.scope or ""))
            return begun(grant, self._client, asked, self._binding)

    @without_frames
    def finish_sign_in(
        self,
        pending: PendingSignIn,
        callback_url: str | None = None,
        *,
        once: Callable[[], None] | None = None,
    ) -> OAuth2Token:
        """Return the token that the sign-in *pending* brought, by one request.

        :param callback_url: the URL that the browser was sent to; ``None`` without a redirect.
        :param once: called after the answer was checked and before the request, which it can
            prevent by an exception; nothing by default.
        :raises TokenAcquisitionError: if the answer is not accepted, or no token is granted.
        """
        grant = sign_in_of(self._grant, self.provider_name)
        answer = {
            **without_unauthorized(self._config.additional_params, pending.resource),
            **checked_answer(grant, self._client, pending, callback_url, once),
        }
        scope, key = pending.scope, key_of(pending, self._binding)
        token = self._request(lambda _: answer, scope, scope, None, key)
        warn_without_refresh_token(token, self.provider_name)
        return _authorized(token, pending.resource)

    def sign_in_wait_seconds(
        self, error: TokenAcquisitionError, interval_seconds: float
    ) -> float | None:
        """Return when to ask again whether the sign-in is complete; ``None`` if it has failed."""
        grant = sign_in_of(self._grant, self.provider_name)
        return grant.wait_seconds(error, interval_seconds)

    def variant(self, name: TokenName, parameters: TokenParameters) -> Self:
        """Return the same client for another token; what it learns of that token is its own.

        :raises InvalidConfigurationError: if the grant does not extend to it.
        """
        with naming(self.provider_name):
            self._grant.check(parameters)
        twin = super().variant(name, parameters)
        received = None if self._received is None else ReceivedTokens()
        vars(twin).update(_warned=None, _omitted=(), _received=received)
        return twin

    @property
    def grant_name(self) -> str:
        """The name of the token whose refresh token is used: one for each account."""
        if self.repeatable:
            return self.token_name
        account = TokenParameters(account=self.parameters.account)
        return str(TokenName.of(self.provider_name, account))

    def for_another_process(self) -> Callable[[], BaseOAuth2Provider]:
        """Return a function that makes this provider again, with all attributes of a subclass."""
        received = None if self._received is None else ReceivedTokens()
        return partial(made_again, type(self), {**vars(self), "_received": received})

    def continues(self, other: BaseOAuth2Provider) -> bool:
        """Return whether *other* is the same client, and began with the same refresh token."""
        if not isinstance(other, GenericOAuth2Provider) or other.identity() != self.identity():
            return False
        theirs = other._grant  # noqa: SLF001 - one class
        return self._grant.is_same(theirs)

    def identity(self) -> Mapping[str, object]:
        """Return the settings that identify the client and its server, without a secret."""
        config, parameters = self._config, self._config.additional_params or {}
        return {
            **({"issuer": config.issuer} if config.issuer else {"token_url": config.token_url}),
            "client_id": self._config.client_id,
            "scope": self._config.scope,
            "grant_type": self._grant.grant_type,
            "parameters": {
                name: value for name, value in parameters.items() if name not in SECRET_PARAMETERS
            },
            **self._grant.identity(),
            **self._binding.identity(),
        }

    def _targets(self) -> dict[str, str | tuple[str, ...]]:
        """Return the parameters that say where the token is to be used (RFC 8707 §2)."""
        targets = {"resource": self.parameters.resource, "audience": self.parameters.audience}
        return {
            name: values[0] if len(values) == 1 else values
            for name, values in targets.items()
            if values
        }

    def after_fork_in_child(self) -> None:
        """Stop using the refresh tokens received so far: they belong to the parent."""
        if self._received is not None:
            self._received.after_fork_in_child()

    def _request(
        self,
        grant: Callable[[Recipient], Mapping[str, Any]],
        scope: str | None,
        requested_scope: str | None,
        refresh_token: str | None,
        key: DPoPKey | None,
    ) -> OAuth2Token:
        from tokenkeeper.oauth.token_request import request_token  # loaded with the provider

        warned, omitted = self._warned or set(), set(self._omitted)
        try:
            token = request_token(
                self._client,
                grant,
                scope=scope or None,
                requested_scope=requested_scope,
                warned=warned,
                omitted=omitted,
                key=key,
                allow_bearer=self._binding.allow_bearer,
                **self._reading,
            )
        finally:
            if warned:
                self._warned = warned
        self._omitted = shared_omissions.one(frozenset(omitted), tuple(sorted(omitted)))
        if self._received is not None:
            if token.refresh_token is None:  # §6: the old one stays good where none is given
                token = replace(token, refresh_token=refresh_token)
            elif token.refresh_token != refresh_token:
                self._grant.rotated(token.refresh_token)
            self._received.note(token)
        elif token.refresh_token is not None:
            token = replace(token, refresh_token=None)  # a token that is not kept can't be stolen
        return token

    @without_frames
    def revoke_token(self, token: OAuth2Token | None, kind: TokenKind) -> bool:
        """Have the server revoke one part of *token* (RFC 7009); return whether there was any.

        Without a token, it is the refresh token that the grant begins with.
        """
        if kind == "access_token":
            given = None if token is None else token.access_token
        elif token is not None:
            given = token.refresh_token
        else:
            given = self._to_begin_with()
        if not given:
            return False
        with forks_wait():  # few processes ever sign out
            from tokenkeeper.oauth.revocation import revoke_token

        revoke_token(self._client, given, kind)
        if kind == "refresh_token" and self._received is not None:
            self._received.forget()
        return True

    def _to_begin_with(self) -> str | None:
        if self.repeatable:
            return None
        try:
            with attributed_to(self.provider_name):
                return self._grant.first()
        except AuthorizationRequiredError:
            return None  # there was no sign-in

    @without_frames
    def introspect_token(self, token: OAuth2Token) -> Mapping[str, Any]:
        """Return what the server knows of an access token (RFC 7662, RFC 9701)."""
        with forks_wait():  # few processes ever ask
            from tokenkeeper.oauth.introspection import introspect_token

        return introspect_token(self._client, token.access_token)

    def describe(self) -> Mapping[str, object]:
        """Return the settings of this provider without secrets: only the names of headers."""
        return {
            **super().describe(),
            **_described_server(self._config),
            "client_id": self._config.client_id,
            "scope": self._config.scope,
            "grant_type": self._grant.grant_type,
            **self._grant.describe(),
            "token_endpoint_auth_method": self._client.auth.method,
            **getattr(self._client.auth, "describe", dict)(),
            "request_format": self._client.style.request_format,
            "headers": sorted(self._client.style.headers),
            "refresh_tokens": self._received is not None,
            "verify": self._client.transport.verify,
            "default_lifetime_seconds": self._reading["default_lifetime"],
            "lifetime_seconds": self._reading["lifetime_seconds"],
            "never_expires": self._reading["never_expires"],
            "omitted": list(self._omitted),
            "dpop": self._binding.key is not None,
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.provider_name!r} at {self._client.server.shown}>"


def _check_config(config: object) -> None:
    if not isinstance(config, OAuth2Config):
        raise InvalidConfigurationError(
            f"config must be an OAuth2Config, not {type(config).__name__}", field="config"
        )


def _authorized(token: OAuth2Token, resources: Iterable[str]) -> OAuth2Token:
    """Return *token* with the resources that the sign-in asked for, if it named any."""
    listed = tuple(resources)
    return replace(token, extra={**token.extra, AUTHORIZED: listed}) if listed else token


def _described_server(config: OAuth2Config) -> Mapping[str, object]:
    """Return where the server is, without secrets."""
    if config.issuer is None:
        return {"token_url": shown_url(config.token_url)}
    token_url = (config.endpoints or {}).get("token_endpoint")
    stated = {} if token_url is None else {"token_url": shown_url(token_url)}
    return {"issuer": config.issuer, **stated}


def _client_auth(
    config: OAuth2Config,
    given: object,
    method: str | None,
    form_encode_credentials: object,
    send_client_id: object,
) -> ClientAuth:
    return client_auth_of(
        given,
        method,
        config.client_id,
        config.client_secret,
        form_encode=checked_switch(form_encode_credentials, "form_encode_credentials"),
        send_client_id=checked_switch(send_client_id, "send_client_id"),
    )
