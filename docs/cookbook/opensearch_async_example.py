import asyncio
import os

from opensearchpy import AIOHttpConnection, AsyncOpenSearch
from opensearchpy.exceptions import AuthenticationException

from tokenkeeper import TokenKeeper


def client(source):
    class Connection(AIOHttpConnection):
        async def perform_request(self, *args, headers=None, **options):
            def send(token):
                sent = {**(headers or {}), "authorization": f"Bearer {token}"}
                return super(Connection, self).perform_request(*args, headers=sent, **options)

            token = await source.aio.get_token()
            try:
                return await send(token)
            except AuthenticationException:  # a 401
                return await send(await source.aio.renew_refused(token))

    return AsyncOpenSearch(os.environ["OPENSEARCH_URL"], connection_class=Connection)


async def main(source):
    async with client(source) as search:
        print((await search.info())["cluster_name"])


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        asyncio.run(main(keeper.source("oauth2")))
