"""Transports of Azure clients, against a real API that refuses tokens."""

import asyncio
import io
import ssl

import aiohttp
import anyio
import pytest
import requests
import trustme
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline import Pipeline
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncRedirectPolicy,
    BearerTokenCredentialPolicy,
    RedirectPolicy,
    RetryPolicy,
)
from azure.core.pipeline.transport import AioHttpTransport, RequestsTransport, TrioRequestsTransport
from azure.core.pipeline.transport import HttpRequest as LegacyRequest
from azure.core.rest import HttpRequest
from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient
from requests.adapters import HTTPAdapter

from tokenkeeper import KeeperClosedError
from tokenkeeper.integrations.azure import AsyncKeeperCredential, KeeperCredential
from tokenkeeper.integrations.azure_transport import AsyncRenewingTransport, RenewingTransport

SCOPE = "https://storage.azure.com/.default"


def client_of(keeper, api, **options):
    """Return an Azure client of *api*, with the policies that decide about tokens."""
    policies = [
        RedirectPolicy(),
        BearerTokenCredentialPolicy(KeeperCredential(keeper, "api"), SCOPE),
    ]
    transport = RenewingTransport(keeper, "api", **options)
    return PipelineClient(api.url, policies=policies, transport=transport)


@pytest.fixture
def client(keeper, api):
    """Return a blocking Azure client."""
    with client_of(keeper, api) as client:
        yield client


def send(client, url, method="GET", stream=False, **options):
    request = HttpRequest(method, url, **options)
    return client.send_request(request, stream=stream, enforce_https=False)


def test_a_revoked_token(api, provider, client):
    """A 401 renews once and sends the request again; later requests have the new token."""
    send(client, api.url)
    api.valid.clear()
    answer = send(client, api.url + "/x", "POST", json={"a": "b"})
    assert answer.json() == {"path": "/x", "token": "token-2", "body": '{"a": "b"}'}
    assert send(client, api.url).json()["token"] == "token-2"
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    assert provider.minted == 2


def test_a_second_refusal(api, provider, client):
    """A second refusal is the caller's."""
    provider.good = False
    assert send(client, api.url).status_code == 401
    assert api.tokens == ["token-1", "token-2"]


def test_what_the_keeper_does_counts_at_once(keeper, provider, api, client):
    """A client keeps no token of its own: the next request has what the keeper has."""
    send(client, api.url)
    keeper.get_token("api", force_refresh=True)
    assert send(client, api.url).json()["token"] == "token-2"


def test_a_token_revoked_in_the_middle(api, provider, client, crowd):
    """While 200 callers are at it the token is revoked: each goes on, with one renewal for all."""
    send(client, api.url)
    api.revoke_at = 300
    answers = crowd(200, lambda: [send(client, api.url).json()["token"] for _ in range(3)])
    assert {token for tokens in answers for token in tokens} == {"token-1", "token-2"}
    assert provider.minted == 2


def test_a_crowd_that_is_refused(api, provider, client, crowd):
    """Of 200 calls at once, all refused, each succeeds, with one renewal for all."""
    send(client, api.url)
    api.valid.clear()
    assert set(crowd(200, lambda: send(client, api.url).json()["token"])) == {"token-2"}
    assert provider.minted == 2


def test_a_body_that_can_be_rewound(api, client):
    """A file is sent again from where it was."""
    send(client, api.url)
    api.valid.clear()
    file = io.BytesIO(b"skipped sent")
    file.seek(8)
    assert send(client, api.url, "PUT", content=file).json()["body"] == "sent"
    assert [body for *_, body in api.seen[1:]] == [b"sent", b"sent"]


def test_a_form(api, client):
    """A form is sent again."""
    send(client, api.url)
    api.valid.clear()
    assert send(client, api.url, "POST", data={"a": "b"}).json()["body"] == "a=b"


@pytest.mark.parametrize("kind", ["generator", "files", "closed"])
def test_a_body_that_is_used_up(api, client, kind):
    """What can be read but once is not sent again, and the next request has the new token."""
    send(client, api.url)
    api.valid.clear()

    class Closing(io.BytesIO):
        def read(self, size=-1):
            part = super().read(size)
            if not part:
                self.close()
            return part

    body = {
        "generator": {"content": (part for part in [b"a", b"b"])},
        "files": {"files": {"file": io.BytesIO(b"ab")}},
        "closed": {"content": Closing(b"ab")},
    }[kind]
    assert send(client, api.url, "PUT", **body).status_code == 401
    assert send(client, api.url).json()["token"] == "token-2"


def test_a_body_that_is_used_up_waits_for_nothing(api, provider, client):
    """Whose request can't be sent again is told at once, not when there is a new token."""
    send(client, api.url)
    api.valid.clear()
    provider.open.clear()
    assert send(client, api.url, "PUT", content=iter([b"a"])).status_code == 401
    provider.open.set()
    assert send(client, api.url).json()["token"] == "token-2"
    assert provider.minted == 2


def test_a_streamed_answer(api, keeper):
    """A refused streamed answer gives its connection back, and the second one streams."""
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=1, pool_block=True))
        below = RequestsTransport(session=session, session_owner=False)
        with client_of(keeper, api, transport=below) as client:
            send(client, api.url)
            api.valid.clear()
            with send(client, api.url, stream=True) as answer:
                assert b"token-2" in b"".join(answer.iter_bytes())


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_of_the_older_kind(api, keeper, stream):
    """Clients that were generated long ago are served as well."""
    policy = BearerTokenCredentialPolicy(KeeperCredential(keeper, "api"), SCOPE)
    with Pipeline(RenewingTransport(keeper, "api"), [policy]) as pipeline:

        def call():
            return pipeline.run(
                LegacyRequest("POST", api.url, data=b"x"), enforce_https=False, stream=stream
            ).http_response

        call().internal_response.close()
        api.valid.clear()
        answer = call()
        assert answer.status_code == 200
        answer.internal_response.close()
    assert api.tokens == ["token-1", "token-1", "token-2"]


def test_hosts_that_are_not_allowed(api, elsewhere, keeper):
    """A token does not follow a redirect, or a call, to a host that it is not for."""
    other = elsewhere.url.replace("127.0.0.1", "localhost")
    with client_of(keeper, api, allowed_hosts=[api.place]) as client:
        assert send(client, api.url).status_code == 200
        with pytest.raises(ClientAuthenticationError, match="its token is not for 'localhost:"):
            send(client, api.url + "/to/" + other)
        with pytest.raises(ClientAuthenticationError, match="its token is not for 'localhost:"):
            send(client, other)
    assert elsewhere.seen == []


class Fixed:
    """A credential with one token."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *scopes, **options):
        return AccessToken(self.token, 2**40)


def test_no_new_token(api, keeper):
    """Where nothing can be had in the place of a refused token, the error says why."""
    policy = BearerTokenCredentialPolicy(Fixed("old"), SCOPE)
    with Pipeline(RenewingTransport(keeper, "api"), [policy]) as pipeline:
        keeper.close()
        with pytest.raises(ClientAuthenticationError, match="closed") as raised:
            pipeline.run(HttpRequest("GET", api.url), enforce_https=False)
    assert isinstance(raised.value.__cause__, KeeperClosedError)
    assert raised.value.status_code == 401


def test_a_connection_that_breaks(api, client):
    """What azure-core raises comes through, and the next call works."""
    send(client, api.url)
    api.faults = ["drop"]
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        send(client, api.url, "POST")
    assert send(client, api.url, "POST").status_code == 200


@pytest.mark.parametrize("retries", [0, 3])
def test_a_connection_that_breaks_before_the_second_request(api, provider, keeper, retries):
    """The token is new all the same; the SDK's own retries, where there are any, send again."""
    policies = [
        RetryPolicy(retry_total=retries, retry_backoff_factor=0),
        BearerTokenCredentialPolicy(KeeperCredential(keeper, "api"), SCOPE),
    ]
    transport = RenewingTransport(keeper, "api")
    with PipelineClient(api.url, policies=policies, transport=transport) as client:
        send(client, api.url)
        api.valid.clear()
        api.faults = [None, "drop"]
        if not retries:
            with pytest.raises((ServiceRequestError, ServiceResponseError)):
                send(client, api.url, "PUT")
        assert send(client, api.url, "PUT").json()["token"] == "token-2"
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    assert provider.minted == 2


def test_answers_that_break_off(api, provider, client):
    """What is left of a refusal does no harm; that of an answer is the caller's to know."""
    send(client, api.url)
    api.valid.clear()
    api.faults = ["cut"]
    streamed = send(client, api.url, stream=True)
    assert streamed.read()
    assert streamed.status_code == 200
    api.faults = ["cut"]
    with pytest.raises(AzureError):
        send(client, api.url, "PUT")
    assert send(client, api.url).json()["token"] == "token-2"
    assert provider.minted == 2


@pytest.mark.anyio
async def test_a_task_that_is_cancelled_in_a_renewal(api, provider, async_client):
    """The renewal goes on for the others."""
    await send_async(async_client, api.url)
    api.valid.clear()
    provider.open.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_async, async_client, api.url)
        with anyio.fail_after(30):
            while provider.asked == 1:
                await anyio.sleep(0)
        tasks.cancel_scope.cancel()
    provider.open.set()
    assert (await send_async(async_client, api.url)).json()["token"] == "token-2"
    assert provider.minted == 2


def test_a_request_without_a_token(api, keeper):
    """A 401 to a request that showed no token renews nothing."""
    with RenewingTransport(keeper, "api") as transport:
        assert transport.send(HttpRequest("GET", api.url)).status_code == 401
        transport.sleep(0)
    assert api.tokens == [None]


@pytest.fixture
def authority(api):
    """Return who signed the certificate that the API now shows."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    api.socket = context.wrap_socket(api.socket, server_side=True)
    return authority


def test_a_client_of_storage(api, keeper, provider, authority, tmp_path):
    """Azure's own client for blobs goes on after a revocation, and shows the new token then."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    below = RequestsTransport(connection_verify=str(tmp_path / "ca.pem"))
    with BlobServiceClient(
        f"https://localhost:{api.server_port}",
        KeeperCredential(keeper, "api"),
        transport=RenewingTransport(keeper, "api", below),
        retry_total=0,
    ) as blobs:
        blobs.get_blob_client("c", "first").delete_blob()
        api.valid.clear()
        blobs.get_blob_client("c", "second").delete_blob()
        blobs.get_blob_client("c", "third").delete_blob()
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    assert provider.minted == 2


def below_for(loop, **options):
    """Return what sends under *loop*."""
    return TrioRequestsTransport(**options) if loop == "trio" else AioHttpTransport(**options)


@pytest.fixture
async def async_client(keeper, api, anyio_backend):
    """Return an async Azure client."""
    policy = AsyncBearerTokenCredentialPolicy(AsyncKeeperCredential(keeper, "api"), SCOPE)
    below = below_for(anyio_backend)
    transport = AsyncRenewingTransport(keeper, "api", below, allowed_hosts=[api.place])
    async with AsyncPipelineClient(
        api.url, policies=[AsyncRedirectPolicy(), policy], transport=transport
    ) as client:
        yield client


async def send_async(client, url, method="GET", stream=False, **options):
    request = HttpRequest(method, url, **options)
    return await client.send_request(request, stream=stream, enforce_https=False)


@pytest.mark.anyio
async def test_async_a_revoked_token(api, provider, async_client):
    """An async client does the same, under asyncio and trio."""
    await send_async(async_client, api.url)
    api.valid.clear()
    answer = await send_async(async_client, api.url, "POST", content=b"x")
    assert answer.json()["body"] == "x"
    assert (await send_async(async_client, api.url)).json()["token"] == "token-2"
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    provider.good = False
    api.valid.clear()
    assert (await send_async(async_client, api.url)).status_code == 401
    assert provider.minted == 3


@pytest.mark.anyio
async def test_async_crowd(api, provider, async_client):
    """Of 200 tasks at once, all refused, each succeeds, with one renewal for all."""
    await send_async(async_client, api.url)
    api.valid.clear()
    tokens = []

    async def call():
        tokens.append((await send_async(async_client, api.url)).json()["token"])

    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(call)
    assert tokens == ["token-2"] * 200
    assert provider.minted == 2


@pytest.mark.anyio
async def test_async_token_revoked_in_the_middle(api, provider, async_client):
    """While 200 tasks are at it the token is revoked: each goes on, with one renewal for all."""
    await send_async(async_client, api.url)
    api.revoke_at = 300
    tokens = []

    async def call():
        answers = [await send_async(async_client, api.url) for _ in range(3)]
        tokens.extend(answer.json()["token"] for answer in answers)

    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(call)
    assert len(tokens) == 600
    assert set(tokens) == {"token-1", "token-2"}
    assert provider.minted == 2


@pytest.mark.anyio
async def test_async_bodies_and_hosts(api, elsewhere, async_client):
    """A streamed answer, a body that is used up, and a redirect elsewhere are treated alike."""
    await send_async(async_client, api.url)
    api.valid.clear()
    async with await send_async(async_client, api.url, stream=True) as answer:
        assert b"token-2" in b"".join([part async for part in answer.iter_bytes()])
    api.valid.clear()
    answer = await send_async(async_client, api.url, "PUT", content=io.BytesIO(b"ab"))
    assert answer.json()["body"] == "ab"
    api.valid.clear()
    files = {"file": io.BytesIO(b"ab")}
    assert (await send_async(async_client, api.url, "PUT", files=files)).status_code == 401
    assert (await send_async(async_client, api.url)).json()["token"] == "token-4"
    other = elsewhere.url.replace("127.0.0.1", "localhost")
    with pytest.raises(ClientAuthenticationError, match="not for 'localhost:"):
        await send_async(async_client, api.url + "/to/" + other)
    assert elsewhere.seen == []


def test_an_async_streamed_answer(api, keeper):
    """A refused streamed answer gives its connection back to aiohttp, however long it is."""
    api.refusal = b"no" * 2**20

    async def stream():
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            below = AioHttpTransport(session=session, session_owner=False)
            transport = AsyncRenewingTransport(keeper, "api", below)
            policy = AsyncBearerTokenCredentialPolicy(AsyncKeeperCredential(keeper, "api"), SCOPE)
            async with AsyncPipelineClient(
                api.url, policies=[policy], transport=transport
            ) as client:
                await send_async(client, api.url)
                api.valid.clear()
                async with await send_async(client, api.url, stream=True) as answer:
                    return b"".join([part async for part in answer.iter_bytes()])

    assert b"token-2" in asyncio.run(stream())


@pytest.mark.anyio
async def test_async_no_new_token(api, keeper, anyio_backend):
    """Where nothing can be had in the place of a refused token, the error says why."""
    transport = AsyncRenewingTransport(keeper, "api", below_for(anyio_backend))
    request = HttpRequest("GET", api.url, headers={"Authorization": "Bearer old"})
    async with transport:
        keeper.close()
        with pytest.raises(ClientAuthenticationError, match="closed") as raised:
            await transport.send(request)
        await transport.sleep(0)
    assert isinstance(raised.value.__cause__, KeeperClosedError)


def test_an_async_client_of_storage(api, keeper, provider, authority, tmp_path):
    """Azure's own async client for blobs goes on after a revocation, by default with aiohttp."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trust = {"connection_verify": str(tmp_path / "ca.pem")}

    async def delete():
        async with AsyncBlobServiceClient(
            f"https://localhost:{api.server_port}",
            AsyncKeeperCredential(keeper, "api"),
            transport=AsyncRenewingTransport(keeper, "api"),
            retry_total=0,
        ) as blobs:
            await blobs.get_blob_client("c", "first").delete_blob(**trust)
            api.valid.clear()
            await blobs.get_blob_client("c", "second").delete_blob(**trust)

    asyncio.run(delete())
    assert api.tokens == ["token-1", "token-1", "token-2"]
    assert provider.minted == 2
