"""Stand-ins for Entra ID, each with its own CA."""

from contextlib import ExitStack

import pytest
from kit.servers.entra import CLIENT_ID, SECRET, TENANT, Entra

from tokenkeeper import AzureADProvider, RetryPolicy

QUICK = RetryPolicy(initial_wait_seconds=0.05, max_wait_seconds=0.2)
"""Short waits between retries, so that tests are fast."""


@pytest.fixture
def make_entra(tmp_path):
    """Return a function that starts stand-ins with any certificate, each with its own CA."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Entra(tmp_path, **options))


@pytest.fixture
def entra(make_entra):
    """Return a running stand-in."""
    return make_entra()


@pytest.fixture
def server(entra):
    """Return the stand-in under the name that the shared fixtures use."""
    return entra


@pytest.fixture
def make_provider(entra):
    """Return a function that makes providers for the stand-in, by default named "graph"."""

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
    """Return a watched keeper with the provider "graph", without a token."""
    return make_keeper(make_provider(), cooldown_seconds=600)
