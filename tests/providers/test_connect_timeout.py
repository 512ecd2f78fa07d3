"""``connect_timeout`` of a configured provider, at a server that accepts nobody."""

import socket
import sys
from contextlib import ExitStack

import pytest

from tokenkeeper import TokenAcquisitionError, TokenKeeper

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a full queue refuses connections, or takes them"
)
GUARD_SECONDS = 60


@pytest.fixture
def listener():
    """Return a socket that listens, and no more: what connects waits in its queue."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        yield listener


@pytest.fixture
def full(listener):
    """Fill the queue of the listener: Linux answers nothing to who comes next."""
    with ExitStack() as stack:
        while True:
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.5)
            try:
                waiting.connect(listener.getsockname())
            except TimeoutError:
                break
        yield listener


@pytest.fixture
def failure_at():
    """Return what asks for a token, by a configuration, and returns the failure."""

    def failure_at(listener, scheme="https", **timeouts):
        block = {
            "provider_name": "api",
            "provider_type": "generic",
            "client_id": "worker",
            "client_secret": "in memory",
            "token_url": f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/token",
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
    """It is waited for until connect_timeout, and the error names that."""
    said = failure_at(full, scheme, connect_timeout=0.2)
    assert "the connection timed out (connect_timeout of 0.2 s). Check network" in said


def test_a_shorter_total_time(full, failure_at):
    """A total_timeout that is the shorter one ends the wait as well, and is the one named."""
    said = failure_at(full, connect_timeout=GUARD_SECONDS, total_timeout=0.2)
    assert "the connection timed out (total_timeout of 0.2 s)" in said


def test_a_handshake_that_does_not_come(listener, failure_at):
    """TLS is part of the connection: a server that says nothing in it is named by the same."""
    said = failure_at(listener, connect_timeout=0.2)
    assert "the TLS handshake timed out (connect_timeout of 0.2 s)" in said
