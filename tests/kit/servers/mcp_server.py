"""The MCP server of the official SDK, which asks the authorization server about each token."""

import socket
import threading
from contextlib import contextmanager

import httpx2
import uvicorn
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

from kit.guards import GUARD_SECONDS, until


class IntrospectingVerifier:
    """Accepts the tokens that introspection calls active (RFC 7662).

    :ivar seen: the tokens of the requests, in order.
    :ivar refused: those that it refused.
    :ivar revoke_at: the number of the request at which all tokens are revoked; ``None`` for never.
    """

    def __init__(self, server):
        self.server = server
        self.seen = []
        self.refused = []
        self.revoke_at = None

    async def verify_token(self, token):
        self.seen.append(token)
        if len(self.seen) == self.revoke_at:
            self.server.revoke_all()
        client = {"client_id": self.server.client_id, "client_secret": self.server.client_secret}
        async with httpx2.AsyncClient(verify=False) as http:  # loading CAs takes time
            answer = await http.post(self.server.introspection_url, data={"token": token, **client})
        if not answer.json()["active"]:
            self.refused.append(token)
            return None
        return AccessToken(token=token, client_id="any", scopes=[])


@contextmanager
def serving(app):
    """Serve an ASGI application on loopback until the block ends; yield its origin."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        with serving_on(listening, app):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def serving_on(listening, app):
    """Serve an ASGI application on a socket that is bound, until the block ends.

    For an application that has to know its own URL.
    """
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    web = uvicorn.Server(config)
    thread = threading.Thread(target=web.run, args=([listening],))
    thread.start()
    try:
        until(lambda: web.started or not thread.is_alive(), "the start of the server")
        yield
    finally:
        web.should_exit = True
        thread.join(GUARD_SECONDS)


@contextmanager
def mcp_server(server):
    """Run an MCP server with one tool; yield its URL and its verifier.

    :param server: the authorization server whose tokens it accepts.
    """
    verifier = IntrospectingVerifier(server)
    settings = AuthSettings(
        issuer_url=server.issuer,
        resource_server_url="http://127.0.0.1/mcp",
        validate_token_resource=False,
    )
    mcp = MCPServer("stub", token_verifier=verifier, auth=settings)

    @mcp.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    with serving(mcp.streamable_http_app()) as origin:
        yield f"{origin}/mcp", verifier
