"""The cookbook's pages on azure-storage-blob and adlfs, with Azurite."""

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient
from kit.loops import run

from tokenkeeper.integrations.azure import AsyncKeeperCredential, KeeperCredential
from tokenkeeper.integrations.azure_transport import AsyncRenewingTransport, RenewingTransport


@pytest.fixture
def below(certificate):
    """Return a transport that trusts the certificate."""
    return RequestsTransport(connection_verify=str(certificate.ca))


@pytest.fixture
def blobs(storage, source, below):
    """Return a client."""
    transport = RenewingTransport(source, transport=below)
    with BlobServiceClient(storage.url, KeeperCredential(source), transport=transport) as blobs:
        yield blobs


def test_the_example_runs(run_example, storage, certificate, blobs):
    """The example writes a blob and reads it."""
    variables = {"STORAGE_URL": storage.url, "REQUESTS_CA_BUNDLE": certificate.ca}
    assert run_example("azure_storage_blob", **variables) == "42 EUR\n"


def test_a_crowd_recovers_with_one_renewal(server, blobs, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each reads its blob."""
    invoices = blobs.get_container_client("invoices")
    invoices.upload_blob("7", b"42 EUR", overwrite=True)

    def read():
        return invoices.download_blob("7").readall()

    assert crowd(8, read) == [b"42 EUR"] * 8
    server.revoke_all()
    assert crowd(8, read) == [b"42 EUR"] * 8
    assert requests_of() == 2


def test_a_crowd_of_tasks_recovers_with_one_renewal(
    server, storage, source, certificate, crowd_of_tasks, requests_of
):
    """Tasks of an async client share one renewal, and each reads its blob."""
    trust = {"connection_verify": str(certificate.ca)}

    async def main():
        async with AsyncBlobServiceClient(
            storage.url, AsyncKeeperCredential(source), transport=AsyncRenewingTransport(source)
        ) as blobs:
            invoices = blobs.get_container_client("invoices")
            await invoices.upload_blob("7", b"42 EUR", overwrite=True, **trust)

            async def read():
                return await (await invoices.download_blob("7", **trust)).readall()

            assert await crowd_of_tasks(8, read) == [b"42 EUR"] * 8
            server.revoke_all()
            assert await crowd_of_tasks(8, read) == [b"42 EUR"] * 8

    run(main())
    assert requests_of() == 2


def test_without_the_transport_the_caller_gets_the_401(server, storage, source, below, requests_of):
    """Storage's challenge has the client ask again, and the credential has the same token."""
    credential = KeeperCredential(source)
    with BlobServiceClient(storage.url, credential, transport=below) as blobs:
        invoices = blobs.get_container_client("invoices")
        assert invoices.exists()
        server.revoke_all()
        with pytest.raises(ClientAuthenticationError):
            invoices.exists()
    assert requests_of() == 1
