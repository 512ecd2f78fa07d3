"""The helper process: makes one request, stores what comes of it, and exits.

It prints nothing, writes no file, and reads its job from its standard input.
:mod:`~tokenkeeper._renewal.helper_process` starts it.
"""

from __future__ import annotations

import pickle
import random
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import BinaryIO

from tokenkeeper._renewal.adoption import Adoption
from tokenkeeper._renewal.attempt import request_token
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.detached_job import (
    DONE,
    HEADER,
    STARTED,
    Job,
    framed,
    length_of,
)
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.fleet_request import FleetRequests
from tokenkeeper._renewal.grants import Grants
from tokenkeeper._renewal.looks import Looks
from tokenkeeper._renewal.one_time import OneTimeRequests
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.unpublished import RETRY_SECONDS, Unpublished
from tokenkeeper._renewal.view import View
from tokenkeeper._runtime import provider_loop
from tokenkeeper._runtime.background import Background
from tokenkeeper._runtime.waiting import InterruptibleEvent
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.claims import LookAgain
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import as_oauth2_error
from tokenkeeper.stores.options import StoreOptions
from tokenkeeper.stores.settings import opened_by

__all__ = ["main", "perform"]

GIVE_UP_SECONDS = 600.0
"""How long the token is offered to a store that can't be used."""

SPARE_SECONDS = 60
"""How much longer than expected a helper may live before the system ends it."""


def main() -> None:
    """Perform the job on standard input, and answer on standard output."""
    source, answers = sys.stdin.buffer, sys.stdout.buffer
    job = read_job(source)
    signal.alarm(int(job.longest_request_seconds + GIVE_UP_SECONDS) + SPARE_SECONDS)

    def write(content: bytes) -> None:
        with suppress(OSError):  # the process that waits was killed
            answers.write(content)
            answers.flush()

    perform(job, write)


def read_job(source: BinaryIO) -> Job:
    """Return the job that *source* contains.

    :raises Exception: if it is cut short, or its provider can't be made here.
    """
    job: Job = pickle.loads(source.read(length_of(source.read(HEADER.size))))  # noqa: S301
    return job


def perform(job: Job, write: Callable[[bytes], None]) -> None:
    """Make the request of *job*, and store what comes of it. Raises nothing that a request raises.

    :param write: sends to the process that waits, if there still is one.
    """
    provider = job.make_provider()
    settings = opened_by(job.store) if isinstance(job.store, StoreOptions) else job.store
    fleet = Fleet(settings, clock=SYSTEM_CLOCK, jitter=random.random, report=_drop)
    fleet.owner, fleet.place = job.held.claim.record.owner, job.place
    background = Background(
        enabled=False, limit=1, clock=SYSTEM_CLOCK, renew=_drop, look=lambda: None
    )
    unpublished = Unpublished(fleet, background, SYSTEM_CLOCK)

    def ask(renewal: Renewal, _: CachedToken | None, provider: BaseOAuth2Provider) -> CachedToken:
        return request_token(
            _AsAsked(provider, job, write),
            None,
            sent=0,
            clock=SYSTEM_CLOCK,
            jitter=random.random,
            useless=renewal.note_useless,
        )

    adoption = _NoAdoption(fleet, SYSTEM_CLOCK)
    requests = FleetRequests(
        fleet,
        adoption,
        Looks(
            fleet,
            adoption,
            report=_drop,
            cooldown_seconds=job.cooldown_seconds,
            clock=SYSTEM_CLOCK,
            jitter=random.random,
        ),
        Grants(),
        unpublished,
        OneTimeRequests(unpublished),
        ask=ask,
        retry=job.retry,
        cooldown_seconds=job.cooldown_seconds,
        clock=SYSTEM_CLOCK,
    )
    renewal = Renewal(
        provider, job.replaces, copy_context(), token_name=job.token_name, after_rejection=False
    )
    write(STARTED)
    with suppress(Exception):  # the waiting process has it, and the fleet has learned of it
        requests.request(renewal, job.held)
    write(DONE)
    give_up_at = SYSTEM_CLOCK.monotonic() + GIVE_UP_SECONDS
    never = InterruptibleEvent()
    while not unpublished.store_all() and SYSTEM_CLOCK.monotonic() < give_up_at:
        SYSTEM_CLOCK.wait(never, RETRY_SECONDS)


class _AsAsked(BaseOAuth2Provider):
    """Calls the method of the job, and writes the answer before anything else happens to it."""

    def __init__(
        self, provider: BaseOAuth2Provider, job: Job, write: Callable[[bytes], None]
    ) -> None:
        super().__init__(provider.provider_name, buffer_seconds=provider.buffer_seconds)
        self._provider = provider
        self._job = job
        self._write = write

    def acquire_token(self) -> OAuth2Token:
        """Return the token that the method grants."""
        arguments = () if self._job.token is None else (self._job.token,)
        try:
            token: OAuth2Token = provider_loop.call(
                getattr(self._provider, self._job.method), *arguments
            )
        except LookAgain:
            raise
        except Exception as error:
            self._write(framed(as_oauth2_error(error, self.provider_name)))
            raise
        self._write(framed(token))
        return token


class _NoAdoption(Adoption):
    """Adopts nothing: the process that waits does."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock

    def token(self, renewal: Renewal, view: View) -> CachedToken | None:
        """Return ``None``."""
        return None


def _drop(_: object) -> None:
    """Report nothing: the process that waits reports what it adopts."""
