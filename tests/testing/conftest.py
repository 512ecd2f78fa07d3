"""A running loopback server, and an HTTP client of it."""

import pytest
import requests

from tokenkeeper.testing import LoopbackAuthorizationServer


@pytest.fixture
def session():
    """Return an HTTP client that connects to loopback directly."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def server():
    """Return a running server."""
    with LoopbackAuthorizationServer(lifetime_seconds=60) as server:
        yield server


@pytest.fixture
def ask(session):
    """Return a function that requests a token of a server, and returns the answer."""

    def ask(server, **parameters):
        form = {"grant_type": "client_credentials", **parameters}
        auth = (server.client_id, server.client_secret.replace(" ", "%20"))
        return session.post(server.token_url, data=form, auth=auth, timeout=10)

    return ask
