"""Blocking work that is done once for all threads and tasks that wait for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from tokenkeeper._renewal.flight import Flight
from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError

__all__ = ["start"]

T = TypeVar("T")

_log = logging.getLogger("tokenkeeper.integrations")


def start(flight: Flight[T], work: Callable[[], T], name: str) -> None:
    """Do *work* on a thread of its own, and settle *flight* with its result.

    It may take minutes, until a person has signed in, so no worker of a keeper and no thread of an
    event loop waits for it.

    :param name: what it is for, in messages.
    """
    try:
        threading.Thread(
            target=_settle, args=(flight, work, name), name="tokenkeeper-mcp", daemon=True
        ).start()
    except RuntimeError:  # this host starts no threads
        _settle(flight, work, name)


def _settle(flight: Flight[T], work: Callable[[], T], name: str) -> None:
    try:
        flight.succeed(work())
    except OAuth2Error as error:
        flight.fail(error)
    except BaseException as error:  # noqa: BLE001 - those that wait must not wait for ever
        _log.exception("%s: connecting failed; please report this as a bug", name)
        flight.fail(
            TokenAcquisitionError(
                f"provider {name!r}: connecting failed with {type(error).__name__}. The log has "
                "the details.",
                provider_name=name,
                transient=False,
            )
        )
