"""An MCP server on loopback, and a person who signs in."""

import pytest
from kit.servers.mcp_stand_in import McpStandIn, Person

from tokenkeeper import TokenKeeper


@pytest.fixture
def server():
    """Return the MCP server, which is its own authorization server."""
    with McpStandIn() as server:
        yield server


@pytest.fixture
def keeper():
    """Return a keeper without a store."""
    with TokenKeeper() as keeper:
        yield keeper


@pytest.fixture
def person():
    """Return a person who signs in at once."""
    person = Person()
    yield person
    person.leave()


@pytest.fixture
def auth(make_auth):
    """Return an auth for the server, as the tests of the module make it."""
    return make_auth()
