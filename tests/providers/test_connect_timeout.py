"""``connect_timeout`` of a configured provider, with a server that accepts no connection."""

import sys

import pytest
from kit.guards import GUARD_SECONDS
from kit.servers.raw import Scripted, full_queue, silence

from tokenkeeper import TokenAcquisitionError, TokenKeeper

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only on Linux does a full queue ignore connections"
)


@pytest.fixture
def full():
    """Return a port whose queue is full: Linux ignores further connection attempts."""
    with full_queue() as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def failure_at():
    """Return a function that requests a token by a configuration and returns the error."""

    def failure_at(port, scheme="https", **timeouts):
        block = {
            "provider_name": "api",
            "provider_type": "generic",
            "client_id": "worker",
            "client_secret": "in memory",
            "token_url": f"{scheme}://127.0.0.1:{port}/token",
            "read_timeout": GUARD_SECONDS,
            "total_timeout": GUARD_SECONDS,
            "retry": {"attempts": 1},
            **timeouts,
        }
        with (
            TokenKeeper.from_config({"oauth2": block}) as keeper,
            pytest.raises(TokenAcquisitionError) as raised,
        ):
            keeper.get_token("api", timeout=GUARD_SECONDS / 2)
        assert raised.value.transient
        assert isinstance(raised.value.__cause__, TimeoutError)
        return str(raised.value)

    return failure_at


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_that_does_not_come(full, failure_at, scheme):
    """The attempt ends after connect_timeout, which the error names."""
    said = failure_at(full, scheme, connect_timeout=0.2)
    assert "the connection timed out (connect_timeout of 0.2 s). Check network" in said


def test_a_shorter_total_time(full, failure_at):
    """A shorter total_timeout ends the attempt, and is the one that the error names."""
    said = failure_at(full, connect_timeout=GUARD_SECONDS, total_timeout=0.2)
    assert "the connection timed out (total_timeout of 0.2 s)" in said


def test_a_handshake_that_does_not_come(failure_at):
    """The TLS handshake counts as connecting, and its timeout names connect_timeout."""
    with Scripted(always=silence) as server:
        said = failure_at(server.port, connect_timeout=0.2)
    assert "the TLS handshake timed out (connect_timeout of 0.2 s)" in said
