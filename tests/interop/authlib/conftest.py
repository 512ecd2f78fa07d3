"""Authlib's server, and keepers whose every token is presented to its API at once."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import ContextVar

import anyio.to_thread
import pytest
from servers.authlib_on_flask import AuthlibOnFlask

from tokenkeeper import GenericOAuth2Provider, OAuth2TokenManager, TokenKeeper
from tokenkeeper.held import HeldToken

GUARD_SECONDS = 30.0
"""What hangs for so long hangs for ever."""

_held_before = ContextVar("held_before", default=None)


class Watch:
    """Presents tokens to the API, and notes what should not have happened.

    :ivar refused: what the API said of tokens that it refused and should have taken.
    :ivar late: calls that a stalled machine made so late that a refusal says nothing.
    :ivar needless: tokens that were valid while somebody waited for another.
    :ivar starved: tokens that were dead when somebody waited for another, as must be.
    """

    def __init__(self, server):
        self.server = server
        self.margin_seconds = 10.0  # what a token has left, at least, when it is handed out
        self.revoked = set()
        self.taken = []
        self.refused = []
        self.late = []
        self.needless = []
        self.starved = []

    def present(self, token, handed_out_after):
        """Call the API with a token that was handed out after that moment; return the status."""
        status, said = self.server.call(token)
        if status == 200:
            self.taken.append(token)
        elif token in self.revoked:
            pass
        elif time.monotonic() - handed_out_after < self.margin_seconds:
            self.refused.append((status, said))
        else:
            self.late.append(token)
        return status

    def waits(self, keeper, wish, answer):
        """Note that a caller of *keeper* is about to wait for a renewal."""
        held = _held_before.get()
        if isinstance(answer, HeldToken) or wish.force or wish.refused or held is None:
            return
        # It was looked at before the caller asked, so if it lives now it lived then.
        alive = keeper._clock.monotonic() < held.dead_at
        (self.needless if alive else self.starved).append(held.access_token)

    def assert_flawless(self):
        assert self.refused == [], "tokens were handed out that the API refused"
        assert self.needless == [], "callers waited while there was a valid token"


class WatchedKeeper(TokenKeeper):
    """A keeper whose tokens are presented as soon as it hands them out."""

    def __init__(self, watch, **options):
        super().__init__(**options)
        self.watch = watch

    def get_token(self, provider_name, *arguments, **options):
        _held_before.set(self._held.get(provider_name))
        began = time.monotonic()
        token = super().get_token(provider_name, *arguments, **options)
        self.watch.present(token, began)
        return token

    def renew_refused(self, *arguments, **options):
        began = time.monotonic()
        token = super().renew_refused(*arguments, **options)
        self.watch.present(token, began)
        return token

    def _wait_for(self, answer, wish):
        self.watch.waits(self, wish, answer)
        return super()._wait_for(answer, wish)


class WatchedManager(OAuth2TokenManager):
    """The same for tasks."""

    async def get_token(self, provider_name, *arguments, **options):
        _held_before.set(self._held.get(provider_name))
        began = time.monotonic()
        token = await super().get_token(provider_name, *arguments, **options)
        await anyio.to_thread.run_sync(self.keeper.watch.present, token, began)
        return token

    async def renew_refused(self, *arguments, **options):
        began = time.monotonic()
        token = await super().renew_refused(*arguments, **options)
        await anyio.to_thread.run_sync(self.keeper.watch.present, token, began)
        return token

    async def _wait_for(self, answer, wish):
        self.keeper.watch.waits(self, wish, answer)
        return await super()._wait_for(answer, wish)


def at_once(*jobs):
    """Run *jobs* in a thread each, all at the same time; return what each returned or raised."""
    start = threading.Barrier(len(jobs))

    def run(job):
        start.wait(GUARD_SECONDS)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        futures = [pool.submit(run, job) for job in jobs]
        return [future.exception() or future.result() for future in futures]


def tasks_at_once(backend, count, job):
    """Run *job* in that many tasks of one event loop; return what each returned or raised."""
    results = []

    async def run():
        try:
            results.append(await job())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            results.append(error)

    async def main():
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(run)

    anyio.run(main, backend=backend)
    return results


def until(condition, what):
    """Wait for *condition* to hold; for states that no event announces."""
    ends = time.monotonic() + GUARD_SECONDS
    while not condition():
        assert time.monotonic() < ends, f"{what} never came true"
        time.sleep(0.005)


@pytest.fixture
def kit():
    """Return this module: tests are not a package, so they can't import it."""
    return sys.modules[__name__]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Let no proxy of the machine stand between us and loopback."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server():
    """Return Authlib's server, started for this test alone."""
    with AuthlibOnFlask() as server:
        yield server


@pytest.fixture
def watch(server):
    """Return what notes every refused token, and fails the test in the end if there was one."""
    watch = Watch(server)
    yield watch
    watch.assert_flawless()


@pytest.fixture
def make_keeper(watch):
    """Make watched keepers that are closed in the end."""
    with ExitStack() as stack:

        def make(*providers, **options):
            keeper = stack.enter_context(WatchedKeeper(watch, **options))
            for provider in providers:
                keeper.add_provider(provider)
            return keeper

        yield make


@pytest.fixture
def make_provider(server):
    """Make providers for a client: options of ``OAuth2Config`` first, the provider's by name."""

    def make(name="api", client_id="worker", *, config=None, **options):
        registration = server.config(name, client_id, **(config or {}))
        return GenericOAuth2Provider(registration, **options)

    return make
