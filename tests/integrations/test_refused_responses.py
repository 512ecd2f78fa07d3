"""A refused request frees its connection before the renewal, and its response in the end."""

import asyncio
import gc
import io
from functools import partial

import aiohttp
import anyio
import httpx
import pytest
import requests
from azure.core import AsyncPipelineClient
from azure.core.pipeline.transport import AioHttpTransport, TrioRequestsTransport
from azure.core.rest import HttpRequest
from kit.guards import GUARD_SECONDS
from kit.servers.raw import Scripted, reply

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.aiohttp import KeeperMiddleware
from tokenkeeper.integrations.azure_transport import AsyncRenewingTransport
from tokenkeeper.integrations.httpx import KeeperAuth

ONE = httpx.Limits(max_connections=1)
LONG = b"no" * 2**20
"""A refusal that is too long to be read by chance."""


@pytest.fixture
def refused(api, provider, keeper):
    """Let the API refuse the token, and the provider grant no other."""
    token = keeper.get_token("api")
    api.valid.clear()
    api.refusal = LONG
    provider.shut()
    yield token
    provider.open.set()


async def asked(provider):
    """Wait until the provider is asked for a token."""
    with anyio.fail_after(30):
        while not provider.asking.is_set():
            await anyio.sleep(0.001)


def get_in_a_task(url, auth):
    async def main():
        async with httpx.AsyncClient(auth=auth) as client:
            return await client.get(url)

    return asyncio.run(main())


class TestHttpx:
    """A pool with one connection."""

    def test_in_a_thread(self, api, keeper, provider, refused, in_thread):
        """During a renewal, the refused request holds no connection."""
        with httpx.Client(limits=ONE, timeout=10) as client:
            call = partial(client.get, api.url, auth=KeeperAuth(keeper, "api"))
            thread, answers = in_thread(call)
            assert provider.asking.wait(30)
            try:
                assert client.get(api.url).status_code == 401
            finally:
                provider.open.set()
                thread.join(30)
        assert [each.status_code for each in answers] == [200]

    @pytest.mark.anyio
    async def test_in_a_task(self, api, keeper, provider, refused):
        """The same holds for tasks, under asyncio and trio."""
        answers = []

        async def call(client):
            answers.append(await client.get(api.url, auth=KeeperAuth(keeper, "api")))

        async with (
            httpx.AsyncClient(limits=ONE, timeout=10) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(call, client)
            await asked(provider)
            try:
                assert (await client.get(api.url)).status_code == 401
            finally:
                provider.open.set()
        assert [each.status_code for each in answers] == [200]

    @pytest.mark.parametrize("kind", ["blocking", "async"])
    def test_a_refusal_that_breaks_off(self, api, keeper, provider, kind):
        """The caller gets an error, and the token is renewed for the next call."""
        auth = KeeperAuth(keeper, "api")
        keeper.get_token("api")
        api.valid.clear()
        api.faults = ["cut"]
        call = {"blocking": httpx.get, "async": get_in_a_task}[kind]
        with pytest.raises(httpx.RemoteProtocolError):
            call(api.url, auth=auth)
        assert httpx.get(api.url, auth=auth).is_success
        assert api.tokens == ["token-1", "token-2"]


async def parts():
    yield b"a"


async def put_by_aiohttp(keeper, api):
    middleware = KeeperMiddleware(keeper, "api", allowed_hosts=[api.place])
    async with (
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        session.put(api.url, data=parts()),
    ):
        pass


async def put_by_azure(below, keeper, api):
    transport = AsyncRenewingTransport(keeper, "api", below())
    headers = {"Authorization": f"Bearer {keeper.get_token('api')}"}
    async with AsyncPipelineClient(api.url, policies=[], transport=transport) as client:
        files = {"f": io.BytesIO(b"a")}  # which is never sent again
        request = HttpRequest("PUT", api.url, files=files, headers=headers)
        await client.send_request(request, stream=True)


@pytest.mark.parametrize(
    ("backend", "put"),
    [
        pytest.param("asyncio", put_by_aiohttp, id="aiohttp"),
        pytest.param("asyncio", partial(put_by_azure, AioHttpTransport), id="azure-aiohttp"),
        pytest.param("trio", partial(put_by_azure, TrioRequestsTransport), id="azure-trio"),
    ],
)
def test_a_task_that_is_cancelled_where_nothing_is_sent_again(api, provider, backend, put):
    """The response, which no caller will get, is closed."""

    async def main():
        if backend == "asyncio":
            asyncio.get_running_loop().set_debug(True)  # aiohttp warns of unclosed answers then
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(put, keeper, api)
            await asked(provider)
            tasks.cancel_scope.cancel()
        gc.collect()

    with TokenKeeper(background=False) as keeper:
        keeper.add_provider(provider)
        keeper.get_token("api")
        api.valid.clear()
        api.refusal = LONG
        provider.shut()
        try:
            anyio.run(main, backend=backend)
        finally:
            provider.open.set()


@pytest.mark.parametrize("kind", ["iterator", "form"])
def test_a_body_that_is_half_sent(api, keeper, kind):
    """An iterator is not sent again without its beginning: the caller gets the 401.

    aiohttp before 3.14.4 calls it consumed only at its end, and would send the rest as the body.
    """

    async def endless():
        yield b"the beginning"
        await asyncio.Event().wait()

    async def main():
        middleware = KeeperMiddleware(keeper, "api", allowed_hosts=[api.place])
        body = endless()
        if kind == "form":
            body = aiohttp.MultipartWriter("form-data")
            body.append(endless())
        async with (
            aiohttp.ClientSession(middlewares=[middleware]) as session,
            session.put(api.url, data=body) as answer,
        ):
            return answer.status

    api.faults = ["early"]
    assert asyncio.run(main()) == 401
    assert api.tokens == []


def test_a_streamed_refusal_without_an_end(keeper):
    """A streamed request does not wait for the body of a refusal, which may be endless."""
    refusal = b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    seen = []

    def refuse(server, sock):
        server.read_request(sock)
        sock.sendall(refusal)
        seen.append(sock.recv(1))  # returns when the client closes the connection

    with Scripted(refuse, reply(b"", headers=["Connection: close"])) as server:
        with requests.get(server.url, auth=keeper.auth("api"), stream=True, timeout=30) as streamed:
            assert streamed.status_code == 200
        assert server.hung_up.acquire(timeout=GUARD_SECONDS)
    assert seen == [b""]
