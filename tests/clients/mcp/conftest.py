"""An MCP server that checks tokens."""

import pytest
from kit.servers.mcp_server import mcp_server


@pytest.fixture
def mcp(server):
    """Return the URL of an MCP server, and its verifier."""
    with mcp_server(server) as running:
        yield running
