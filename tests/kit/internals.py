"""The library's private parts, as tests need them.

Tests reach into a keeper only through these functions, so that a change of its private structure
changes this file and no test. The unit tests of a private module use that module itself.
"""

import threading
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace

import tokenkeeper.default
from kit.guards import GUARD_SECONDS
from tokenkeeper import keeper as keeper_module
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._runtime import fork
from tokenkeeper._runtime import provider_loop as loop_module
from tokenkeeper._support.sharing import Shared
from tokenkeeper.providers import shared_settings

# ---- the process


def share_nothing_yet(monkeypatch):
    """Begin as a new process does, in which no providers share anything.

    Providers share few values, and keep them for good. Those of other tests may be all of them.
    """
    for each in vars(shared_settings).values():
        if isinstance(each, Shared):
            monkeypatch.setattr(each, "_values", {})


# ---- callers


def need(keeper, name="api", **options):
    """Return the need of a caller that asks now, with ``force``, ``refused`` or ``timeout``."""
    return keeper._coordinator.need(name, **options)


def ask(keeper, need):
    """Return the cached token that meets *need*, or the flight to wait for."""
    return keeper._coordinator.ask(need)


def wait_for(keeper, answer, need):
    """Wait for what :func:`ask` answered, and return the cached token."""
    return keeper._wait_for(answer, need)


class WaitObserved:
    """A mixin for keepers: ``before_wait`` and ``after_wait`` surround each caller's wait."""

    def before_wait(self, answer, need):
        """Note that a caller goes on to wait for *answer*, or already has it."""

    def after_wait(self, cached_token):
        """Note which token a caller gets."""

    def _wait_for(self, answer, need):
        self.before_wait(answer, need)
        cached_token = super()._wait_for(answer, need)
        self.after_wait(cached_token)
        return cached_token


class AsyncWaitObserved:
    """The same for managers."""

    def before_wait(self, answer, need):
        """Note that a task goes on to wait for *answer*, or already has it."""

    async def _wait_for(self, answer, need):
        self.before_wait(answer, need)
        return await super()._wait_for(answer, need)


@contextmanager
def without_slow_path(keeper):
    """Make every read fail that asks the coordinator, or whether renewals run in the background."""
    keeper._coordinator.ask = None
    keeper._coordinator.background.ensure_running = None
    try:
        yield
    finally:
        del keeper._coordinator.ask, keeper._coordinator.background.ensure_running


# ---- what a keeper knows


def coordinator(keeper):
    """Return the object that owns the slow path."""
    return keeper._coordinator


def state(keeper):
    """Return the object that owns what the keeper knows."""
    return keeper._state


def cache(keeper):
    """Return the cached tokens by name, armed ones included."""
    return keeper._state.cache.tokens


def variants(keeper):
    """Return the providers that are kept for tokens whose parameters a caller chose."""
    return keeper._state.registry.variants()


def cached(keeper, name="api"):
    """Return the cached token of *name*, or ``None``."""
    return cache(keeper).get(name)


def store(keeper, name, cached_token):
    """Cache *cached_token* as if it had just been fetched."""
    keeper._state.cache.store(name, cached_token)


def mark_refused(keeper, name="api"):
    """Mark the cached token as refused by an API, without asking for another one."""
    keeper._state.cache._replace(name, cached(keeper, name).after_refusal())


def msal_applications(provider):
    """Return msal's applications in an Azure provider, by tenant: the live mapping."""
    return provider._msal._applications


def msal_locks(provider):
    """Return the locks of the tenants whose applications are being made: the live mapping."""
    return provider._msal._making


def clock(keeper):
    """Return the clock that the keeper reads."""
    return keeper._clock


def provider(keeper, name="api"):
    """Return the provider that is registered as *name*."""
    return keeper._state.registry.find(name)


def discard(keeper, provider):
    """Forget *provider* if it is still registered, and return whether it was."""
    return keeper._state.discard(provider)


def configured_provider(keeper, name="api"):
    """Return the provider that a configuration made, behind the registered reloadable one."""
    return provider(keeper, name)._current[1]


def configuration(keeper):
    """Return the configuration that the keeper was made from, or ``None``."""
    return keeper._configuration


def rejection_pause(keeper, name="api"):
    """Return how many seconds refusals of *name* cause no token request."""
    return keeper._state.cache.rejections.pause_seconds(name)


def remembered_rejections(keeper):
    """Return everything that is remembered about rejected tokens."""
    return keeper._state.cache.rejections._streaks


def notifier(keeper):
    """Return the object that delivers events to hooks."""
    return keeper._state.notifier


def notify(keeper, event):
    """Deliver *event* to the hooks of *keeper*."""
    keeper._state.notifier.enqueue(event)
    keeper._state.notifier.deliver()


@contextmanager
def after_listing(keeper, call):
    """Call ``call()`` after refresh_all() has listed the tokens, before it requests any."""
    coordinator = keeper._coordinator
    need = coordinator.need
    calls = [call]

    def call_and_need(*arguments, **options):
        if calls:
            calls.pop()()
        return need(*arguments, **options)

    coordinator.need = call_and_need
    try:
        yield
    finally:
        del coordinator.need


def make_renewing(keeper, name="api"):
    """Move the cached token of *name* into its buffer, for readers and all others."""
    keeper._state.cache._replace(name, replace(cached(keeper, name), stale_at=0.0))


def sizes(keeper):
    """Return how many entries each of the keeper's private collections has."""
    state, threads = keeper._state, keeper._background
    return {
        "cached": len(state.cache.tokens),
        "readable": len(state.cache.readable),
        "cells": len(state.cache._cells),
        "sources": len(keeper._sources),
        "streaks": len(state.cache.streaks),
        "rejections": len(state.cache.rejections._streaks),
        "uses": len(state.cache.usage._own) + len(state.cache.usage._chosen),
        "variants": len(state.registry._variants),
        "subscriptions": sum(map(len, state.notifier.subscriptions._queues.values())),
        "providers": len(state.registry),
        "flights": len(state.renewals),
        "cooldowns": len(state.cache.cooldown._refusals),
        "scheduled": len(threads.scheduler._current),
        "jobs": len(threads.workers._jobs),
    }


# ---- flights


def flights(keeper):
    """Return the flights that callers may join, by name."""
    return keeper._state.renewals


def flight(keeper, name="api"):
    """Return the flight of *name*, or ``None``."""
    return flights(keeper).get(name)


def threads_waiting(keeper, name="api"):
    """Return how many threads wait for the flight of *name*."""
    current = flight(keeper, name)
    waiters = () if current is None else list(current._waiters)  # others come and go meanwhile
    return sum(1 for waiter in waiters if hasattr(waiter, "locked"))


def tasks_waiting(keeper, name="api"):
    """Return how many tasks wait for the flight of *name*, in all event loops."""
    current = flight(keeper, name)
    events = () if current is None else list(current._loops.values())
    return sum(event.statistics().tasks_waiting for event in events)


@contextmanager
def before_completion(keeper, call):
    """Call ``call(flight, cached_token)`` right before each granted token is cached."""
    dispatcher = keeper._coordinator._dispatcher
    succeed = dispatcher._succeed

    def call_and_succeed(flight, cached_token):
        call(flight, cached_token)
        succeed(flight, cached_token)

    dispatcher._succeed = call_and_succeed
    try:
        yield
    finally:
        del dispatcher._succeed


# ---- renewals in the background


def renew(keeper, name="api"):
    """Renew the token of *name* if that is due, as the scheduler's thread does."""
    keeper._coordinator.upkeep.renew(name)


def renew_due(keeper):
    """Look at the clocks and renew everything that is due, as the scheduler's thread does."""
    keeper._coordinator.upkeep.renew_due()


def look_at_clocks(keeper):
    """Notice steps of the clocks, as the scheduler's thread does each time it wakes up."""
    keeper._coordinator.upkeep.look_at_clocks()


def reconsider(keeper, name="api"):
    """Renew the token of *name* as after a change of its provider."""
    keeper._coordinator.upkeep.reconsider(name)


def look(keeper):
    """Play the scheduler's thread: renew what is due, wait until that is done; return the names."""
    look_at_clocks(keeper)
    due = take_due(keeper)
    for name in due:
        renew(keeper, name)
        current = flight(keeper, name)
        if current is not None:
            assert current.wait(GUARD_SECONDS), f"the renewal of {name!r} hangs"
    return due


def background(keeper):
    """Return the object that owns the keeper's threads."""
    return keeper._background


def chores(keeper):
    """Return the names of what the scheduler is to do besides renewals."""
    return list(background(keeper)._chores)


def busy_workers(keeper):
    """Return how many workers have a job."""
    workers = background(keeper).workers
    with workers._lock:
        return len(workers._threads) - workers._idle


def scheduler(keeper):
    """Return the scheduler: what is due, and when."""
    return background(keeper).scheduler


def take_due(keeper):
    """Return the names that are due for renewal, and unschedule them."""
    return scheduler(keeper).take_due()


def next_due(keeper):
    """Return when the next renewal is due, on the monotonic clock."""
    return scheduler(keeper)._heap[0][0]


def scheduled_entries(keeper):
    """Return how many entries the scheduler's heap has, outdated ones included."""
    return len(scheduler(keeper)._heap)


def is_scheduled(keeper, name="api"):
    """Return whether a renewal of *name* is scheduled."""
    return name in scheduler(keeper)._current


def take_over_scheduler(keeper):
    """Keep the scheduler from starting a thread, so that the test plays it."""
    scheduler(keeper)._thread = threading.current_thread()


def release_scheduler(keeper):
    """Undo :func:`take_over_scheduler`."""
    scheduler(keeper)._thread = None


class InlineWorkers:
    """Workers that run each job at once, so that a background renewal ends at a known moment."""

    def submit(self, job, *, urgent=True):
        job()

    def close(self, timeout, *, finish=False):
        pass


def run_jobs_inline(keeper):
    """Run the jobs of workers on the thread that submits them."""
    background(keeper).workers = background(keeper)._nested = InlineWorkers()


def deliver_inline(keeper):
    """Deliver events on the thread that causes them, so that a test finds them afterwards."""
    background(keeper)._notifiers = InlineWorkers()


def scheduler_is_running(keeper):
    """Return whether the scheduler has a thread."""
    return scheduler(keeper).is_running


def scheduler_thread(keeper):
    """Return the scheduler's thread, or ``None``."""
    return scheduler(keeper)._thread


def worker_threads(keeper):
    """Return the threads of the workers."""
    return list(background(keeper).workers._threads)


def jobs_waiting(keeper):
    """Return how many jobs wait for a worker."""
    workers = background(keeper).workers
    return len(workers._urgent) + len(workers._jobs)


def idle_timeouts(keeper):
    """Return after how long tokens count as idle."""
    return keeper._state.cache.usage._idle


def nested_threads(keeper):
    """Return the threads of requests that workers wait for."""
    return list(background(keeper)._nested._threads)


def notifier_threads(keeper):
    """Return the threads that deliver events to hooks."""
    return list(background(keeper)._notifiers._threads)


def retries_waiting(keeper):
    """Return how many renewals wait before their next attempt."""
    return len(background(keeper).closing._gates)


def end_threads(keeper, timeout):
    """End the keeper's threads, and wait *timeout* seconds for each kind."""
    background(keeper).stop(timeout)


@contextmanager
def before_threads_end(keeper, call):
    """Call ``call()`` right before the keeper's threads are ended."""
    threads = background(keeper)
    stop = threads.stop
    threads.stop = lambda timeout: (call(), stop(timeout))
    try:
        yield
    finally:
        del threads.stop


@contextmanager
def threads_left_running(keeper):
    """Have the keeper close without ending its threads."""
    threads = background(keeper)
    threads.stop = lambda timeout: None
    try:
        yield
    finally:
        del threads.stop


def go_inline(keeper, timeout=1.0):
    """End the keeper's threads, so that callers renew inline."""
    background(keeper).go_inline(timeout)


def all_keepers_go_inline():
    """Do what the end of the interpreter does to every keeper."""
    keeper_module._go_inline()


def close_coordinator(keeper):
    """Close the slow path without closing the keeper's providers."""
    keeper._coordinator.close(timeout=0)


# ---- forks


def after_fork_in_child(keeper, *, jitter=None):
    """Do what a fork does in the child; *jitter* is drawn from there on."""
    if jitter is not None:
        keeper._coordinator.upkeep._jitter = lambda: jitter
    keeper._coordinator.after_fork_in_child()


def locks(keeper):
    """Return every lock that a fork may find taken, by name."""
    return {
        "coordinator": keeper._state.lock,
        "scheduler": keeper._coordinator.background.scheduler._lock,
        "workers": keeper._coordinator.background.workers._lock,
        "provider loop": loop_module._loop._lock,
        "default keeper": tokenkeeper.default._default_lock,
        "late imports": fork.forks_wait(),
    }


def objects_told_of_forks():
    """Return how many objects of this process are renewed after a fork."""
    return len(fork._aware)


def open_keepers():
    """Return how many keepers of this process are known to the end of the interpreter."""
    return len(keeper_module._keepers)


# ---- the event loop of async providers


def new_provider_loop():
    """Return an event loop like the shared one, with no thread yet."""
    return loop_module._PortalLoop()


def provider_loop():
    """Return the event loop that runs this process's async providers, or ``None``."""
    return loop_module._loop._loop


@contextmanager
def fresh_provider_loop():
    """Put a new provider loop in place of the shared one meanwhile; it must start no thread."""
    shared, loop_module._loop = loop_module._loop, new_provider_loop()
    try:
        yield
        if loop_module._loop._loop_here is not None:
            loop_module._loop._loop_here.close()
    finally:
        loop_module._loop = shared


# ---- fleets


def fleet(keeper):
    """Return the keeper's place in its fleet."""
    return keeper._coordinator.memberships.main.fleet


def membership(keeper, provider):
    """Return what the keeper has of the store that the tokens of *provider* are in."""
    return keeper._coordinator.memberships.of(provider)


def attempt(keeper, name="api"):
    """Make one attempt at the token *name*, as a worker does; return what came of it."""
    wanted = need(keeper, name)
    provider_ = wanted.variant.provider if wanted.variant else provider(keeper, name)
    renewal = Renewal(
        provider_, cached(keeper, name), copy_context(), token_name=name, after_rejection=False
    )
    return keeper._coordinator.memberships.of(provider_).attempts.attempt(renewal)


def unpublished(keeper):
    """Return the tokens that the keeper has still to store."""
    return keeper._coordinator.memberships.main.unpublished


def record_key(keeper, name="api"):
    """Return the key of the record of *name*."""
    return fleet(keeper).key_of(provider(keeper, name), name)


def one_time(keeper):
    """Return what the end of a keeper with a store waits for."""
    return keeper._coordinator.memberships.main.one_time
