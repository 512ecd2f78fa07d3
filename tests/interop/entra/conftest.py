"""The stand-in for Entra ID, with a CA of its own for each."""

from contextlib import ExitStack

import pytest
from servers.entra import CLIENT_ID, SECRET, TENANT, Entra

from tokenkeeper import AzureADProvider, RetryPolicy

QUICK = RetryPolicy(initial_wait_seconds=0.05, max_wait_seconds=0.2)
"""Retries soon, so that tests end soon."""


@pytest.fixture
def make_entra(tmp_path):
    """Start stand-ins with certificates of any kind, each with a CA of its own."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Entra(tmp_path, **options))


@pytest.fixture
def entra(make_entra):
    """Return a stand-in that serves."""
    return make_entra()


@pytest.fixture
def server(entra):
    """Return the same for those who call it a server."""
    return entra


@pytest.fixture
def make_provider(entra):
    """Make providers that ask the stand-in, called "graph"."""

    def make(name="graph", **changes):
        options = {
            "client_id": CLIENT_ID,
            "client_secret": SECRET,
            "tenant_id": TENANT,
            "authority": entra.authority,
            "verify": entra.ca_file,
            "retry": QUICK,
        }
        return AzureADProvider(name, **(options | changes))

    return make


@pytest.fixture
def keeper(make_keeper, make_provider):
    """Return a watched keeper with the provider "graph", cold."""
    return make_keeper(make_provider(), cooldown_seconds=600)
