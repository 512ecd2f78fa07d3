"""One token request to a provider, and whether the token that it brings is still alive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._runtime import provider_loop
from tokenkeeper._runtime.clock_steps import CLOCK_STEP_SECONDS
from tokenkeeper.clock import Clock, Instant, instant
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import is_transient
from tokenkeeper.schedule import (
    SOON_SECONDS,
    Deadlines,
    deadlines,
    deadlines_of_same_token,
    lifetime_seconds,
)

__all__ = ["LONGEST_MOMENT_SECONDS", "moment", "request_token"]

LONGEST_MOMENT_SECONDS = 2.0
"""A server that answers without an error, and wants to be asked again within this time, only said
that it is too early to ask."""

AFTER_EXPIRY_SECONDS = 0.1
"""Where a server grants no other token until one has expired, it is asked this long after the
expiry: the token began to live while the first request was on its way."""


def request_token(
    provider: BaseOAuth2Provider,
    replaces: CachedToken | None,
    *,
    sent: int,
    clock: Clock,
    jitter: Callable[[], float],
    refused: bool = False,
    claims: str | None = None,
    useless: Callable[[CachedToken], None] | None = None,
) -> CachedToken:
    """Ask *provider* once for a token in place of *replaces*, if there was one. Blocks.

    :param sent: the sequence number of this request.
    :param refused: whether an API rejected the token that is replaced.
    :param claims: what the API demands of another one; by default nothing.
    :param useless: called with a token that can't be served, before the error: its refresh token
        may be the only good one.
    :raises TokenAcquisitionError: if what comes back is not a token, or is no longer usable.
    :raises Exception: what the provider raises.
    """
    before = instant(clock)
    token = _granted_token(
        provider, _ask(provider, replaces, before, refused=refused, claims=claims)
    )
    after = instant(clock)
    lifetime = lifetime_seconds(token.expires_at.timestamp(), before, after)
    same = _deadlines_if_same(token, replaces, before.monotonic + lifetime, before, after)
    times = same or deadlines(
        before.monotonic,
        lifetime,
        provider.buffer_seconds,
        jitter(),
        _refresh_after(token, before, after),
    )
    cached = CachedToken.of(
        token, times, sent, replaces, after.offset, requested_at=before.monotonic
    )
    if after.monotonic >= times.dead_at:
        if useless is not None:
            useless(cached)
        if same is not None:
            raise _granted_again(provider.provider_name, same.ends_at - after.monotonic)
        raise _dead_on_arrival(provider.provider_name, lifetime, before, after)
    return cached


def _ask(
    provider: BaseOAuth2Provider,
    replaces: CachedToken | None,
    now: Instant,
    *,
    refused: bool,
    claims: str | None,
) -> object:
    """Call *provider*, once."""
    try:
        with _threads_explained(provider.provider_name):
            if replaces is None:
                return provider_loop.call(provider.acquire_token)
            token = _for_provider(replaces, now, refused=refused)
            if refused and claims is not None:
                return provider_loop.call(provider.replace_challenged_token, token, claims)
            method = provider.replace_refused_token if refused else provider.refresh_token
            return provider_loop.call(method, token)
    except RecursionError:
        pass  # and raise below: its traceback is a thousand frames long
    except TokenAcquisitionError as error:
        # The token has less than a second left, and callers may be waiting.
        if replaces is not None and moment(error) is not None:
            error.retry_after = SOON_SECONDS
        raise
    raise TokenAcquisitionError(
        f"provider {provider.provider_name!r} called itself endlessly. Check that acquire_token "
        "and refresh_token do not call each other.",
        provider_name=provider.provider_name,
        transient=False,
    )


def _granted_token(provider: BaseOAuth2Provider, answer: object) -> OAuth2Token:
    if not isinstance(answer, OAuth2Token):
        raise TokenAcquisitionError(
            f"provider {provider.provider_name!r} returned {type(answer).__name__}. It must return "
            "an OAuth2Token.",
            provider_name=provider.provider_name,
            transient=False,
        )
    return answer


def _for_provider(cached: CachedToken, now: Instant, *, refused: bool) -> OAuth2Token:
    """Return the token of *cached*, marked as expired if it is no longer served.

    A provider that has a second way to a token takes it then. The wall clock alone can't tell.
    """
    token = cached.token
    if now.monotonic < cached.dead_at and not refused:
        return token
    return replace(token, expires_at=min(token.expires_at, datetime.fromtimestamp(now.wall, UTC)))


# ---- tokens that can't be used


def _granted_again(name: str, remaining: float) -> TokenAcquisitionError:
    """Return the error for a token that the server granted before, and that is about to expire."""
    wait = max(SOON_SECONDS, remaining + AFTER_EXPIRY_SECONDS)
    return TokenAcquisitionError(
        f"provider {name!r}: the server granted the same token again, and it is about to expire. "
        f"The next request follows in {wait:.1f} s.",
        provider_name=name,
        transient=True,
        retry_after=wait,
    )


def _dead_on_arrival(
    name: str, lifetime: float, before: Instant, after: Instant
) -> TokenAcquisitionError:
    """Return the error for a token that expired before it arrived."""
    took = after.monotonic - before.monotonic
    stepped = abs(after.wall - before.wall - took) > CLOCK_STEP_SECONDS
    if lifetime > 0:
        what = f"the token expired before it arrived: it was valid for {lifetime:.1f} s"
    else:
        what = "the token had already expired when it was granted"
    if stepped:
        advice = "The clock was set during the request, so another one may succeed."
    elif lifetime > 0:
        advice = "If this persists, have the server grant a longer lifetime."
    else:
        advice = "Check the clocks of this machine and of the server, or fix the provider."
    return TokenAcquisitionError(
        f"provider {name!r}: {what}, and the request took {took:.1f} s. {advice}",
        provider_name=name,
        transient=lifetime > 0 or stepped,
    )


def moment(error: TokenAcquisitionError) -> float | None:
    """Return how long to wait after an answer that only said that it is too early to ask."""
    wait = error.retry_after
    is_refusal = error.status_code not in (None, 200) or error.error is not None
    if is_refusal or not is_transient(error):
        return None
    return wait if wait and wait <= LONGEST_MOMENT_SECONDS else None


# ---- the life of a token


def _deadlines_if_same(
    token: OAuth2Token,
    replaces: CachedToken | None,
    ends_at: float,
    before: Instant,
    after: Instant,
) -> Deadlines | None:
    """Return the deadlines of *token* if it is the one that it replaces, with the same expiry."""
    if replaces is None or token.access_token != replaces.access_token:
        return None
    return deadlines_of_same_token(replaces.times, ends_at, before.monotonic, after.monotonic)


def _refresh_after(token: OAuth2Token, before: Instant, after: Instant) -> float | None:
    """Return after how many seconds the server wants *token* renewed, if it says so."""
    if token.refresh_at is None:
        return None
    return lifetime_seconds(token.refresh_at.timestamp(), before, after)


# ---- hosts without threads

_NO_THREAD = (
    "can't start new thread",
    "can't create new thread",  # as the interpreter ends
    "thread is not supported for isolated subinterpreters",
    "daemon threads are disabled",
    "cannot schedule new futures",  # of an executor, as the interpreter ends
)
"""How Python reports that it can't start a thread."""


@contextmanager
def _threads_explained(provider_name: str) -> Iterator[None]:
    """Blame the host, not the provider, where the provider needs a thread and gets none."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(_NO_THREAD):
            raise
        raise TokenAcquisitionError(
            f"provider {provider_name!r} needs a thread, and this host starts none ({error}). "
            "Raise the host's limit, or use a provider that makes its request on the calling "
            "thread.",
            provider_name=provider_name,
            transient=threading.main_thread().is_alive(),  # otherwise the interpreter is ending
        ) from error
