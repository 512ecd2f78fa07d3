import asyncio
import os

from elastic_transport import AiohttpHttpNode
from elasticsearch import AsyncElasticsearch

from tokenkeeper import TokenKeeper


def client(source):
    class Node(AiohttpHttpNode):
        async def perform_request(self, *args, headers=None, **options):
            def send(token):
                sent = {**(headers or {}), "authorization": f"Bearer {token}"}
                return super(Node, self).perform_request(*args, headers=sent, **options)

            token = await source.aio.get_token()
            answer = await send(token)
            if answer.meta.status == 401:
                answer = await send(await source.aio.renew_refused(token))
            return answer

    return AsyncElasticsearch(os.environ["ELASTICSEARCH_URL"], node_class=Node)


async def main(source):
    async with client(source) as search:
        print((await search.info())["cluster_name"])


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        asyncio.run(main(keeper.source("oauth2")))
