"""The fixtures of the folders whose library connects to Dovecot."""

from contextlib import contextmanager

import pytest
from aiosmtpd.controller import Controller
from kit.programs import free_port
from kit.servers import dovecot
from kit.servers.raw import Scripted
from kit.shared import shared

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


@contextmanager
def running():
    """Run an authorization server, Dovecot, which asks it, and a relay for what is submitted."""
    relay = Relay()
    controller = Controller(relay, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        with (
            LoopbackAuthorizationServer() as server,
            dovecot.running(server, controller.port) as mail,
        ):
            yield server, mail, relay
    finally:
        controller.stop()


KEY = pytest.StashKey()


@pytest.fixture
def servers(pytestconfig):
    """Return the three servers, which all folders share."""
    return shared(pytestconfig, KEY, running)


@pytest.fixture
def mail(servers):
    """Return a running Dovecot."""
    return servers[1]


@pytest.fixture
def relay(servers):
    """Return the server that keeps the submitted messages."""
    return servers[2]


@pytest.fixture
def server(servers):
    """Return the authorization server, with no valid tokens."""
    servers[0].revoke_all()
    return servers[0]


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


def smtp_server(*answers, mechanisms=b"XOAUTH2"):
    """Return the script of a server that gives *answers* to AUTH, one after the other."""

    def script(server, sock):
        with sock.makefile("rb") as lines:
            sock.sendall(b"220 ready\r\n")
            left = list(answers)
            for line in lines:
                if line.lower().startswith(b"ehlo"):
                    sock.sendall(b"250-hello\r\n250 AUTH " + mechanisms + b"\r\n")
                elif line.startswith(b"AUTH"):
                    answer = left.pop(0)
                    if answer is None:
                        return
                    sock.sendall(answer + b"\r\n")
                else:  # QUIT
                    sock.sendall(b"221 bye\r\n")

    return Scripted(always=script)
