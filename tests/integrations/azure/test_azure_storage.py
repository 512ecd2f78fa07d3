"""Azure's own clients for blobs, over TLS, with tokens that are revoked."""

import asyncio
from importlib.metadata import version
from urllib.parse import unquote

import pytest
import trustme
from azure.core.exceptions import AzureError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient
from kit.servers.tls import context_of

from tokenkeeper.integrations.azure import AsyncKeeperCredential, KeeperCredential
from tokenkeeper.integrations.azure_transport import AsyncRenewingTransport, RenewingTransport


@pytest.fixture
def authority(api):
    """Return the CA of the API's certificate."""
    authority = trustme.CA()
    api.socket = context_of(authority, "localhost").wrap_socket(api.socket, server_side=True)
    return authority


def test_a_client_of_storage(api, keeper, provider, authority, tmp_path):
    """Azure's own client for blobs continues after a revocation, with the new token."""
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


def test_an_async_client_of_storage(api, keeper, provider, authority, tmp_path):
    """Azure's own async client for blobs continues after a revocation, by default with aiohttp."""
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


def test_the_version_that_leaves_the_token_behind():
    """azure-storage-blob before 12.31.0 takes the token along a redirect to another host."""
    found = tuple(int(part) for part in version("azure-storage-blob").split(".")[:2])
    assert found >= (12, 31)


@pytest.mark.parametrize("renewing", [True, False], ids=["our transport", "its own"])
def test_a_redirect_elsewhere(api, make_api, keeper, provider, authority, tmp_path, renewing):
    """A redirect to another host gets no token, with our transport and without it."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    below = RequestsTransport(connection_verify=str(tmp_path / "ca.pem"))
    elsewhere = make_api()
    context = context_of(authority, "127.0.0.1")
    elsewhere.socket = context.wrap_socket(elsewhere.socket, server_side=True)
    place = f"https://127.0.0.1:{elsewhere.server_port}"

    class Unquoting(api.RequestHandlerClass):
        def do_DELETE(self):  # noqa: N802
            self.path = unquote(self.path)  # a blob's name is encoded in it
            super().do_DELETE()

    api.RequestHandlerClass = Unquoting
    with (
        BlobServiceClient(
            f"https://localhost:{api.server_port}",
            KeeperCredential(keeper, "api"),
            transport=RenewingTransport(keeper, "api", below) if renewing else below,
            retry_total=0,
        ) as blobs,
        pytest.raises(AzureError),
    ):
        # The API redirects paths with this prefix.
        blobs.get_blob_client("to", f"{place}/blob").delete_blob()
    assert [token for _, token, _ in api.seen] == ["token-1"]
    assert [token for _, token, _ in elsewhere.seen] == [None]
    assert provider.minted == 1
