"""oidc-provider on Node: certified, and written by people who know the RFCs."""

import pytest
from servers.oidc import OidcProvider


@pytest.fixture(scope="module")
def oidc():
    """Return one server for all tests of a module: each has clients of its own."""
    with OidcProvider() as server:
        yield server


@pytest.fixture
def server(oidc):
    """Return the server."""
    return oidc
