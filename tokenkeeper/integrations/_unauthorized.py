"""The 401 flow: what happens when an API refuses a token. Written once, for all client libraries.

.. code-block:: text

    an API answers 401 (gRPC: UNAUTHENTICATED) to a request that carried our token
    |
    +-- the request can't be sent again, or the keeper requests no token for now
    |       start a renewal, without waiting for it     -> the caller gets the 401 at once
    |
    +-- otherwise
            release the response, to free its connection
            renew the token, and wait for it            -> the request is sent again, once

:func:`unauthorized_flow` decides and yields each step that does I/O. :func:`run` and
:func:`run_async` perform the steps, so that blocking and async clients share the decisions. The
modules of the clients translate: they notice the 401, describe it as a :class:`Refusal`, and send
the request again. They never send it a third time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any, Protocol, TypeAlias

from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import OAuth2Error, TokenRejectedError

__all__ = ["Flow", "Refusal", "Tokens", "run", "run_async", "unauthorized_flow"]

_log = logging.getLogger("tokenkeeper.integrations")

RENEWED = "provider %r: the API refused the token. It was renewed; the request is sent again."
NOT_REPEATABLE = (
    "provider %r: the API refused the token. A renewal was started, but this request can't be "
    "sent again; its caller gets the refusal."
)
PAUSED = (
    "provider %r: the API refused the token, as it did with others that had just been granted. "
    "None is requested for now; the caller gets the refusal."
)
UNCHANGED = "provider %r: the API refused the token, and no other one was granted."


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response that refused a token, as the client's module sees it.

    Each callable is called at most once. An async client's may return an awaitable, except for
    *can_be_resent*.

    :ivar token: the token that the request carried.
    :ivar can_be_resent: returns whether all of the request can be sent again; rewinds its body.
    :ivar release: frees the connection of the response. The caller can no longer get this
        response. ``None`` if it stays available while the token is renewed, as in gRPC.
    :ivar close: drops the response because the caller was interrupted, and will never see it.
    :ivar claims: what the response demands of another token, as JSON; ``None`` if nothing.
    """

    token: Hidden[str]
    can_be_resent: Callable[[], bool]
    release: Callable[[], object] | None = None
    close: Callable[[], object] = lambda: None
    claims: str | None = None


class Tokens(Protocol):
    """The tokens of one provider. ``renew`` may be an ``async def``."""

    @property
    def provider_name(self) -> str: ...

    @property
    def timeout(self) -> float | None: ...

    def would_reject(self, token: Hidden[str], /) -> bool:
        """Return whether refusing *token* would cause no renewal now."""
        ...

    def renew(self, token: Hidden[str], /, timeout: float | None, claims: str | None = None) -> Any:
        """Return a token that replaces *token*, after waiting *timeout* seconds at most."""
        ...


Step: TypeAlias = Callable[[], object]
Flow: TypeAlias = Generator[Step, Any, Hidden[str] | None]


def unauthorized_flow(tokens: Tokens, refusal: Refusal) -> Flow:
    """Yield the steps that follow *refusal*; expect the result, or error, of each.

    :returns: the token to send the request again with, or ``None`` if the refusal is the caller's.
    :raises OAuth2Error: if renewing the token fails.
    """
    # The keeper is asked first: rewinding a body that is not sent again is of no use.
    paused = tokens.would_reject(refusal.token)
    if paused or not refusal.can_be_resent():
        _log.debug(PAUSED if paused else NOT_REPEATABLE, tokens.provider_name)
        yield from _start_renewal(tokens, refusal)
        return None
    if refusal.release is not None:
        try:
            yield refusal.release
        except Exception:
            yield from _start_renewal(tokens, refusal)
            raise
    try:
        token: Hidden[str] = yield partial(
            tokens.renew, refusal.token, tokens.timeout, refusal.claims
        )
    except TokenRejectedError:
        _log.debug(UNCHANGED, tokens.provider_name)
        # A response that was released is lost. Sending the request again brings another one,
        # which is the API's own answer, and says more than this error.
        return None if refusal.release is None else refusal.token
    _log.debug(RENEWED, tokens.provider_name)
    return token


def _start_renewal(tokens: Tokens, refusal: Refusal) -> Generator[Step, Any, None]:
    """Have the token renewed for later requests. The caller of this one does not wait for it."""
    try:
        yield partial(tokens.renew, refusal.token, 0, refusal.claims)
    except OAuth2Error:
        pass  # TokenWaitTimeoutError, or an error that the next request gets as well
    except BaseException:  # such as a cancellation
        yield refusal.close
        raise


def run(flow: Flow) -> Hidden[str] | None:
    """Perform the steps of *flow* for a blocking client; return what it returns."""
    try:
        step = next(flow)
        while True:
            try:
                result = step()
            except BaseException as error:  # noqa: BLE001 - the flow decides, and raises it again
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def run_async(flow: Flow) -> Hidden[str] | None:
    """Perform the steps of *flow* for an async client; return what it returns."""
    try:
        step = next(flow)
        while True:
            try:
                result = step()
                if isawaitable(result):
                    result = await result
            except BaseException as error:  # noqa: BLE001 - the flow decides, and raises it again
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
