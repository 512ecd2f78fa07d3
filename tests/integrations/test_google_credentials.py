"""A keeper as credentials of google-auth, with each of its transports."""

import asyncio
import pickle
from datetime import UTC, datetime, timedelta

import pytest
import urllib3
from google.auth.aio.transport import sessions
from google.auth.credentials import Credentials, TokenState
from google.auth.exceptions import RefreshError
from google.auth.transport.grpc import AuthMetadataPlugin
from google.auth.transport.requests import AuthorizedSession, Request
from google.auth.transport.urllib3 import AuthorizedHttp
from google.oauth2.credentials import Credentials as OwnCredentials

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.integrations.google import KeeperCredentials

CROWD = 12


@pytest.fixture
def credentials(keeper):
    return KeeperCredentials(keeper, "api")


@pytest.fixture
def session(credentials):
    """Return a session of google-auth, over requests."""
    with AuthorizedSession(credentials) as session:
        yield session


@pytest.fixture
def http(credentials):
    """Return a client of google-auth, over urllib3."""
    with urllib3.PoolManager(maxsize=CROWD) as pool:
        yield AuthorizedHttp(credentials, pool)  # its own "with" returns the pool, without tokens


def test_a_revoked_token(api, provider, session):
    """A 401 renews the token and sends the request again."""
    assert session.get(api.url).json()["token"] == "token-1"
    api.valid.clear()
    answer = session.post(api.url + "/x", json={"a": 1})
    assert answer.json() == {"path": "/x", "token": "token-2", "body": '{"a": 1}'}
    assert provider.minted == 2


@pytest.mark.parametrize("client", ["session", "http"])
def test_a_crowd_of_threads(api, provider, crowd, request, client):
    """Threads that share a client and are refused all go on, with one renewal."""
    client = request.getfixturevalue(client)
    client.request("GET", api.url)
    api.revoke_at = 20

    def job():
        answers = [client.request("GET", api.url) for _ in range(4)]
        return [getattr(each, "status_code", None) or each.status for each in answers]

    assert crowd(CROWD, job) == [[200] * 4] * CROWD
    assert provider.minted == 2


@pytest.mark.skipif(
    not hasattr(sessions, "_SyncCredentialsAdapter"), reason="older: takes async credentials only"
)
def test_a_crowd_of_tasks(api, keeper, provider, credentials):
    """Tasks of an async session are served too, with one renewal, or a second one at most."""

    async def get(session):
        answer = await session.request("GET", api.url)
        await answer.read()
        return answer.status_code

    async def main():
        session = sessions.AsyncAuthorizedSession(credentials)
        try:
            await get(session)
            api.valid.clear()
            return await asyncio.gather(*[get(session) for _ in range(CROWD)])
        finally:
            await session.close()

    assert asyncio.run(main()) == [200] * CROWD
    assert provider.minted in (2, 3)


def test_a_second_refusal(api, provider, session):
    """The caller gets the API's own answer if new tokens are refused as well."""
    provider.good = False
    assert session.get(api.url).status_code == 401
    assert len(api.seen) <= 3


def test_the_plugin_of_grpc(keeper, credentials):
    """The plugin of gRPC takes the credentials; it gets each token, and reports no refusal."""

    class Context:
        service_url = "https://api.example.com/service"
        method_name = "method"

    given = []
    plugin = AuthMetadataPlugin(credentials, Request())
    for _ in range(2):
        plugin(Context, lambda metadata, error: given.append(dict(metadata)["authorization"]))
        keeper.renew_refused("api", keeper.get_token("api"))
    assert given == ["Bearer token-1", "Bearer token-2"]


def test_validity(keeper, credentials, provider):
    """The credentials are valid without a refresh, and have the expiry of the cached token."""
    assert isinstance(credentials, Credentials)
    assert credentials.expiry is None
    assert credentials.valid
    assert not credentials.expired
    assert credentials.token_state is TokenState.FRESH
    assert provider.minted == 0
    assert credentials.token == "token-1"
    now = datetime.now(UTC).replace(tzinfo=None)
    assert now < credentials.expiry <= now + timedelta(hours=1)


def test_refreshing(crowd, credentials, provider):
    """A first refresh gets a token, another one replaces that, and a late one nothing."""
    credentials.refresh(Request())
    assert credentials.token == "token-1"
    credentials.refresh(Request())
    assert provider.minted == 2
    credentials.refresh(Request())  # of the first token, which this thread got last
    assert provider.minted == 2
    assert credentials.token == "token-2"
    assert crowd(1, lambda: credentials.refresh(Request())) == [None]
    assert credentials.token == "token-3"


def test_projects_and_universes(keeper):
    """Copies have another quota project or universe domain, and the same tokens."""
    plain = KeeperCredentials(keeper, "api")
    assert (plain.quota_project_id, plain.universe_domain) == (None, "googleapis.com")
    copies = plain.with_quota_project("billed").with_universe_domain("example.com")
    assert (copies.quota_project_id, copies.universe_domain) == ("billed", "example.com")
    headers = {}
    copies.before_request(None, "GET", "https://api.example.com", headers)
    assert headers == {"authorization": "Bearer token-1", "x-goog-user-project": "billed"}
    made = KeeperCredentials(keeper, "api", quota_project_id="a", universe_domain="b")
    assert (made.quota_project_id, made.universe_domain) == ("a", "b")
    assert plain.quota_project_id is None


def test_no_token(provider, credentials):
    """Without a token, google-auth's own error has the keeper's as its cause."""
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    for call in (lambda: credentials.token, lambda: credentials.refresh(Request())):
        with pytest.raises(RefreshError, match="the server is down") as raised:
            call()
        assert isinstance(raised.value.__cause__, TokenAcquisitionError)
        assert not raised.value.retryable


def test_other_hosts(keeper):
    """A host that is not allowed gets no token, and neither does plain http elsewhere."""
    credentials = KeeperCredentials(keeper, "api", allowed_hosts=[".googleapis.com"])
    headers = {}
    credentials.before_request(None, "GET", "https://storage.googleapis.com/b", headers)
    assert "authorization" in headers
    for url in ("https://api.example.com", "http://storage.googleapis.com"):
        with pytest.raises(InvalidConfigurationError, match="must not be sent to"):
            credentials.before_request(None, "GET", url, {})


def test_pickling(credentials):
    """They can't be pickled, because they hold a keeper."""
    with pytest.raises(TypeError, match="KeeperCredentials"):
        pickle.dumps(credentials)


def test_a_refresh_handler(api):
    """What the credentials replace: google-auth's own handler takes no short-lived token."""
    soon = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=3)
    handled = OwnCredentials(None, refresh_handler=lambda request, scopes: ("token", soon))
    with AuthorizedSession(handled) as session, pytest.raises(RefreshError, match="expired"):
        session.get(api.url)
