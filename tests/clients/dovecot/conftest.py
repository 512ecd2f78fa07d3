"""Dovecot, which asks the authorization server about each token, and what it relays."""

import pytest
from aiosmtpd.controller import Controller
from kit.programs import free_port
from kit.servers import dovecot

from tokenkeeper import TokenKeeper
from tokenkeeper.testing import LoopbackAuthorizationServer

USER = LoopbackAuthorizationServer.client_id  # Dovecot compares it with the token's client


class Relay:
    """Keeps the messages that it gets."""

    def __init__(self):
        self.messages = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - its base class names it
        self.messages.append(envelope.content.decode())
        return "250 OK"


@pytest.fixture(scope="package")
def authorization_server():
    """Return the authorization server that Dovecot asks in all tests."""
    with LoopbackAuthorizationServer() as server:
        yield server


@pytest.fixture(scope="package")
def relay():
    """Return a server that keeps the messages that it gets."""
    relay = Relay()
    controller = Controller(relay, hostname="127.0.0.1", port=free_port())
    controller.start()
    relay.port = controller.port
    yield relay
    controller.stop()


@pytest.fixture(scope="package")
def mail(authorization_server, relay):
    """Return a running Dovecot."""
    with dovecot.running(authorization_server, relay.port) as mail:
        yield mail


@pytest.fixture
def server(authorization_server):
    """Return the authorization server, whose clients have no token yet."""
    authorization_server.revoke_all()
    return authorization_server


@pytest.fixture
def keeper(server):
    """Return a keeper with the provider "api" of the server."""
    with TokenKeeper() as keeper:
        keeper.add_provider(server.provider("api"))
        yield keeper


@pytest.fixture
def requests_of(server):
    """Return a function that returns how many tokens the test has requested so far."""
    before = server.stats().token_requests
    return lambda: server.stats().token_requests - before


@pytest.fixture
def user():
    """Return the name of the mailbox."""
    return USER
