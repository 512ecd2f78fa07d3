import os

import httpx2
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenExchange, TokenKeeper


def orders_server(keeper, api, verifier, settings):
    mcp = MCPServer("orders", token_verifier=verifier, auth=settings)

    @mcp.tool()
    async def orders() -> str:
        """List the caller's orders."""
        callers_token = get_access_token().token
        source = keeper.source("orders", subject=callers_token, audience=api)
        async with httpx2.AsyncClient() as http:
            response = await http.get(api, headers=await source.aio.headers("GET", api))
        return response.raise_for_status().text

    return mcp


def main():
    from my_service import verifier  # validates tokens: signature, issuer, audience

    url, issuer = os.environ["MCP_URL"], os.environ["ISSUER"]
    settings = AuthSettings(
        issuer_url=issuer, resource_server_url=url, validate_token_resource=True
    )
    config = OAuth2Config(
        "orders", os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"], issuer=issuer
    )
    with TokenKeeper() as keeper:
        keeper.add_provider(GenericOAuth2Provider(config, grant=TokenExchange()))
        mcp = orders_server(keeper, os.environ["ORDERS_API"], verifier, settings)
        mcp.run(transport="streamable-http")


if __name__ == "__main__":
    main()
