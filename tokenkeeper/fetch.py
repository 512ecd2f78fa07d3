"""One request to a provider, and whether what comes back is a live token."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from tokenkeeper import portal
from tokenkeeper.clock import Clock, Instant, instant
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.held import HeldToken
from tokenkeeper.models import OAuth2Token
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.schedule import deadlines, lifetime_seconds

__all__ = ["fetch"]

CLOCK_STEP_SECONDS = 1.0
"""Wall and monotonic clock apart by more than this after a request: somebody stepped the first."""


def fetch(
    provider: BaseOAuth2Provider,
    replaces: HeldToken | None,
    *,
    sent: int,
    clock: Clock,
    jitter: Callable[[], float],
) -> HeldToken:
    """Ask *provider* once for a token, in the place of *replaces* if there was one. Blocks.

    :param sent: the keeper's count as the request leaves.
    :raises TokenAcquisitionError: if what comes back is no token, or was dead when it came.
    :raises Exception: what the provider raises.
    """
    before = instant(clock)
    token = _ask(provider, replaces, before)
    after = instant(clock)
    name = provider.provider_name
    if not isinstance(token, OAuth2Token):
        raise TokenAcquisitionError(
            f"provider {name!r} returned {type(token).__name__}, not OAuth2Token: mend it",
            provider_name=name,
            transient=False,
        )
    lifetime = lifetime_seconds(token.expires_at.timestamp(), before, after)
    times = deadlines(before.monotonic, lifetime, provider.buffer_seconds, jitter())
    if after.monotonic < times.dead_at:
        return HeldToken.of(token, times, sent, replaces)
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


def _ask(provider: BaseOAuth2Provider, replaces: HeldToken | None, now: Instant) -> object:
    try:
        with _naming_the_host(provider.provider_name):
            if replaces is None:
                return portal.call(provider.acquire_token)
            return portal.call(provider.refresh_token, _as_it_is(replaces, now))
    except RecursionError:
        pass  # and raise out here: its traceback is a thousand frames long
    raise TokenAcquisitionError(
        f"provider {provider.provider_name!r} called itself without end: check that "
        "acquire_token and refresh_token do not call each other",
        provider_name=provider.provider_name,
        transient=False,
    )


def _as_it_is(held: HeldToken, now: Instant) -> OAuth2Token:
    """Return the token of *held*, expired if nobody gets it any more: an API refused it, perhaps.

    A provider with a second way to a token takes it then. It can't tell by the wall clock alone.
    """
    token = held.token
    if now.monotonic < held.dead_at:
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
