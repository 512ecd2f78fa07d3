"""One request to a provider, and whether what comes back is a live token."""

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
"""A server that answers well, and wants to be asked again within this time, only said that it is
too early to ask."""

AFTER_EXPIRY_SECONDS = 0.1
"""Where a server grants no other token until one has expired, it is asked so long after the expiry:
the token began to live while the first request was on its way."""


def request_token(
    provider: BaseOAuth2Provider,
    replaces: CachedToken | None,
    *,
    sent: int,
    clock: Clock,
    jitter: Callable[[], float],
    refused: bool = False,
) -> CachedToken:
    """Ask *provider* once for a token, in the place of *replaces* if there was one. Blocks.

    :param sent: the keeper's count as the request leaves.
    :param refused: whether an API refused the token that is replaced.
    :raises TokenAcquisitionError: if what comes back is no token, or was dead when it came.
    :raises Exception: what the provider raises.
    """
    before = instant(clock)
    token = _ask(provider, replaces, before, refused=refused)
    after = instant(clock)
    name = provider.provider_name
    if not isinstance(token, OAuth2Token):
        raise TokenAcquisitionError(
            f"provider {name!r} returned {type(token).__name__}, not OAuth2Token: mend it",
            provider_name=name,
            transient=False,
        )
    lifetime = lifetime_seconds(token.expires_at.timestamp(), before, after)
    same = _same_token(token, replaces, before.monotonic + lifetime, before, after)
    if same is not None and after.monotonic >= same.dead_at:
        wait = max(SOON_SECONDS, same.ends_at - after.monotonic + AFTER_EXPIRY_SECONDS)
        raise TokenAcquisitionError(
            f"provider {name!r}: the server granted the same token again, which is about to "
            f"expire; another one is requested in {wait:.1f} s",
            provider_name=name,
            transient=True,
            retry_after=wait,
        )
    times = same or deadlines(
        before.monotonic,
        lifetime,
        provider.buffer_seconds,
        jitter(),
        _refresh_after(token, before, after),
    )
    if after.monotonic < times.dead_at:
        return CachedToken.of(token, times, sent, replaces, after.offset)
    took = after.monotonic - before.monotonic
    stepped = abs(after.wall - before.wall - took) > CLOCK_STEP_SECONDS
    if stepped:
        advice = "the clock was stepped meanwhile"
    elif lifetime > 0:
        advice = "the server is slow for so short a life: it may pass, or ask for a longer one"
    else:
        advice = "mend the provider, or the clock of this machine or of the server"
    raise TokenAcquisitionError(
        f"provider {name!r}: the token was dead when it arrived: it had {lifetime:.1f} s to live "
        f"and the request took {took:.1f} s; {advice}",
        provider_name=name,
        transient=lifetime > 0 or stepped,
    )


def _ask(
    provider: BaseOAuth2Provider, replaces: CachedToken | None, now: Instant, *, refused: bool
) -> object:
    """Call *provider*, once."""
    try:
        with _naming_the_host(provider.provider_name):
            if replaces is None:
                return provider_loop.call(provider.acquire_token)
            method = provider.replace_refused_token if refused else provider.refresh_token
            return provider_loop.call(method, _as_it_is(replaces, now, refused=refused))
    except RecursionError:
        pass  # and raise out here: its traceback is a thousand frames long
    except TokenAcquisitionError as error:
        # Less than a second is left, and callers may be waiting.
        if replaces is not None and moment(error) is not None:
            error.retry_after = SOON_SECONDS
        raise
    raise TokenAcquisitionError(
        f"provider {provider.provider_name!r} called itself without end: check that "
        "acquire_token and refresh_token do not call each other",
        provider_name=provider.provider_name,
        transient=False,
    )


def _as_it_is(cached: CachedToken, now: Instant, *, refused: bool) -> OAuth2Token:
    """Return the token of *held*, expired if nobody gets it any more, or an API refused it.

    A provider with a second way to a token takes it then. It can't tell by the wall clock alone.
    """
    token = cached.token
    if now.monotonic < cached.dead_at and not refused:
        return token
    return replace(token, expires_at=min(token.expires_at, datetime.fromtimestamp(now.wall, UTC)))


_NO_THREAD = (
    "can't start new thread",
    "can't create new thread",  # as the interpreter ends
    "thread is not supported for isolated subinterpreters",
    "daemon threads are disabled",
    "cannot schedule new futures",  # of an executor, as the interpreter ends
)
"""How Python says that there is no thread to be had."""


@contextmanager
def _naming_the_host(provider_name: str) -> Iterator[None]:
    """Blame the host, not the provider, where the provider needs a thread and gets none."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(_NO_THREAD):
            raise
        raise TokenAcquisitionError(
            f"provider {provider_name!r} needs a thread, and this host starts none: {error}. Raise "
            "the host's limit, or use a provider that makes its request on the calling thread",
            provider_name=provider_name,
            transient=threading.main_thread().is_alive(),  # else the interpreter ends
        ) from error


def moment(error: TokenAcquisitionError) -> float | None:
    """Return how long to wait after an answer that only said that it is too early to ask."""
    wait = error.retry_after
    answered_well = error.status_code in (None, 200) and error.error is None and is_transient(error)
    return wait if answered_well and wait and wait <= LONGEST_MOMENT_SECONDS else None


def _same_token(
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
    """Return after how many seconds the server wants *token* renewed, where it says so."""
    if token.refresh_at is None:
        return None
    return lifetime_seconds(token.refresh_at.timestamp(), before, after)
