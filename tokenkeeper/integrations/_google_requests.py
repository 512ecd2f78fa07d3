"""The requests of google-auth, made by our transport, and the secrets in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import google.auth.transport

from tokenkeeper._support.checks import names_a_secret
from tokenkeeper.clock import Clock
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.time_values import as_timestamp
from tokenkeeper.oauth.token_response import parse_token_response
from tokenkeeper.oauth.transport import HttpTransport

__all__ = ["GuardedRequest", "secrets_of"]

_SECRET_ATTRIBUTES = ("_client_secret", "client_secret", "_refresh_token", "refresh_token", "token")
"""Attributes of google-auth's credentials that no message may show."""


class GuardedRequest(google.auth.transport.Request):
    """Makes google-auth's requests with our transport, for one renewal.

    It raises our errors for network failures, redirects and temporary statuses. google-auth would
    retry those itself, but retries are up to the keeper's policy.
    """

    def __init__(
        self, transport: HttpTransport, clock: Clock, provider_name: str, credentials: object
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._provider_name = provider_name
        self._credentials = credentials
        self.secrets: list[str] = []  # of the requests so far, such as assertions
        self.was_refused = False  # whether the last answer was an error
        self.sent_at: float | None = None  # of the last one
        self.latest_expiry: datetime | None = None  # of a token in the last answer
        self._server_ahead = 0.0  # seconds by which our clock is slow, if the answer is right

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Answer:
        """Make a request, with the timeouts of the provider."""
        self.sent_at = sent_at = self._clock.time()
        self.secrets += _secrets_in(body, headers)
        answer = self._transport.request(
            method, url, provider_name=self._provider_name, data=body, headers=headers
        )
        status = answer.status
        self.was_refused = not answer.ok
        self.latest_expiry = _latest_expiry(answer, sent_at)
        date = as_timestamp(answer.headers.get("date"))
        self._server_ahead = max(0.0, (date or 0.0) - self._clock.time())
        if 300 <= status < 400 or status in (408, 429) or status >= 500:
            secrets = [*secrets_of(self._credentials), *self.secrets]
            parse_token_response(answer, Expected(self._provider_name, sent_at, None, secrets))
        return _Answer(answer)

    def on_our_clock(self, expiry: datetime) -> datetime:
        """Return an *expiry* on the server's clock as one on ours, if that is slow."""
        ours = expiry - timedelta(seconds=self._server_ahead)
        is_credible = ours.timestamp() > self._clock.time()  # a proxy may have set a wrong date
        return ours if is_credible else expiry


class _Answer(google.auth.transport.Response):
    """A response with the attributes that google-auth reads."""

    def __init__(self, answer: HttpAnswer) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        return _CaseInsensitive(self._answer.headers)

    @property
    def data(self) -> bytes:
        return self._answer.body


class _CaseInsensitive(dict[str, str]):
    """Headers that are found by a name in any case. The keys are in lower case."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())


def _latest_expiry(answer: HttpAnswer, sent_at: float) -> datetime | None:
    """Return when a token in *answer* expires at the latest; ``None`` if that is not stated.

    google-auth counts from the moment when the answer had arrived, which may be much later.
    """
    try:
        lifetime = float(json.loads(answer.body)["expires_in"])
        return datetime.fromtimestamp(sent_at + lifetime, UTC)
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError):
        return None


def secrets_of(credentials: object) -> list[str]:
    """Return the secrets of *credentials*, and of their source credentials."""
    found = [getattr(credentials, name, None) for name in _SECRET_ATTRIBUTES]
    source = getattr(credentials, "_source_credentials", None)
    below = secrets_of(source) if source is not None else []
    return [each for each in found if isinstance(each, str)] + below


def _secrets_in(body: bytes | str | None, headers: Mapping[str, str] | None) -> Iterator[str]:
    """Return the secrets of a request: those in its form, and that of its authorization."""
    for name, value in (headers or {}).items():
        if name.lower() == "authorization":
            yield value.partition(" ")[2]
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body or ""
    for name, value in parse_qsl(text):
        if names_a_secret(name):
            yield value
