"""Fixtures for all servers: keepers whose tokens are presented to the API immediately.

Each server's own ``conftest.py`` has the fixture ``server``, whose ``call(token)`` does that.
"""

from contextlib import ExitStack

import pytest
from kit.servers import watched

from tokenkeeper import GenericOAuth2Provider


@pytest.fixture
def kit():
    """Return the module with watched keepers and helpers for many callers."""
    return watched


@pytest.fixture
def make_provider(server):
    """Return a function that makes a provider for a client of the server."""

    def make(name="api", client_id="worker", *, config=None, **options):
        registration = server.config(name, client_id, **(config or {}))
        return GenericOAuth2Provider(registration, **options)

    return make


@pytest.fixture
def watch(server):
    """Return a watch that fails the test if the API rejected a token."""
    watch = watched.Watch(server)
    yield watch
    watch.assert_flawless()


@pytest.fixture
def make_keeper(watch):
    """Return a function that makes watched keepers, which are closed at the end."""
    with ExitStack() as stack:

        def make(*providers, **options):
            keeper = stack.enter_context(watched.WatchedKeeper(watch, **options))
            for provider in providers:
                keeper.add_provider(provider)
            return keeper

        yield make
