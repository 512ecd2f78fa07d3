"""What a keeper knows: its providers, tokens and renewals under way, and the one lock over them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable

from tokenkeeper._renewal.cache import TokenCache
from tokenkeeper._renewal.cached_token import CachedToken, Cell
from tokenkeeper._renewal.diagnostics import describe, health
from tokenkeeper._renewal.notifier import Notifier
from tokenkeeper._renewal.registry import Registry
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.subscriptions import Subscription
from tokenkeeper._runtime.background import Background
from tokenkeeper._runtime.fork import notice_fork
from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import (
    EventHook,
    ProviderRemoved,
    TokenCleared,
    TokenEvent,
    TokenRefused,
    TokenRejected,
)
from tokenkeeper.exceptions import TokenRejectedError
from tokenkeeper.models import Health, TokenInfo
from tokenkeeper.names import TokenParameters, is_chosen, provider_of
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["KeeperState"]


class KeeperState:
    """The state of one keeper. Methods are thread-safe, except those that say otherwise.

    No request, no wait and no log line is made under the lock.

    :ivar cache: what is known of the tokens; guarded by the lock.
    :ivar registry: the providers; guarded by the lock.
    :ivar renewals: the renewals that callers may join, by name; guarded by the lock.
    :ivar next_number: returns the next sequence number. It orders callers and requests.
    :ivar notifier: delivers events, and never with the lock held.
    """

    def __init__(
        self, *, cache: TokenCache, background: Background, hooks: Iterable[EventHook], clock: Clock
    ) -> None:
        self.cache: TokenCache = cache
        self.registry: Registry = Registry()
        self.notifier: Notifier = Notifier(hooks, background.notify)
        self.next_number: Callable[[], int] = itertools.count(1).__next__
        self._background = background
        self._clock = clock
        self._start_over()

    def _start_over(self) -> None:
        """Make what a forked child can't keep: the lock, and what other threads were doing."""
        self._lock = threading.Lock()  # guards all of this object
        self.renewals: dict[str, Renewal] = {}
        self._unsettled: set[Renewal] = set()  # these and the detached ones, which have waiters too

    @property
    def lock(self) -> threading.Lock:
        """The lock of this process, even after a fork that Python did not notice."""
        notice_fork()
        return self._lock

    def after_fork_in_child(self) -> None:
        """Keep the tokens; forget what other threads of the parent were about to do."""
        self._start_over()
        self.notifier.after_fork_in_child()
        self.cache.after_fork_in_child()

    # ---- providers

    def add(self, provider: BaseOAuth2Provider) -> None:
        """Register *provider*."""
        with self.lock:
            self.registry.add(provider)

    def names(self) -> list[str]:
        """Return the registered names."""
        with self.lock:
            return self.registry.names()

    def providers(self) -> list[BaseOAuth2Provider]:
        """Return the registered providers."""
        with self.lock:
            return self.registry.providers()

    def check_token(self, name: str, parameters: TokenParameters | None) -> None:
        """Raise unless there is a provider for *name* that takes *parameters*, or what it states.

        :raises InvalidConfigurationError: an ``UnknownProviderError`` if there is none.
        """
        self.check_provider(name)
        if is_chosen(name):
            self.registry.variant(name, parameters)

    def check_provider(self, name: str) -> None:
        """Raise unless the provider of the token *name* is registered.

        :raises UnknownProviderError: if there is no such provider.
        """
        with self.lock:
            self.registry.find(name)

    def remove(self, name: str) -> BaseOAuth2Provider:
        """Forget the provider *name* and its token, and return it."""
        with self.lock:
            provider = self._remove(name)
        self.notifier.deliver()
        return provider

    def discard(self, provider: BaseOAuth2Provider) -> bool:
        """Forget *provider* and its token; ``False`` if its name is free or another provider's."""
        with self.lock:
            if provider not in self.registry.providers():
                return False
            self._remove(provider.provider_name)
        self.notifier.deliver()
        return True

    def _remove(self, name: str) -> BaseOAuth2Provider:
        """Forget the provider *name* and its tokens, and return it. Called with the lock held."""
        provider = self.registry.find(name)
        self.forget_tokens(self.tokens_of(name))
        self.registry.remove(name)
        self.notifier.enqueue(ProviderRemoved(name, utc(self._clock)))
        return provider

    def tokens_of(self, name: str) -> list[str]:
        """Return the names of the tokens of a provider, or the one token *name*.

        Called with the lock held.
        """
        return [name] if is_chosen(name) else [name, *self.cache.usage.chosen_of(name)]

    # ---- tokens

    def cell(self, name: str) -> Cell:
        """Return the cell that readers of the token *name* look into without the lock."""
        with self.lock:
            return self.cache.cell(name)

    def subscribe(self, subscription: Subscription) -> None:
        """Deliver each new token of a name to *subscription* from now on.

        :raises KeeperClosedError: after :meth:`close`.
        """
        with self.lock:
            self.registry.check_open()
            self.notifier.subscriptions.add(subscription)

    def clear(self, name: str | None) -> dict[str, BaseOAuth2Provider]:
        """Forget the tokens of *name*, or all; return their names with the providers.

        A renewal under way still serves its waiters.
        """
        with self.lock:
            if name is not None:
                self.registry.find(name)
                names = self.tokens_of(name)
            else:
                names = [*self.registry.names(), *self.cache.usage.chosen()]
            providers = self.registry.providers_of(names)
            self.forget_tokens(names)
        self.notifier.deliver()
        return providers

    def forget_tokens(self, names: list[str]) -> None:
        """Forget all that is known of the tokens *names*. Called with the lock held."""
        now = utc(self._clock)
        for name in names:
            self.detach(name)
            self._background.scheduler.forget(name)
            self.registry.forget_variant(name)
            if self.cache.forget(name):
                provider_name = provider_of(name)
                self.notifier.enqueue(TokenCleared(provider_name, now, token_name=name))

    def describe(self, name: str) -> TokenInfo | None:
        """Return diagnostics of the token of *name*; ``None`` if there is none."""
        with self.lock:
            self.registry.find(name)
            return describe(self.cache, name, self._clock)

    def health(self) -> Health:
        """Return whether callers can be served, for each provider and for all."""
        with self.lock:
            if self.registry.closed:
                found: Health = {"status": "closed", "providers": {}}
            else:
                found = health(self.cache, self.registry.names(), self._clock)
        if self.notifier.dropped:
            found["dropped_events"] = self.notifier.dropped
        return found

    def was_rejected(self, name: str, access_token: str) -> bool:
        """Return whether an API rejected *access_token*."""
        with self.lock:
            return self.cache.rejections.knows(name, access_token)

    def report(self, event: TokenEvent) -> None:
        """Deliver *event*, from a worker."""
        with self.lock:
            self.notifier.enqueue(event)
        self.notifier.deliver(log_here=True)

    def would_reject(self, name: str, token: str) -> bool:
        """Return whether a rejection of *token* would start no renewal, and raise at once."""
        rejections = self.cache.rejections
        with self.lock:
            cached = self.cache.tokens.get(name)
            return (
                cached is not None
                and name not in self.renewals
                and (cached.access_token == token or rejections.knows(name, cached.access_token))
                and rejections.is_paused(name)
            )

    def note_rejection(
        self, name: str, cached: CachedToken, renewal: Renewal | None
    ) -> tuple[CachedToken, TokenRejectedError | None]:
        """Note that an API rejected *cached*; return what is cached now, and the caller's error.

        There is no error if a renewal is under way or may start. Called with the lock held.
        """
        if cached.is_refused or (renewal is not None and renewal.after_rejection):
            return cached, None  # a crowd was rejected: the first report counts
        cached, ruling = self.cache.reject(name, cached)
        if ruling.is_first:
            now = utc(self._clock)
            self.notifier.enqueue(TokenRefused(provider_of(name), now, token_name=name))
        if ruling.pause_begins:
            self.notifier.enqueue(self.pause_event(name))
        if ruling.renews or renewal is not None:
            return cached, None
        return cached, self.cache.rejections.error(name)

    def pause_event(self, name: str) -> TokenRejected:
        """Return the event for a pause in which rejections start no renewal.

        Called with the lock held.
        """
        tokens = self.cache.rejections.tokens(name)
        pause, now = self.cache.rejections.pause_seconds(name), utc(self._clock)
        return TokenRejected(provider_of(name), now, tokens, pause, token_name=name)

    # ---- renewals under way; called with the lock held

    def attach(self, renewal: Renewal) -> None:
        """Let callers join *renewal*."""
        self._unsettled.add(renewal)
        self.renewals[renewal.token_name] = renewal

    def detach(self, name: str) -> None:
        """Let no other caller join the renewal of *name*. It serves its waiters."""
        self.renewals.pop(name, None)

    def settle(self, renewal: Renewal) -> bool:
        """Forget *renewal*; return whether its result counts: it was not detached meanwhile."""
        self._unsettled.discard(renewal)
        name = renewal.token_name
        counts = self.renewals.get(name) is renewal
        if counts:
            del self.renewals[name]
        return counts

    def make_room(self) -> None:
        """Forget chosen tokens beyond the limit, those that were not used for longest."""
        if not self.cache.usage.is_over_limit:
            return
        in_use = {*self.renewals, *self.notifier.subscriptions.names()}
        self.forget_tokens(self.cache.usage.take_surplus(self.cache.was_read, in_use))

    # ---- the end

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self.registry.closed

    def close(self) -> tuple[list[BaseOAuth2Provider], list[Renewal]]:
        """Forget everything; return the providers to close and the renewals to fail.

        Idempotent: the second call returns nothing.
        """
        with self.lock:
            providers = self.registry.close()
            unsettled = list(self._unsettled)
            self._unsettled.clear()
            self.renewals.clear()
            self.cache.clear()
            subscriptions = self.notifier.subscriptions.take_all()
        for subscription in subscriptions:
            subscription.end()
        return providers, unsettled
