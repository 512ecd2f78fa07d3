"""MCP servers: one that checks tokens, and one that grants them too."""

from kit.mcp_fixtures import browser, mcp, official, person

__all__ = ["browser", "mcp", "official", "person"]
