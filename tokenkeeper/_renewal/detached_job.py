"""What crosses the pipes between a process and the helper that makes a request for it.

The process writes one job. The helper answers with :data:`STARTED` once it has the job, then with
one answer, then with :data:`DONE` once it has stored what came of it, or has tried. Both ends are
made by the same program, and nothing else can write to the pipes, so the content is pickled.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.held import Held
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.models import OAuth2Token
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import RetryPolicy
from tokenkeeper.stores.options import StoreOptions
from tokenkeeper.stores.settings import StoreSettings

__all__ = ["DONE", "HEADER", "STARTED", "Answer", "Job", "framed", "length_of"]

STARTED = b"+"
DONE = b"."

HEADER = struct.Struct(">I")
"""Precedes a job and an answer: its length."""

Answer = OAuth2Token | OAuth2Error


@dataclass(frozen=True, slots=True, repr=False)
class Job:
    """One request that a helper makes, and whose outcome it stores. Contains secrets.

    :ivar make_provider: makes the provider again; see ``BaseOAuth2Provider.for_another_process``.
    :ivar method: the provider's method to call.
    :ivar token: its argument; ``None`` if it takes none.
    :ivar store: how to open the store.
    :ivar held: the claim, which the helper takes over.
    :ivar replaces: the token that the process renews.
    :ivar place: the process, as ``host:pid``.
    """

    make_provider: Callable[[], BaseOAuth2Provider]
    method: str
    token: OAuth2Token | None
    store: StoreOptions | StoreSettings
    token_name: str
    replaces: CachedToken | None
    held: Held
    longest_request_seconds: float
    place: str
    retry: RetryPolicy
    cooldown_seconds: float


def framed(content: Job | Answer) -> bytes:
    """Return *content* as it is written to a pipe.

    :raises Exception: whatever pickling raises for something that can't be pickled.
    """
    pickled = pickle.dumps(content)
    return HEADER.pack(len(pickled)) + pickled


def length_of(header: bytes) -> int:
    """Return the length of the content that follows *header*."""
    return int(HEADER.unpack(header)[0])
