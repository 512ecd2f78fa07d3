import asyncio
import os
from urllib.parse import urlsplit

from kubernetes import aio

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.aiohttp import KeeperMiddleware


def configuration(source):
    url = os.environ["KUBERNETES_URL"]
    middleware = KeeperMiddleware(source, allowed_hosts=[urlsplit(url).netloc])
    return aio.client.Configuration(url, client_session_kwargs={"middlewares": [middleware]})


async def main(source):
    async with aio.client.ApiClient(configuration(source)) as api:
        pods = await aio.client.CoreV1Api(api).list_namespaced_pod("default")
        print(*(pod.metadata.name for pod in pods.items))


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        asyncio.run(main(keeper.source("oauth2")))
