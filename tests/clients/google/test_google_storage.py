"""``google-cloud-storage``: what its client does when the API refuses a token."""

from contextlib import closing

import pytest
from google.api_core.exceptions import Unauthorized
from google.auth.exceptions import RefreshError
from google.cloud import storage
from kit.servers.storage_api import StorageApi

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.google import KeeperCredentials
from tokenkeeper.testing import LoopbackAuthorizationServer, SteppedClock

CROWD = 12


def write_and_read(bucket):
    blob = bucket.blob("greeting")
    blob.upload_from_string(b"hello")
    return blob.download_as_bytes()


def test_a_crowd_of_threads(bucket, server, requests_of, crowd):
    """Threads whose token is revoked between their calls all go on, with one renewal."""
    assert write_and_read(bucket) == b"hello"
    server.revoke_all()
    assert crowd(CROWD, lambda: write_and_read(bucket)) == [b"hello"] * CROWD
    assert requests_of() == 2


def test_a_token_revoked_in_the_middle(api, bucket, requests_of, crowd):
    """Threads whose token is revoked while they use it all go on, with one renewal."""
    api.revoke_at = 40
    answers = crowd(CROWD, lambda: [write_and_read(bucket) for _ in range(3)])
    assert answers == [[b"hello"] * 3] * CROWD
    assert requests_of() == 2


def test_a_token_that_expires():
    """A token is used until it expires, and then replaced, without a refusal."""
    clock = SteppedClock()
    with (
        LoopbackAuthorizationServer(clock=clock) as server,
        TokenKeeper(clock=clock) as keeper,
        StorageApi(server) as api,
    ):
        keeper.add_provider(server.provider("api"))
        options = {"api_endpoint": api.origin}
        credentials = KeeperCredentials(keeper, "api")
        with closing(storage.Client("project", credentials, client_options=options)) as client:
            write_and_read(client.bucket("bucket"))
            clock.step(server.lifetime_seconds)
            write_and_read(client.bucket("bucket"))
        # The client looks at the bucket on a thread of its own, which the step may overtake.
        assert set(api.refused) <= {"/storage/v1/b/bucket"}
        assert len(set(api.bearers)) == 2


def test_an_outage(server, bucket):
    """While the token is valid, an outage of the authorization server changes nothing."""
    write_and_read(bucket)
    with server.outage():
        assert write_and_read(bucket) == b"hello"


def test_no_token(api, server, bucket):
    """Without a token, callers get google-auth's error, and nothing is sent."""
    server.refuse(times=9)
    with pytest.raises(RefreshError, match="refused by the test"):
        bucket.blob("greeting").download_as_bytes()
    assert api.received == []


def test_an_api_that_refuses_every_token(api, bucket, requests_of):
    """Callers get the API's own answer, and the token endpoint only a few requests."""
    api.accepts = lambda token: False
    for _ in range(12):
        with pytest.raises(Unauthorized):
            bucket.get_blob("greeting")
    assert requests_of() < 12


def test_the_example(api, run_example):
    """The page's program writes an object and prints it."""
    assert run_example("google_cloud_storage", STORAGE_URL=api.origin) == "b'hello'\n"
