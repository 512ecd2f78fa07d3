"""Tokens from any OAuth2 server, by client credentials (RFC 6749 §4.4) and refresh tokens (§6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError, naming
from tokenkeeper.hiding import shown_url, without_frames
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS, OAuth2Config, OAuth2Token
from tokenkeeper.oauth.client_auth import client_auth
from tokenkeeper.oauth.token_request import request_token
from tokenkeeper.oauth.token_response import DEFAULT_LIFETIME_SECONDS
from tokenkeeper.oauth.transport import HttpTransport, checked_seconds
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.travel import StaysHere

if TYPE_CHECKING:
    import os

    import requests

    from tokenkeeper.retry import RetryPolicy

__all__ = ["GenericOAuth2Provider"]

_GRANT_REFUSED = frozenset({"unauthorized_client", "unsupported_grant_type", "invalid_request"})
"""Said of the refresh itself (RFC 6749 §5.2), by servers that give tokens for it all the same."""


class GenericOAuth2Provider(StaysHere, BaseOAuth2Provider):
    """Asks the token endpoint of *config*. Thread-safe.

    :param config: who asks, where, and for what.
    :param token_endpoint_auth_method: ``client_secret_basic`` or ``client_secret_post``.
    :param form_encode_credentials: ``False`` for a server that wants the parts of HTTP Basic as
        they are, and not form-encoded first as RFC 6749 §2.3.1 says.
    :param default_lifetime_seconds: how long a token lives whose server does not say; an hour
        by default.
    :param connect_timeout: seconds to wait for a connection, and for its TLS.
    :param read_timeout: seconds to wait for each piece of the answer.
    :param total_timeout: seconds for a whole request, a server that drips included.
    :param verify: a CA file of one's own; else ``REQUESTS_CA_BUNDLE`` and the usual ones count.
    :param session: a ``requests.Session`` of one's own; it is not closed here.
    :param clock: where the time comes from; in tests the keeper's.
    :param buffer_seconds: how long before its end a token is renewed; 300 by default.
    :param retry: what to do about failures that may pass; ``None`` for the keeper's policy.
    :raises InvalidConfigurationError: for an option that can't work.
    """

    def __init__(
        self,
        config: OAuth2Config,
        *,
        token_endpoint_auth_method: str = "client_secret_basic",
        form_encode_credentials: bool = True,
        default_lifetime_seconds: float = DEFAULT_LIFETIME_SECONDS,
        connect_timeout: float = 5.0,
        read_timeout: float = 10.0,
        total_timeout: float = 30.0,
        verify: bool | str | os.PathLike[str] | None = None,
        session: requests.Session | None = None,
        clock: Clock = SYSTEM_CLOCK,
        buffer_seconds: float = DEFAULT_BUFFER_SECONDS,
        retry: RetryPolicy | None = None,
    ) -> None:
        if not isinstance(config, OAuth2Config):
            raise InvalidConfigurationError(
                f"config must be an OAuth2Config, not {type(config).__name__}", field="config"
            )
        super().__init__(config.provider_name, buffer_seconds=buffer_seconds, retry=retry)
        self._config = config
        self._clock = clock
        self._warned: set[str] = set()
        self._may_refresh = True  # until a server that gives refresh tokens takes none
        with naming(config.provider_name):
            self._client = client_auth(
                token_endpoint_auth_method,
                config.client_id,
                config.client_secret,
                form_encode=form_encode_credentials,
            )
            self._default_lifetime = checked_seconds(
                default_lifetime_seconds, "default_lifetime_seconds"
            )
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
        """Ask for a token by client credentials (RFC 6749 §4.4.2), once."""
        scope = str(self._config.scope or "")
        return self._request({"grant_type": "client_credentials", "scope": scope}, scope)

    @without_frames
    def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Ask for a token by the refresh token, where the server gave one (RFC 6749 §6), once.

        The scope is left out of the request, which asks for the one that was granted: a server
        that had narrowed it refuses the wider one. A refresh token that the server refuses is
        given up for client credentials, and all later ones with it where this client may not
        refresh at all.
        """
        if token.refresh_token is None or not self._may_refresh:
            return self.acquire_token()
        grant = {"grant_type": "refresh_token", "refresh_token": token.refresh_token}
        try:
            renewed = self._request(grant, token.scope)
        except TokenAcquisitionError as refused:
            if refused.error in _GRANT_REFUSED:
                self._may_refresh = False
            elif refused.error not in ("invalid_grant", "invalid_scope"):
                raise
            return self.acquire_token()
        if renewed.refresh_token is None:  # §6: the old one stays good where none is given
            renewed = replace(renewed, refresh_token=token.refresh_token)
        return renewed

    def _request(self, grant: dict[str, str], scope: str | None) -> OAuth2Token:
        return request_token(
            self._transport,
            self._config,
            self._client,
            grant,
            scope=scope or None,
            clock=self._clock,
            default_lifetime=self._default_lifetime,
            warned=self._warned,
        )

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.provider_name!r} at {shown_url(self._config.token_url)}>"
        )
