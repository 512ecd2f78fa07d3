"""oidc-provider on Node, a certified implementation of OpenID Connect."""

import pytest
from kit.servers.oidc import OidcProvider


@pytest.fixture(scope="module")
def oidc():
    """Return one server for all tests of a module; each test has its own clients."""
    with OidcProvider() as server:
        yield server


@pytest.fixture
def server(oidc):
    """Return the server."""
    return oidc
