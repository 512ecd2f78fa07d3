"""``mcp``: an MCP server that exchanges its callers' tokens, and passes none on."""

import httpx2
import pytest
from kit.cookbook import example
from kit.servers.base import Answer, LoopbackServer
from kit.servers.exchange import TokenService, claims_in, token_of
from kit.servers.mcp_server import serving
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

from tokenkeeper import TokenExchange, TokenKeeper

URL = "http://127.0.0.1/mcp"


class Orders(LoopbackServer):
    """An API that says whose token it got."""

    def answer(self, request):
        return Answer(200, f"orders of {claims_in(request.bearer)['sub']}".encode())


class Verifier:
    """Accepts the token service's tokens."""

    async def verify_token(self, token):
        return AccessToken(token=token, client_id="any", scopes=[], resource=URL)


@pytest.fixture
def api():
    with Orders() as api:
        yield api


@pytest.fixture
def service():
    with TokenService() as service:
        yield service


@pytest.fixture
def mcp_url(api, service):
    """Run the page's server, and return its URL."""
    settings = AuthSettings(
        issuer_url=service.origin, resource_server_url=URL, validate_token_resource=True
    )
    with TokenKeeper() as keeper:
        keeper.add_provider(service.provider("orders", TokenExchange()))
        mcp = example("mcp_server").orders_server(keeper, api.origin, Verifier(), settings)
        with serving(mcp.streamable_http_app()) as origin:
            yield f"{origin}/mcp"


async def orders_of(url, token):
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, verify=False) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        return (await client.call_tool("orders")).structured_content["result"]


@pytest.mark.anyio
async def test_each_caller_has_tokens_of_its_own(mcp_url, api, service):
    """The API gets an exchanged token for each caller, for itself, and never the caller's."""
    callers = {name: token_of(name) for name in ("ada", "grace")}
    for _ in range(2):
        for name, token in callers.items():
            assert await orders_of(mcp_url, token) == f"orders of {name}"
    sent = [each.bearer for each in api.received]
    assert not set(sent) & set(callers.values())
    assert {claims_in(each)["aud"][0] for each in sent} == {api.origin}
    assert len(set(sent)) == len(service.received) == 2
