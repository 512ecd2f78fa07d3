"""The fixtures of the folders whose library connects to RabbitMQ."""

import pytest
from kit.guards import GUARD_SECONDS, until
from kit.servers import rabbitmq
from kit.shared import shared

from tokenkeeper.testing import Answer

KEY = pytest.StashKey()


@pytest.fixture
def broker(pytestconfig, tmp_path_factory):
    """Return a running broker, which all folders share."""

    def start():
        return rabbitmq.running(tmp_path_factory.mktemp("rabbitmq"))

    return shared(pytestconfig, KEY, start)


@pytest.fixture
def server():
    """Return an authorization server that the broker trusts."""
    with rabbitmq.token_server() as server:
        yield server


@pytest.fixture
def short_token(server, source, requests_of):
    """Return a token that expires soon. The next one, which the keeper gets meanwhile, doesn't.

    The broker looks at its own clock, so the tests that wait for the expiry take this real time.
    """
    server.lifetime_seconds = 2
    token = source.get_token()
    server.lifetime_seconds = 3600
    return token


@pytest.fixture
def wait_for_expiry(server, source, short_token, requests_of):
    """Return a function that waits until that token has expired, and was renewed once."""

    def wait():
        until(lambda: not server.is_alive(short_token), limit=GUARD_SECONDS, pause=0.05)
        assert source.get_token() != short_token
        assert requests_of() == 2

    return wait


@pytest.fixture
def rejected_first(server):
    """Have the server grant a token first that the broker rejects."""
    body = {"access_token": "not-a-jwt", "token_type": "Bearer", "expires_in": 3600}
    server.script(Answer(200, body))
