"""What all servers are tested with: keepers whose every token is presented to the API at once.

Each server's own ``conftest.py`` has the fixture ``server``, whose ``call(token)`` does that.
"""

from contextlib import ExitStack

import pytest
from servers import watched


@pytest.fixture
def kit():
    """Return what crowds are made of."""
    return watched


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Let no proxy, CA or authority of the machine stand between us and loopback."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("AZURE_AUTHORITY_HOST", raising=False)


@pytest.fixture
def watch(server):
    """Return what notes every refused token, and fails the test in the end if there was one."""
    watch = watched.Watch(server)
    yield watch
    watch.assert_flawless()


@pytest.fixture
def make_keeper(watch):
    """Make watched keepers that are closed in the end."""
    with ExitStack() as stack:

        def make(*providers, **options):
            keeper = stack.enter_context(watched.WatchedKeeper(watch, **options))
            for provider in providers:
                keeper.add_provider(provider)
            return keeper

        yield make
