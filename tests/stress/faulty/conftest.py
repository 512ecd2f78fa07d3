"""Authlib's server behind a fault proxy, and keepers whose tokens are presented to it."""

import gc
import itertools
import sys
import threading
import time
from contextlib import ExitStack

import pytest
from kit.guards import (
    open_sockets,
)
from kit.servers.administered import SECRET
from kit.servers.authlib_on_flask import AuthlibOnFlask
from kit.servers.fault_proxy import FaultProxy

from tokenkeeper import GenericOAuth2Provider, RetryPolicy, TokenKeeper
from tokenkeeper.clock import SystemClock

POLICY = RetryPolicy(
    attempts=3,
    initial_wait_seconds=0.02,
    max_wait_seconds=0.05,
    total_seconds=60.0,
    background_wait_seconds=0.05,
)
READ_SECONDS = 0.6
"""Long enough for a busy machine to answer, short enough to wait for."""
TOTAL_SECONDS = 1.5
"""For a whole request. An answer that arrives byte by byte takes longer."""


class ProxiedClock(SystemClock):
    """The machine's clock, which can jump ahead and reports the wait before a retry."""

    def __init__(self):
        self.ahead = 0.0
        self.before_retry = None

    def time(self):
        return time.time() + self.ahead

    def monotonic(self):
        return SystemClock.monotonic() + self.ahead

    def wait(self, event, timeout):
        scheduler = threading.current_thread().name == "tokenkeeper-refresher"
        if not scheduler and self.before_retry is not None:
            self.before_retry()
        ends = None if timeout is None else self.monotonic() + timeout
        while True:  # in short waits, because a jump wakes no thread
            left = 0.02 if ends is None else min(0.02, ends - self.monotonic())
            if event.wait(max(0.0, left)):
                return True
            if ends is not None and self.monotonic() >= ends:
                return False


class Client:
    """A client of the server with its own keeper, which asks through the proxy."""

    def __init__(self, server, name, keeper, clock):
        self.server = server
        self.name = name
        self.keeper = keeper
        self.clock = clock

    def present(self, token):
        """Present *token* to the API, which must accept it for this client and its scope."""
        status, said = self.server.call(token)
        assert status == 200, f"the API refused a token: {said}"
        assert (said["client_id"], said["scope"]) == (self.name, "read")
        return token

    def get(self, **options):
        """Get a token, and present it."""
        return self.present(self.keeper.get_token(self.name, **options))

    @property
    def info(self):
        return self.keeper.get_cached_token_info(self.name)

    @property
    def granted(self):
        """How many token requests reached the server."""
        return self.server.stats(self.name)["token_requests"]


def assert_clear(error, client):
    """The error names its provider in one printable line and shows no secret."""
    text = str(error)
    assert repr(client.name) in text
    assert text.isprintable(), text
    for hidden in (SECRET, 'access_token"', "access_token=", "Basic ", "grant_type"):
        assert hidden not in text
        assert hidden not in repr(error)


@pytest.fixture
def faulty():
    """Return this module, which tests can't import because they are not a package."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def authlib():
    """Return Authlib's server; each test has its own clients."""
    with AuthlibOnFlask() as server:
        yield server


@pytest.fixture
def no_leak(authlib, kit):
    """Fail the test if sockets are left open at its end."""
    authlib.http.clear()
    before = open_sockets()
    yield
    authlib.http.clear()
    kit.until(lambda: open_sockets() <= before, "every socket closed")


@pytest.fixture
def make_proxy(authlib, no_leak):
    """Return a function that starts proxies, which are closed after the keepers."""
    with ExitStack() as stack:
        yield lambda tls=None: stack.enter_context(FaultProxy(authlib.port, tls))


@pytest.fixture
def proxy(make_proxy):
    """Return a proxy without faults."""
    return make_proxy()


_numbers = itertools.count(1)


@pytest.fixture
def make_client(authlib, kit, proxy):
    """Return a function that registers clients with keepers, which leave no connection open."""
    proxies = {proxy}
    with ExitStack() as stack:

        def make(*, by=proxy, lifetime=3600, url=None, retry=POLICY, cooldown=30.0, **options):
            proxies.add(by)
            name = f"client-{next(_numbers)}"
            authlib.add_client(name, lifetime_seconds=lifetime)
            config = authlib.config(name, name, token_url=url or by.url())
            clock = ProxiedClock()
            times = {
                "connect_timeout": 5.0,
                "read_timeout": READ_SECONDS,
                "total_timeout": TOTAL_SECONDS,
            }
            keeper = stack.enter_context(TokenKeeper(clock=clock, cooldown_seconds=cooldown))
            provider = GenericOAuth2Provider(
                config, clock=clock, retry=retry, **{**times, **options}
            )
            keeper.add_provider(provider)
            return Client(authlib, name, keeper, clock)

        yield make

    def closed():
        gc.collect()  # a failed request leaves a cycle, which refers to its pool of connections
        return not any(each.open for each in proxies)

    kit.until(closed, "every connection closed by its client")


@pytest.fixture
def client(make_client):
    """Return a client with tokens of an hour."""
    return make_client()
