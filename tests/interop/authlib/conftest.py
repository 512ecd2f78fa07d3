"""Authlib's server on Flask, started for each test alone."""

import pytest
from servers.authlib_on_flask import AuthlibOnFlask

from tokenkeeper import GenericOAuth2Provider


@pytest.fixture
def server():
    """Return Authlib's server, started for this test alone."""
    with AuthlibOnFlask() as server:
        yield server


@pytest.fixture
def make_provider(server):
    """Make providers for a client: options of ``OAuth2Config`` first, the provider's by name."""

    def make(name="api", client_id="worker", *, config=None, **options):
        registration = server.config(name, client_id, **(config or {}))
        return GenericOAuth2Provider(registration, **options)

    return make
