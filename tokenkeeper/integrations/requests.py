"""``requests``: an ``auth=`` that adds the token to each request, and renews a refused one once."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import requests
import requests.adapters
import requests.auth

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.authorization import carries
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.integrations._attempts import Attempts, Reason
from tokenkeeper.integrations._bodies import position_of, rewind
from tokenkeeper.integrations._hosts import AllowedHosts
from tokenkeeper.integrations._requests_certificate import CertificateAdapter
from tokenkeeper.integrations._tokens import ProvenTokens
from tokenkeeper.integrations._unauthorized import Refusal
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.oauth.claims_challenge import claims_in
from tokenkeeper.source import TokenSource

__all__ = ["CertificateAdapter", "KeeperAuth"]


class KeeperAuth(NotPicklable, requests.auth.AuthBase):
    """Authenticates requests with the token of a provider (RFC 6750 §2.1). Thread-safe.

    When an API answers 401, the token that it refused is renewed, and the request is sent again
    with the new one. However many requests are refused at once, one renewal follows. If the second
    answer is a 401 as well, the caller gets it. A body that can be read only once, such as a
    generator's, is not sent again: the caller gets the 401 at once, and the next request has the
    new token. If the API refuses tokens that were just granted, no others are requested for a
    while, and callers get each 401.

    If the session presents a client certificate (``session.cert``), a token may be bound to it (RFC
    8705 §3). After the files were replaced, a connection that was opened before still presents the
    old certificate. So after a 401, the session's idle connections are dropped, and the request is
    sent once more with the current token before that is taken for refused.
    ``CertificateAdapter`` needs no such attempt.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    :param allowed_hosts: the hosts that may get the token, such as ``"api.example.com"``,
        ``".example.com"`` or ``"api.example.com:8443"``. By default every host that you call by
        https, and loopback by http as well. ``"http://api.internal"`` allows plain http. A
        redirect to another host, scheme or port never takes the token along, except from http up
        to https on the usual ports of the same host.
    :param timeout: seconds to wait for a token at most; by default there is no limit.
    """

    def __init__(
        self,
        keeper: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        *,
        allowed_hosts: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> None:
        self._tokens = ProvenTokens(keeper, provider_name, timeout)
        self._hosts = AllowedHosts(self._tokens.provider_name, allowed_hosts)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token to *request*.

        :raises OAuth2Error: if there is no token, or the host may not get it.
        """
        self._hosts.check(request.url or "")
        attempts = Attempts(self._tokens, self._tokens.get())
        attempts.authorize(request.headers, request.method or "", request.url)
        responses = _Responses(self._tokens, attempts, position_of(request.body))
        request.register_hook("response", responses.handle)  # type: ignore[no-untyped-call]
        return request

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeeperAuth) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self._tokens)


class _Responses:
    """Handles the response to one request, and those to the requests that redirects make of it."""

    def __init__(self, tokens: ProvenTokens, attempts: Attempts, position: int | None) -> None:
        self._tokens = tokens
        self._attempts = attempts
        self._position = position
        self._resent: requests.PreparedRequest | None = None

    def handle(self, response: requests.Response, **options: Any) -> requests.Response:
        """Return *response*, or the one to the same request with a new token or proof."""
        if response.request is self._resent:  # by the caller; what we send again has no hook
            self._resent = None
            self._attempts = Attempts(self._tokens, self._attempts.token)
        # requests calls this hook after a redirect too, but keeps the token within the origin.
        response = self._over_a_new_connection(response, options)
        while reason := self._reason(response):
            refusal = Refusal(
                self._attempts.token,
                can_be_resent=partial(rewind, response.request.body, self._position),
                release=partial(_release, response, is_streamed=bool(options.get("stream"))),
                close=response.close,
                token_is_good=reason is not Reason.REFUSED,
                claims=claims_in(response.headers.get("WWW-Authenticate")),
            )
            token = self._tokens.replace(refusal)
            if token is None:
                break
            self._attempts.token = token
            if options.get("cert"):
                _drop_connections(response.connection)  # the files may be newer than the last one
            response = self._send_again(response, options)
        return response

    def _over_a_new_connection(self, response: requests.Response, options: Any) -> Any:
        """Return *response*, or the one over a new connection, which presents the current files.

        A token may be refused because the connection still presents an older certificate.
        """
        request, token = response.request, self._attempts.token
        if response.status_code != 401 or not options.get("cert") or self._resent is not None:
            return response
        if not carries(request.headers, token) or not _drop_connections(response.connection):
            return response
        if not rewind(request.body, self._position):
            return response
        _release(response, is_streamed=bool(options.get("stream")))
        self._attempts.token = self._tokens.get()
        return self._send_again(response, options)

    def _reason(self, response: requests.Response) -> Reason | None:
        """Return why the request is to be sent again, if it is."""
        if self._attempts.is_done(response.status_code):
            return None
        request = response.request
        return self._attempts.again(
            response.status_code, response.headers, request.url, request.headers
        )

    def _send_again(self, refused: requests.Response, options: Any) -> requests.Response:
        request = self._resent = refused.request
        refused.request = request.copy()
        # Changed in place: requests makes the next request of a redirect from this one.
        self._attempts.authorize(request.headers, request.method or "", request.url)
        sent_at = SYSTEM_CLOCK.monotonic()
        response = refused.connection.send(request, **options)
        response.elapsed = timedelta(seconds=SYSTEM_CLOCK.monotonic() - sent_at)
        response.history += [*refused.history, refused]
        return response


def _drop_connections(adapter: Any) -> bool:
    """Drop the idle connections of *adapter*, so that the next one presents the current files.

    Connections in use are closed after their responses. Adapters that do not use urllib3 are left
    alone, and ``False`` is returned.
    """
    if not isinstance(adapter, requests.adapters.HTTPAdapter):
        return False
    adapter.close()  # it can be used again: requests opens new pools
    return True


def _release(response: requests.Response, *, is_streamed: bool) -> None:
    """Free the connection of *response*."""
    if not is_streamed:  # a streamed body may have no end
        with suppress(requests.RequestException):
            _ = response.content  # once it is read to the end, the connection can be used again
    response.close()
