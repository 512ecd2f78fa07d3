import os

from azure.storage.blob import BlobServiceClient

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.azure import KeeperCredential
from tokenkeeper.integrations.azure_transport import RenewingTransport

with TokenKeeper.from_env() as keeper:
    source = keeper.source("oauth2")  # its scope is https://storage.azure.com/.default
    with BlobServiceClient(
        os.environ["STORAGE_URL"],
        KeeperCredential(source),
        transport=RenewingTransport(source),
    ) as blobs:
        invoices = blobs.get_container_client("invoices")
        invoices.upload_blob("7.txt", b"42 EUR", overwrite=True)
        print(invoices.download_blob("7.txt").readall().decode())
