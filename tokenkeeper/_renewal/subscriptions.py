"""Callbacks that receive each new token of one name, each on its own event loop if it has one."""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Callable, Iterator
from functools import partial

from tokenkeeper._renewal.delivery import DeliveryQueue
from tokenkeeper._renewal.subscriber_loop import SubscriberLoop
from tokenkeeper._runtime import provider_loop
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import provider_of

__all__ = ["Subscriber", "Subscription", "Subscriptions"]

Subscriber = Callable[[OAuth2Token], object]
"""A callback, plain or ``async def``, that receives each new token."""

_log = logging.getLogger("tokenkeeper.events")


class Subscription:
    """A callback, and where to call it. Holds its loop, and the owner of a bound method, weakly.

    :param on_end: called once, when it ends.
    :param on_loop: whether one that is created on an event loop belongs to that loop.
    :ivar what: what log lines call it.
    """

    def __init__(
        self,
        callback: Subscriber,
        token_name: str,
        on_end: Callable[[], None] = lambda: None,
        *,
        on_loop: bool = True,
    ) -> None:
        self.token_name: str = token_name
        self.what: str = f"a subscriber to the token of {provider_of(token_name)!r}"
        self._on_end = on_end
        self._find: Callable[[], Subscriber | None] = (
            weakref.WeakMethod(callback) if inspect.ismethod(callback) else lambda: callback
        )
        self._loop = SubscriberLoop.running(self._report) if on_loop else None
        self._ended = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to call: it ended, or its owner or its loop did."""
        if self._ended or self._find() is None:
            return True
        return self._loop is not None and self._loop.is_over

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
            provider_loop.call(self._call, token)
        elif not self._loop.make(partial(self._call, token)):
            self._ended = True

    def _call(self, token: OAuth2Token) -> object:
        callback = None if self._ended else self._find()
        return None if callback is None else callback(token)

    def _report(self, error: Exception) -> None:
        _log.error("%s failed", self.what, exc_info=error)


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
