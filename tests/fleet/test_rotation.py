"""One grant whose refresh tokens work once serves a whole fleet, and is never revoked."""

import sys

import pytest
from kit.servers.oidc import OidcProvider

from fleet import rotation


@pytest.fixture(scope="module")
def server():
    """Return oidc-provider, which revokes a grant when a refresh token is used twice."""
    server = OidcProvider()
    yield server
    server.stop()


@pytest.mark.timeout(240)  # each process waits ten seconds after the store lost its records
@pytest.mark.parametrize("engine", ["sqlite", "valkey"])
def test_rotating_refresh_tokens(engine, server):
    """The grant outlives a store that hangs, comes back older, or loses everything."""
    rotation.rotating(engine, server=server).check()


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_holder_that_is_paused(server):
    """A process that is stopped before it sends notices that its claim is of the past."""
    rotation.paused_holder("sqlite", server=server).check()
