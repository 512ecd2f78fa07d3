"""Requests to MCP servers by the HTTP client of their SDK."""

import httpx2


def call(auth, url, **options):
    """Send one request with *auth*, and return the response."""
    with httpx2.Client(auth=auth, verify=False) as client:
        return client.request(options.pop("method", "GET"), url, **options)
