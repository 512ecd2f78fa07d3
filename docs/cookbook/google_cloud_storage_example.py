import os

from google.cloud.storage import Client

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.google import KeeperCredentials

with TokenKeeper.from_env() as keeper:
    credentials = KeeperCredentials(keeper.source("oauth2"))
    endpoint = {"api_endpoint": os.environ["STORAGE_URL"]}
    client = Client("my-project", credentials, client_options=endpoint)
    blob = client.bucket("bucket").blob("greeting")
    blob.upload_from_string(b"hello")
    print(blob.download_as_bytes())
