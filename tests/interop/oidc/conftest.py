"""oidc-provider on Node: certified, and written by people who know the RFCs."""

import pytest
from servers.oidc import OidcProvider

from tokenkeeper import GenericOAuth2Provider


@pytest.fixture(scope="module")
def oidc():
    """Return one server for all tests of a module: each has clients of its own."""
    with OidcProvider() as server:
        yield server


@pytest.fixture
def server(oidc):
    """Return the server."""
    return oidc


@pytest.fixture
def make_provider(server):
    """Make providers for a client: options of ``OAuth2Config`` first, the provider's by name."""

    def make(name="api", client_id="worker", *, config=None, **options):
        registration = server.config(name, client_id, **(config or {}))
        return GenericOAuth2Provider(registration, **options)

    return make
