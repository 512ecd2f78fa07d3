"""Callbacks that receive each new token of one name, each on its own event loop if it has one."""

from __future__ import annotations

import inspect
import logging
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from tokenkeeper._renewal.delivery import DeliveryQueue
from tokenkeeper._runtime import provider_loop
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import provider_of

__all__ = ["Subscriber", "Subscription", "Subscriptions"]

Subscriber = Callable[[OAuth2Token], object]
"""A callback, plain or ``async def``, that receives each new token."""

_log = logging.getLogger("tokenkeeper.events")


class Subscription:
    """A callback, and where to call it. Holds its loop, and the owner of a bound method, weakly.

    One that is created on an event loop belongs to that loop.

    :param on_end: called once, when it ends.
    :ivar what: what log lines call it.
    """

    def __init__(
        self,
        callback: Subscriber,
        token_name: str,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.token_name: str = token_name
        self.what: str = f"a subscriber to the token of {provider_of(token_name)!r}"
        self._on_end = on_end
        self._find: Callable[[], Subscriber | None] = (
            weakref.WeakMethod(callback) if inspect.ismethod(callback) else lambda: callback
        )
        loop = _running_loop()
        self._loop: Callable[[], Any] | None = None if loop is None else weakref.ref(loop)
        self._ended = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to call: it ended, or its owner or its loop did."""
        if self._ended or self._find() is None:
            return True
        loop = self._loop and self._loop()
        is_closed = getattr(loop, "is_closed", None)  # of asyncio; trio's says so when it is called
        return self.has_loop and (loop is None or (is_closed is not None and is_closed()))

    @property
    def has_loop(self) -> bool:
        """Whether it belongs to an event loop."""
        return self._loop is not None

    def end(self) -> None:
        """Call nothing from now on. Idempotent; not to be called with the keeper's lock held."""
        ended, self._ended = self._ended, True
        if not ended:
            self._on_end()

    def __call__(self, token: OAuth2Token) -> None:
        """Have the callback called with *token*: on its loop, or here and now."""
        if self._loop is None:
            self._call_here(token)
            return
        loop = self._loop()
        if loop is None:
            return
        call_soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        try:
            call_soon(self._call_on_loop, token)
        except RuntimeError:  # the loop is closed
            self._ended = True

    def _call_here(self, token: OAuth2Token) -> None:
        callback = None if self._ended else self._find()
        if callback is not None:
            provider_loop.call(callback, token)

    def _call_on_loop(self, token: OAuth2Token) -> None:
        callback = None if self._ended else self._find()
        if callback is None:
            return
        try:
            result = callback(token)
        except Exception:  # noqa: BLE001 - the loop must not end for it
            self._report_failure()
            return
        if inspect.isawaitable(result):
            _start(partial(self._finish, result))

    async def _finish(self, result: Awaitable[object]) -> None:
        try:
            await result
        except Exception:  # noqa: BLE001 - no task awaits it
            self._report_failure()

    def _report_failure(self) -> None:
        _log.exception("%s failed", self.what)


class Subscriptions:
    """All subscriptions of a keeper, by the token's name. Guarded by the keeper's lock."""

    def __init__(self) -> None:
        self._queues: dict[str, list[tuple[Subscription, DeliveryQueue[OAuth2Token]]]] = {}

    def add(self, subscription: Subscription) -> None:
        """Deliver each new token to *subscription* from now on."""
        name = subscription.token_name
        queue = DeliveryQueue(subscription, subscription.what)
        self._queues[name] = [*self._current(name), (subscription, queue)]

    def has(self, token_name: str) -> bool:
        """Return whether there is a subscription to *token_name*: its token is in use."""
        return token_name in self._queues and bool(self._current(token_name))

    def names(self) -> set[str]:
        """Return the names of the tokens with subscriptions."""
        return {name for name in list(self._queues) if self.has(name)}

    def enqueue(self, token_name: str, token: OAuth2Token) -> None:
        """Queue *token* for all subscriptions to it."""
        for _, queue in self._current(token_name):
            queue.put(token)

    def queues(self) -> Iterator[DeliveryQueue[OAuth2Token]]:
        """Yield the queues. Needs no lock."""
        for pairs in list(self._queues.values()):
            for _, queue in pairs:
                yield queue

    def take_all(self) -> list[Subscription]:
        """Return all subscriptions, to be ended, and forget them."""
        queues, self._queues = self._queues, {}
        return [subscription for pairs in queues.values() for subscription, _ in pairs]

    def after_fork_in_child(self) -> None:
        """Leave the subscriptions of event loops to the parent, where those run."""
        for name, pairs in list(self._queues.items()):
            self._queues[name] = [each for each in pairs if not each[0].has_loop]

    def _current(self, token_name: str) -> list[tuple[Subscription, DeliveryQueue[OAuth2Token]]]:
        """Return the subscriptions to *token_name*, without those that are over."""
        pairs = [each for each in self._queues.get(token_name, ()) if not each[0].is_over]
        if pairs:
            self._queues[token_name] = pairs
        else:
            self._queues.pop(token_name, None)
        return pairs


def _running_loop() -> Any:
    """Return the asyncio loop or the trio token that this thread runs on, or ``None``."""
    if "trio" in sys.modules:
        import trio

        with suppress(RuntimeError):
            return trio.lowlevel.current_trio_token()
    if "asyncio" in sys.modules:
        import asyncio

        with suppress(RuntimeError):
            return asyncio.get_running_loop()
    return None


_tasks: set[Any] = set()
"""asyncio keeps tasks weakly."""


def _start(function: Callable[[], Any]) -> None:
    """Run the coroutine function *function* on the loop of this thread, as a task."""
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_run():
            trio.lowlevel.spawn_system_task(function)
            return
    import asyncio

    task = asyncio.get_running_loop().create_task(function())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
