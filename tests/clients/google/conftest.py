"""A client of Google Cloud Storage, and a stub of its API that checks tokens."""

from contextlib import closing

import pytest
from google.cloud import storage
from kit.servers.storage_api import StorageApi

from tokenkeeper.integrations.google import KeeperCredentials


@pytest.fixture
def api(server):
    """Return the API, which accepts the tokens of the authorization server."""
    with StorageApi(server) as api:
        yield api


@pytest.fixture
def credentials(source):
    return KeeperCredentials(source)


@pytest.fixture
def bucket(api, credentials):
    """Return a bucket of a client with our credentials."""
    options = {"api_endpoint": api.origin}
    with closing(storage.Client("project", credentials, client_options=options)) as client:
        yield client.bucket("bucket")
