"""Blocking clients: a token is the password of each connection, and a rejected one is renewed."""

import pytest
import redis
from kit.frames import recorded_variables
from kit.servers.valkey import USER
from redis.backoff import NoBackoff
from redis.retry import Retry

from tokenkeeper import OAuth2Error
from tokenkeeper.integrations.redis import KeeperCredentialProvider

CROWD = 12


@pytest.fixture
def credentials(source):
    """Return a credential provider of the source."""
    return KeeperCredentialProvider(source, username=USER)


@pytest.fixture
def make_client(valkey, credentials):
    """Return a function that creates clients, which are closed at the end."""
    clients = []

    def make(**options):
        options = {"credential_provider": credentials, **options}
        options.setdefault("redis_connect_func", options["credential_provider"].on_connect)
        clients.append(redis.Redis(port=options.pop("port", valkey.port), **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_crowd_recovers_with_one_renewal(make_client, protocol, server, requests_of, crowd):
    """Threads that connect after a revocation renew the token once, and see no error."""
    client = make_client(protocol=protocol, decode_responses=True)
    assert client.acl_whoami() == USER
    server.revoke_all()
    client.connection_pool.disconnect()
    assert crowd(CROWD, client.acl_whoami) == [USER] * CROWD
    assert requests_of() == 2


def test_an_open_connection_outlives_its_token(make_client, server, requests_of):
    """Valkey checks a password when a client authenticates, and only then."""
    client = make_client()
    number = client.client_id()
    server.revoke_all()
    assert client.client_id() == number
    assert requests_of() == 1


def test_a_credential_provider_alone_never_hears_of_the_rejection(
    make_client, credentials, server, requests_of
):
    """Without ``redis_connect_func``, a client fails until the token expires."""
    client = make_client(redis_connect_func=None, retry=Retry(NoBackoff(), 3))
    client.ping()
    client.connection_pool.disconnect()
    server.revoke_all()
    with pytest.raises(redis.AuthenticationError):
        client.ping()
    assert requests_of() == 1


def test_a_server_that_rejects_every_token(make_client, server, requests_of):
    """The caller gets the second rejection."""
    server.accepted = False
    client = make_client(retry=Retry(NoBackoff(), 0))
    with pytest.raises(redis.AuthenticationError):
        client.ping()
    assert requests_of() == 2


def test_a_wrong_database_renews_nothing(make_client, requests_of):
    """An error after the authentication is the caller's, and costs no token."""
    with pytest.raises(redis.ResponseError, match="out of range"):
        make_client(db=99).ping()
    assert requests_of() == 1


def test_an_outage_of_the_authorization_server(make_client, source, server):
    """A valid token still connects; a rejected one raises our error, until the outage is over."""
    impatient = KeeperCredentialProvider(source, username=USER, timeout=0.5)
    # redis-py would repeat it, as our error is a TimeoutError.
    client = make_client(credential_provider=impatient, retry=Retry(NoBackoff(), 0))
    client.ping()
    server.go_down("stall")
    client.connection_pool.disconnect()
    client.ping()
    server.revoke_all()
    client.connection_pool.disconnect()
    with pytest.raises(OAuth2Error):
        client.ping()
    server.come_back()
    source.get_token()
    client.ping()


def test_a_keeper_and_a_name(make_client, keeper):
    """A keeper with a provider's name does what a source does."""
    credentials = KeeperCredentialProvider(keeper, "api", username=USER)
    assert make_client(credential_provider=credentials).ping()


def test_no_frame_shows_a_token(make_client, server, keeper, monkeypatch):
    """No frame shows a token that was rejected: neither ours nor redis-py's."""
    server.accepted = False
    client = make_client(retry=Retry(NoBackoff(), 0))
    with pytest.raises(redis.AuthenticationError) as raised:
        client.ping()
    token = keeper.get_token("api")
    for shown in recorded_variables(raised.value):
        assert token not in shown, shown
