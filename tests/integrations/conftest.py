"""An API on loopback that accepts some tokens and refuses others, and a keeper with its tokens."""

import itertools
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import anyio
import anyio.to_thread
import pytest
from kit.guards import (
    GUARD_SECONDS,
)
from kit.servers.api import Api

from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenKeeper


class Minting(BaseOAuth2Provider):
    """Grants tokens that the API accepts.

    :ivar good: whether the API accepts the tokens.
    :ivar asking: set when a token is requested.
    :ivar open: while it is cleared, requests block.
    :ivar failure: the error to raise instead of granting a token.
    :ivar takes: how many seconds a request takes.
    """

    def __init__(self, api):
        super().__init__("api")
        self.api = api
        self.numbers = itertools.count(1)
        self.asked = self.minted = 0
        self.good = True
        self.failure = None
        self.takes = 0.02
        self.asking = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def shut(self):
        """Block requests from now on, and clear ``asking``."""
        self.open.clear()
        self.asking.clear()

    def acquire_token(self):
        self.asked += 1
        self.asking.set()
        assert self.open.wait(GUARD_SECONDS)
        if self.failure is not None:
            raise self.failure
        time.sleep(self.takes)
        self.minted += 1
        token = f"token-{next(self.numbers)}"
        if self.good:
            self.api.valid.add(token)
        return OAuth2Token(token, "Bearer", datetime.now(UTC) + timedelta(hours=1))


@pytest.fixture
def make_api():
    """Return a function that starts APIs, which stop at the end of the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Api())


@pytest.fixture
def api(make_api):
    """Return the API that accepts the tokens."""
    return make_api()


@pytest.fixture
def elsewhere(make_api):
    """Return another API, which must not get the tokens."""
    return make_api()


@pytest.fixture
def provider(api):
    """Return the provider of the tokens."""
    return Minting(api)


@pytest.fixture
def keeper(provider):
    """Return a keeper with the provider "api"."""
    with TokenKeeper() as keeper:
        keeper.add_provider(provider)
        yield keeper


@pytest.fixture
def cancel_in_a_renewal(provider):
    """Return a function that runs a job, and cancels it once it asks for a token."""

    async def cancel_in_a_renewal(job, *arguments):
        provider.shut()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(job, *arguments)
            assert await anyio.to_thread.run_sync(provider.asking.wait, GUARD_SECONDS)
            tasks.cancel_scope.cancel()
        provider.open.set()

    return cancel_in_a_renewal


@pytest.fixture
def fork_while(exit_code_of):
    """Return a function that forks in the middle of another function.

    The other function gets an event to set and one to wait for. The result is whether the fork
    waited until that function had finished.
    """

    def fork_while(function):
        entered, go_on, forked = threading.Event(), threading.Event(), threading.Event()
        inside = threading.Thread(target=function, args=(entered, go_on))
        forker = threading.Thread(target=lambda: (exit_code_of(lambda: 0), forked.set()))
        inside.start()
        assert entered.wait(20)
        forker.start()
        waited = not forked.wait(0.05)
        go_on.set()
        assert forked.wait(20)
        forker.join()
        inside.join()
        return waited

    return fork_while
