import asyncio
import os
from urllib.parse import urlsplit

from kiota_abstractions.authentication import AnonymousAuthenticationProvider
from msgraph import GraphServiceClient
from msgraph.graph_request_adapter import GraphRequestAdapter, options
from msgraph_core import GraphClientFactory

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.httpx import KeeperAuth

URL = os.environ.get("GRAPH_URL", "https://graph.microsoft.com/v1.0")


def graph_client(source):
    client = GraphClientFactory.create_with_default_middleware(options=options)
    client.auth = KeeperAuth(source, allowed_hosts=[urlsplit(URL).netloc], timeout=20)
    adapter = GraphRequestAdapter(AnonymousAuthenticationProvider(), client)
    adapter.base_url = URL
    return GraphServiceClient(request_adapter=adapter)


async def main():
    with TokenKeeper.from_env() as keeper:
        graph = graph_client(keeper.source("oauth2"))  # scope https://graph.microsoft.com/.default
        user = await graph.users.by_user_id("ada@contoso.example").get()
        print(user.display_name)


if __name__ == "__main__":
    asyncio.run(main())
