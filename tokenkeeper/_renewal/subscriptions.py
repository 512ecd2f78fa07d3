"""Callbacks that receive each new token, each on the event loop of its subscriber if it has one."""

from __future__ import annotations

import inspect
import logging
import sys
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from tokenkeeper.models import OAuth2Token

__all__ = ["Subscriber", "Subscription"]

Subscriber = Callable[[OAuth2Token], object]
"""A callback, perhaps an ``async def``, that receives each new token."""

_log = logging.getLogger("tokenkeeper.subscriptions")


class Subscription:
    """A callback, and where to call it. Holds its loop, and the owner of a bound method, weakly.

    Created on an event loop, it belongs to that loop.

    :param what: names the token in log lines; not a secret.
    """

    def __init__(self, callback: Subscriber, what: str) -> None:
        self._what = what
        self._find: Callable[[], Subscriber | None]
        if inspect.ismethod(callback):
            self._find = weakref.WeakMethod(callback)
        else:
            self._find = lambda: callback
        loop = _running_loop()
        self._loop = None if loop is None else weakref.ref(loop)
        self._is_async = inspect.iscoroutinefunction(callback)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to call: its owner was collected, or its loop ended."""
        if self._find() is None:
            return True
        if self._loop is None:
            return False
        loop = self._loop()
        return loop is None or _is_closed(loop)

    def __call__(self, token: OAuth2Token) -> None:
        """Have the callback called with *token*. Its exceptions are logged."""
        callback = self._find()
        loop = None if self._loop is None else self._loop()
        if callback is None or (self._loop is not None and loop is None):
            return
        if loop is None:
            callback(token)  # the caller logs what it raises
            return
        call_soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        with suppress(RuntimeError):  # the loop ended
            call_soon(self._call_here, callback, token)

    def _call_here(self, callback: Subscriber, token: OAuth2Token) -> None:
        """Call *callback* on the loop that runs now."""
        try:
            result = callback(token)
        except Exception:  # noqa: BLE001 - a loop must not end for it
            _log.exception("a subscriber to %r failed", self._what)
            return
        if inspect.iscoroutine(result):
            _start(self._finish(result))

    async def _finish(self, coroutine: Coroutine[Any, Any, object]) -> None:
        try:
            await coroutine
        except Exception:  # noqa: BLE001 - nobody awaits it
            _log.exception("a subscriber to %r failed", self._what)
