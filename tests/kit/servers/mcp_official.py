"""The official SDK's MCP server together with its own authorization server (``mcp.server.auth``).

Everybody who is asked to sign in has agreed already, so the authorization endpoint redirects at
once. What the SDK leaves to its users, the storage, is in memory here.
"""

import itertools
import secrets
import socket
import time
from contextlib import contextmanager

import anyio
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthToken

from kit.guards import GUARD_SECONDS
from kit.servers.mcp_server import serving_on

TOGETHER = 6
"""How many calls of the tool "together" wait for each other."""


class Memory:
    """What the SDK's authorization server has its users write.

    :ivar registered: the clients, in order.
    :ivar sign_ins: the authorization requests, in order.
    :ivar issuer: what the answer to a sign-in states as ``iss``.
    """

    def __init__(self, issuer):
        self.issuer = issuer
        self.registered, self.sign_ins = [], []
        self.requests = itertools.count()
        self.codes, self.access_tokens, self.refresh_tokens = {}, {}, {}

    async def get_client(self, client_id):
        return next((each for each in self.registered if each.client_id == client_id), None)

    async def register_client(self, client):
        self.registered.append(client)

    async def authorize(self, client, params):
        self.sign_ins.append(params)
        code = secrets.token_urlsafe()
        self.codes[code] = AuthorizationCode(
            code=code,
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        uri = str(params.redirect_uri)
        return construct_redirect_uri(uri, code=code, state=params.state, iss=self.issuer)

    async def load_authorization_code(self, client, code):
        return self.codes.get(code)

    async def exchange_authorization_code(self, client, code):
        del self.codes[code.code]
        return self._granted(client.client_id, code.scopes, code.resource)

    async def load_refresh_token(self, client, token):
        found = self.refresh_tokens.get(token)
        return found if found and found.client_id == client.client_id else None

    async def exchange_refresh_token(self, client, token, scopes):
        del self.refresh_tokens[token.token]
        return self._granted(client.client_id, scopes, token.resource)

    async def load_access_token(self, token):
        return self.access_tokens.get(token)

    async def revoke_token(self, token):
        self.access_tokens.pop(token.token, None)

    def _granted(self, client_id, scopes, resource):
        next(self.requests)
        shared = {"client_id": client_id, "scopes": scopes, "resource": resource}
        access, refresh = secrets.token_urlsafe(), secrets.token_urlsafe()
        self.access_tokens[access] = AccessToken(token=access, **shared)
        self.refresh_tokens[refresh] = RefreshToken(token=refresh, **shared)
        return OAuthToken(
            access_token=access, refresh_token=refresh, expires_in=3600, scope=" ".join(scopes)
        )


class Official:
    """A running server.

    :ivar url: the URL of the MCP server.
    :ivar memory: what its authorization server knows.
    :ivar settings: its settings, whose required scopes can be changed before it starts.
    """

    def __init__(self, origin, scopes):
        self.url = f"{origin}/mcp"
        self.memory = Memory(origin)
        self.settings = AuthSettings(
            issuer_url=origin,
            resource_server_url=self.url,
            validate_token_resource=True,
            required_scopes=scopes,
            client_registration_options=ClientRegistrationOptions(
                enabled=True, valid_scopes=scopes
            ),
        )

    def app(self):
        mcp = MCPServer("official", auth_server_provider=self.memory, auth=self.settings)

        @mcp.tool()
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        present, complete = itertools.count(1), anyio.Event()

        @mcp.tool()
        async def together() -> str:
            """Wait until all are here."""
            if next(present) == TOGETHER:
                complete.set()
            with anyio.fail_after(GUARD_SECONDS):
                await complete.wait()
            return "done"

        return mcp.streamable_http_app()


@contextmanager
def official_server(*, scopes=("user",), port=0):
    """Run the server on loopback until the block ends; yield it as an :class:`Official`."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
        official = Official(origin, list(scopes))
        with serving_on(listening, official.app()):
            yield official
