"""``confluent-kafka``: an ``oauth_cb`` for SASL/OAUTHBEARER, and an ``error_cb`` beside it.

Add :func:`configuration` to the configuration of a client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import suppress
from inspect import isawaitable
from typing import Any, NamedTuple

from confluent_kafka import KafkaError

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper._support.proofs import as_bearer
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.source import TokenSource

__all__ = ["KeeperOAuthCallback", "configuration"]

STATED_SECONDS = 10.0
"""The longest lifetime that librdkafka gets to see. It keeps a token for 80 % of its lifetime, even
if brokers reject it, and can't be given another one before. So it asks every eight seconds, which
costs a look at the cache, and the current token is never older than that."""

SETTLING_SECONDS = 2.0
"""For this long after librdkafka got another token, errors are those of the previous one: they wait
until the application polls."""


class _Given(NamedTuple):
    token: Hidden[str]
    since: float


class _Done(Coroutine[None, None, None]):
    """A coroutine that does nothing, and need not be awaited.

    The clients of ``confluent_kafka.aio`` await what a callback returns, and some versions want a
    coroutine. A real one that a blocking client ignored would cause a ``RuntimeWarning``.
    """

    def send(self, value: None) -> None:
        raise StopIteration

    def throw(self, *error: Any) -> None:
        raise error[0]

    def close(self) -> None:
        pass

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_DONE = _Done()


def configuration(
    source: TokenSource,
    *,
    principal: str = "",
    extensions: Mapping[str, str] | None = None,
    error_cb: Callable[[KafkaError], object] | None = None,
) -> dict[str, Any]:
    """Return the configuration of a client: its mechanism and its callbacks. Call it once for each.

    :param source: the source of the token.
    :param principal: the principal name, for librdkafka's messages; none by default.
    :param extensions: SASL extensions, such as ``{"logicalCluster": "lkc-1"}``; none by default.
    :param error_cb: your own ``error_cb``, which gets every error as well. The clients of
        ``confluent_kafka.aio`` take an ``async def``.
    """
    callback = KeeperOAuthCallback(source, principal=principal, extensions=extensions)

    def on_error(error: KafkaError) -> Awaitable[object]:
        callback.on_error(error)
        result = None if error_cb is None else error_cb(error)
        return result if isawaitable(result) else _DONE  # a blocking client ignores it

    return {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": callback, "error_cb": on_error}


class KeeperOAuthCallback(NotPicklable):
    """Gives one client the current token, on librdkafka's background thread.

    When a broker rejects it, :meth:`on_error` starts a renewal, and the client has the new token
    within eight seconds. However many clients are rejected at once, one renewal follows.

    :func:`configuration` sets both callbacks; its parameters are the same.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        principal: str = "",
        extensions: Mapping[str, str] | None = None,
    ) -> None:
        self._source = source
        self._principal = principal
        self._extensions = dict(extensions or {})
        self._given: _Given | None = None

    def __call__(self, config: str | None = None) -> tuple[str, float, str, dict[str, str]]:
        """Return a valid token and when to ask again, in seconds since the epoch.

        :param config: ``sasl.oauthbearer.config``, which is not used.
        :raises OAuth2Error: if there is none. librdkafka asks again after ten seconds.
        """
        given, self._given = self._given, None  # librdkafka reports our failure as an error too
        token = self._source.token()
        hidden = Hidden(as_bearer(token, self._source.name.provider_name))
        if given is None or given.token != hidden:
            given = _Given(hidden, SYSTEM_CLOCK.monotonic())
        self._given = given
        expiry = min(token.expires_at.timestamp(), SYSTEM_CLOCK.time() + STATED_SECONDS)
        return token.access_token, expiry, self._principal, self._extensions

    def on_error(self, error: KafkaError) -> None:
        """Start a renewal if *error* is that a broker rejected the token."""
        given = self._given
        if error.code() != KafkaError._AUTHENTICATION or given is None:  # noqa: SLF001 - its name
            return
        if SYSTEM_CLOCK.monotonic() - given.since >= SETTLING_SECONDS:
            with suppress(OAuth2Error):  # such as TokenWaitTimeoutError
                self._source.renew_refused(given.token.text, timeout=0)
