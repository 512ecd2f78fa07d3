"""The cookbook's page on adlfs, with Azurite."""

import pytest
from adlfs import AzureBlobFileSystem
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import AioHttpTransport
from kit.cookbook import example

from tokenkeeper.integrations.azure import AsyncKeeperCredential


@pytest.fixture
def file_system(storage, certificate, monkeypatch):
    """Return a function that returns a file system with a credential, and a file in it."""
    create = AioHttpTransport.__init__

    # aiohttp has read SSL_CERT_FILE by now, and adlfs takes no options for its transport.
    def trusting(self, **options):
        create(self, **options | {"connection_verify": str(certificate.ca)})

    monkeypatch.setattr(AioHttpTransport, "__init__", trusting)

    def make(credential):
        files = AzureBlobFileSystem(
            "contoso",
            credential=credential,
            account_host=storage.host,
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        files.pipe("invoices/7.txt", b"42 EUR")
        return files

    return make


def test_a_crowd_recovers_with_one_renewal(server, source, file_system, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each reads its file."""
    files = file_system(example("adlfs").StorageCredential(source))

    def read():
        return files.cat("invoices/7.txt")

    assert crowd(8, read) == [b"42 EUR"] * 8
    server.revoke_all()
    assert crowd(8, read) == [b"42 EUR"] * 8
    assert requests_of() == 2


def test_a_file_that_is_open_recovers(server, source, file_system, requests_of):
    """A file that is read in blocks continues after a revocation."""
    files = file_system(example("adlfs").StorageCredential(source))
    with files.open("invoices/7.txt", "rb", block_size=2, cache_type="none") as file:
        assert file.read(2) == b"42"
        server.revoke_all()
        assert file.read() == b" EUR"
    assert requests_of() == 2


def test_the_plain_credential_does_not_recover(server, source, file_system, requests_of):
    """A credential that does not look at the challenge has the same token again."""
    files = file_system(AsyncKeeperCredential(source))
    server.revoke_all()
    with pytest.raises(ClientAuthenticationError):
        files.cat("invoices/7.txt")
    assert requests_of() == 1


def test_the_example_runs(run_example, storage, certificate):
    """The example writes a file and reads it."""
    variables = {"STORAGE_HOST": storage.host, "SSL_CERT_FILE": certificate.ca}
    assert run_example("adlfs", **variables) == "43 EUR\n"
