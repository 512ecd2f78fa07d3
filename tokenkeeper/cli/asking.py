"""Asks a keeper for tokens, as a process does that ends right afterwards."""

from __future__ import annotations

import os
import socket
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import (
    ConfigurationWarning,
    OAuth2Error,
    StoreUnavailableError,
    TokenWaitTimeoutError,
)
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import NO_PARAMETERS, TokenName, TokenParameters
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.stores.contents import StoredFailure
from tokenkeeper.stores.naming import record_key_of
from tokenkeeper.stores.settings import StoreSettings

__all__ = [
    "Answer",
    "ask",
    "brief_keeper",
    "release_claim",
    "timeout_message",
    "variant_of",
    "warn_about_store",
]

MOST_THREADS = 32


@dataclass(frozen=True)
class Answer:
    """What a keeper answered.

    :ivar token: the token, which is still valid; ``None`` without one.
    :ivar error: why there is none.
    :ivar timed_out: whether a request was still under way after the timeout.
    """

    token: OAuth2Token | None = None
    error: BaseException | None = None
    timed_out: bool = False


def brief_keeper(settings: StoreSettings | None) -> TokenKeeper:
    """Return a keeper that renews what is due where it is asked, and shares no refusal.

    A person who has corrected a secret must not wait until an earlier refusal is forgotten.
    """
    return TokenKeeper(background=False, cooldown_seconds=0, store=settings)


def ask(
    keeper: TokenKeeper, names: Sequence[str], *, timeout: float, force: bool = False
) -> dict[str, Answer]:
    """Return the answer for each of the tokens *names*, after *timeout* seconds at the latest.

    A stored token that is due is renewed; if that fails, or takes too long, it is the answer.

    :param keeper: one of :func:`brief_keeper`.
    """
    waiting: SimpleQueue[str] = SimpleQueue()
    answers: SimpleQueue[tuple[str, Answer, bool]] = SimpleQueue()
    for name in names:
        waiting.put(name)

    def work() -> None:
        with suppress(Empty):
            while True:
                name = waiting.get_nowait()
                try:
                    token = keeper.get_oauth2_token(name, force_refresh=force, timeout=timeout)
                    if not force:
                        # The first call takes a stored token over, this one renews it if it is due.
                        answers.put((name, Answer(token), False))
                        token = keeper.get_oauth2_token(name, timeout=timeout)
                    answer = Answer(token)
                except TokenWaitTimeoutError:
                    answer = Answer(timed_out=True)
                except BaseException as error:  # noqa: BLE001 - raised on the main thread
                    answer = Answer(error=error)
                answers.put((name, answer, True))

    deadline = SYSTEM_CLOCK.monotonic() + timeout
    for _ in range(min(len(names), MOST_THREADS)):
        # A thread that can be abandoned, because a request may hang.
        threading.Thread(target=work, name="tokenkeeper-ask", daemon=True).start()
    found: dict[str, Answer] = {}
    left = set(names)
    with suppress(Empty):
        while left:
            seconds = max(0.0, deadline - SYSTEM_CLOCK.monotonic())
            name, answer, is_last = answers.get(timeout=seconds)
            found[name] = answer
            if is_last:
                left.discard(name)
    for name in left:
        token = found[name].token if name in found else None
        found[name] = Answer(token if _is_valid(keeper, name) else None, timed_out=True)
    return found


def _is_valid(keeper: TokenKeeper, name: str) -> bool:
    with suppress(OAuth2Error):
        info = keeper.get_cached_token_info(name)
        return info is not None and info["state"] != "expired"
    return False


def timeout_message(provider: BaseOAuth2Provider, timeout: float) -> str:
    """Return the message for a token of *provider* that did not arrive in time."""
    return f"provider {provider.provider_name!r}: no token within {timeout:g} s (--timeout)"


def variant_of(provider: BaseOAuth2Provider, parameters: TokenParameters) -> BaseOAuth2Provider:
    """Return the provider of the token of *provider* with *parameters*."""
    if parameters == NO_PARAMETERS:
        return provider
    return provider.variant(TokenName.of(provider.provider_name, parameters), parameters)


def release_claim(
    settings: StoreSettings, provider: BaseOAuth2Provider, token_name: str, message: str
) -> None:
    """Release this process's claim on a token, and share *message* as the reason.

    For a request that is abandoned, so that other processes need not wait for it. Raises nothing.
    A request that works once is not abandoned: the end of the process waits for it.

    :param provider: what requests the token; for a token with parameters, its variant.
    """
    if not provider.repeatable:
        return
    store, sealer = settings.store, settings.sealer
    place = f"{socket.gethostname()}:{os.getpid()}"
    key = record_key_of(provider, token_name, sealer)
    failure = StoredFailure(
        message=message,
        token_name=token_name,
        stands_seconds=0.0,
        failures=1,
        reported_by=place,
        transient=True,
    )
    with suppress(StoreUnavailableError):
        record = store.read(key)
        if record.intent.startswith(f"{place} "):
            sealed = sealer.seal(failure.to_bytes(), key, "failure")
            store.fail(key, owner=record.owner, fence=record.fence, sealed=sealed)


def warn_about_store(keeper: TokenKeeper) -> None:
    """Warn if the store of *keeper* could not be used."""
    store = keeper.health().get("store")
    if store is not None and store["last_error"] is not None:
        warnings.warn(
            f"the token could not be stored for the next run: {store['last_error']}",
            ConfigurationWarning,
            stacklevel=2,
        )
