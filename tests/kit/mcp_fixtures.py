"""Fixtures for clients of MCP servers: one that checks tokens, and one that grants them too."""

import sys

import pytest

from kit.servers.mcp_official import official_server
from kit.servers.mcp_server import mcp_server
from kit.servers.mcp_stand_in import Person


@pytest.fixture
def mcp(server):
    """Return the URL of an MCP server, and its verifier."""
    with mcp_server(server) as running:
        yield running


@pytest.fixture
def official():
    """Return the official server, with its own authorization server."""
    with official_server() as running:
        yield running


@pytest.fixture
def person():
    """Return a person who signs in at once."""
    person = Person()
    yield person
    person.leave()


@pytest.fixture
def browser():
    """Return a command for ``BROWSER`` that opens a page, and agrees."""
    return f"{sys.executable} -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1])' %s"
