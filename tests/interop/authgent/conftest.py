"""authgent-server, started for each file."""

import pytest
from kit.servers.authgent import Authgent


@pytest.fixture(scope="module")
def server():
    """Return authgent-server."""
    with Authgent() as server:
        yield server
