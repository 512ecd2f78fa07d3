"""``google-auth``: a provider whose tokens come from any of its credentials."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import google.auth.exceptions
from google.auth.exceptions import RefreshError, TransportError

from tokenkeeper._runtime.interruptions import interruption_in
from tokenkeeper._support.hiding import without_frames
from tokenkeeper._support.network import network_reason
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    OAuth2Error,
    TokenAcquisitionError,
    naming,
)
from tokenkeeper.integrations._google_identity import identity_of
from tokenkeeper.integrations._google_requests import GuardedRequest, secrets_of
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.providers.base import BaseOAuth2Provider

if TYPE_CHECKING:
    import google.auth.credentials
    import requests

__all__ = ["GoogleCredentialsProvider"]

DEFAULT_LIFETIME = timedelta(hours=1)
"""The lifetime of a token if the credentials don't have its expiry."""


class GoogleCredentialsProvider(BaseOAuth2Provider):
    """Gets tokens from credentials of ``google-auth``. Each renewal makes a token request.

    Its requests follow the rules of the other providers: no redirects, no ``~/.netrc``, a limit
    for the total time and for the size of a response, and no plain http except to this machine or
    a metadata server. This does not cover requests that credentials make on their own: ID tokens
    by impersonation, a metadata server by mTLS, the programs of executable-sourced credentials.

    With a store, processes share the tokens of equal credentials. Those that don't state whose
    tokens they get, such as those of a role at AWS or of your own class, are shared with forked
    children only.

    Thread-safe as far as the credentials are.

    :param credentials: from ``google.auth.default(scopes=[...])``, or of any of its classes,
        including those for ID tokens. Only this provider should refresh them from now on.
    :param connect_timeout: seconds to wait for a connection, including TLS; 5 by default.
    :param read_timeout: seconds to wait for each part of a response; 10 by default.
    :param total_timeout: seconds for each request; 30 by default.
    :param verify: a file or directory of CA certificates; by default ``REQUESTS_CA_BUNDLE``, or
        those of requests.
    :param session: a ``requests.Session`` whose settings to use; it is neither changed nor closed.
    :param clock: the clock; in tests the keeper's.
    :param options: what ``BaseOAuth2Provider`` takes.
    :raises InvalidConfigurationError: for credentials of ``google.auth.aio`` (use blocking ones,
        which serve async callers too), for other objects, or for a timeout or a *verify* that can't
        work.
    """

    def __init__(
        self,
        provider_name: str,
        credentials: google.auth.credentials.Credentials,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 10.0,
        total_timeout: float = 30.0,
        verify: bool | str | os.PathLike[str] | None = None,
        session: requests.Session | None = None,
        clock: Clock = SYSTEM_CLOCK,
        **options: Any,
    ) -> None:
        super().__init__(provider_name, **options)
        if isinstance(credentials, type) or not callable(getattr(credentials, "refresh", None)):
            raise InvalidConfigurationError(
                f"provider {provider_name!r}: credentials must be an object of google-auth, not "
                f"{type(credentials).__name__}. google.auth.default() returns them as the first of "
                "two values.",
                provider_name=provider_name,
                field="credentials",
            )
        if iscoroutinefunction(credentials.refresh):
            raise InvalidConfigurationError(
                f"provider {provider_name!r}: credentials must not be of google.auth.aio. Use the "
                "blocking ones of google-auth, which serve async callers as well.",
                provider_name=provider_name,
                field="credentials",
            )
        self._credentials = credentials
        # Once: the metadata server's credentials learn their address from the first answer.
        self._identity = identity_of(credentials)
        self._clock = clock
        with naming(provider_name):
            self._transport = HttpTransport(
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                total_timeout=total_timeout,
                verify=verify,
                session=session,
                clock=clock,
            )

    @without_frames
    def acquire_token(self) -> OAuth2Token:
        """Refresh the credentials, and return their token."""
        credentials = self._credentials
        request = GuardedRequest(self._transport, self._clock, self.provider_name, credentials)
        before = sys.exception()
        try:
            credentials.refresh(request)  # type: ignore[no-untyped-call]
        except OAuth2Error:
            raise
        except google.auth.exceptions.GoogleAuthError as error:
            failure = self._failed(error, request)
        except Exception as error:  # noqa: BLE001 - such as for a response that it can't parse
            if (thrown := interruption_in(error, before)) is not None:
                raise thrown from None
            failure = self._failed_with(
                f"google-auth failed with {type(error).__name__}. Check the credentials, and that "
                "the token endpoint is Google's.",
                error,
                transient=isinstance(error, (ConnectionError, TimeoutError)),
            )
        else:
            return self._granted(request)
        # Raised outside the handlers, so that the original error is not its context: that one may
        # contain the whole response, with tokens, and a traceback would print it.
        raise failure

    def _granted(self, request: GuardedRequest) -> OAuth2Token:
        credentials = self._credentials
        token = credentials.token or ""
        if isinstance(token, bytes):  # as google.auth.jwt returns it
            token = token.decode("latin-1")
        expiry = credentials.expiry  # naive, in UTC
        expires_at = (
            expiry.replace(tzinfo=UTC) if expiry else self._moment(request) + DEFAULT_LIFETIME
        )
        if request.latest_expiry is not None:
            expires_at = min(expires_at, request.latest_expiry)
        elif expiry:  # on the server's clock, such as an impersonation's and an ID token's
            expires_at = request.on_our_clock(expires_at)
        scopes = getattr(credentials, "scopes", None) or ()
        scope = scopes if isinstance(scopes, str) else " ".join(scopes)
        try:
            return OAuth2Token(token, "Bearer", expires_at, scope or None)
        except ValueError as error:
            failure = self._failed_with(
                f"google-auth returned a token that can't be used: {error}", error, transient=False
            )
        raise failure

    def _moment(self, request: GuardedRequest) -> datetime:
        """Return when the token was requested; now, if no request was needed."""
        return datetime.fromtimestamp(request.sent_at or self._clock.time(), UTC)

    def _failed(
        self, error: google.auth.exceptions.GoogleAuthError, request: GuardedRequest
    ) -> TokenAcquisitionError:
        message = str(error.args[0]) if error.args else type(error).__name__
        if isinstance(error, RefreshError) and request.was_refused:
            # For impersonation, the reason is in the answer, the second argument. An answer that
            # is not a refusal may have a token in it. For other credentials, it is not a text.
            message = ": ".join([message, *(each for each in error.args[1:2] if type(each) is str)])
        secrets = [*secrets_of(self._credentials), *request.secrets]
        return self._failed_with(
            f"google-auth could not get a token: {sanitize(message, secrets)}",
            error,
            transient=bool(error.retryable) or isinstance(error, TransportError),
        )

    def _failed_with(
        self, problem: str, error: Exception, *, transient: bool
    ) -> TokenAcquisitionError:
        return TokenAcquisitionError(
            f"provider {self.provider_name!r}: {problem}",
            provider_name=self.provider_name,
            network_reason=network_reason(error),
            transient=transient,
        )

    def identity(self) -> Mapping[str, object]:
        """Return the class, and a digest of the account, the scopes and the audience."""
        return {**super().identity(), "credentials": self._identity}

    def __repr__(self) -> str:
        kind = type(self._credentials).__name__
        return f"<{type(self).__name__} {self.provider_name!r} with {kind}>"
