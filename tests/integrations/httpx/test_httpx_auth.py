"""``auth=`` for blocking clients of httpx, against a real API that refuses tokens."""

import pytest

from tokenkeeper import (
    InvalidConfigurationError,
    KeeperClosedError,
    TokenAcquisitionError,
    TokenRefreshError,
    TokenWaitTimeoutError,
    UnknownProviderError,
)


def test_a_revoked_token(api, provider, client):
    """A 401 renews the token and sends the request again."""
    assert client.get(api.url).json()["token"] == "token-1"
    api.valid.clear()
    answer = client.post(api.url + "/x", json={"a": 1})
    assert answer.json() == {"path": "/x", "token": "token-2", "body": '{"a":1}'}
    assert provider.minted == 2


def test_a_second_refusal(api, provider, client):
    """The caller gets a second 401."""
    provider.good = False
    assert client.get(api.url).status_code == 401
    assert api.tokens == ["token-1", "token-2"]


@pytest.mark.slow
def test_a_token_revoked_in_the_middle(api, provider, client, crowd):
    """A token is revoked while 200 threads use it: all of them go on, with one renewal."""
    client.get(api.url)
    api.revoke_at = 300
    answers = crowd(200, lambda: [client.get(api.url).json()["token"] for _ in range(3)])
    assert {token for tokens in answers for token in tokens} == {"token-1", "token-2"}
    assert provider.minted == 2


@pytest.mark.slow
def test_a_crowd_of_threads(api, provider, client, crowd):
    """200 concurrent calls that are all refused succeed, with one renewal."""
    client.get(api.url)
    api.valid.clear()
    assert set(crowd(200, lambda: client.get(api.url).json()["token"])) == {"token-2"}
    assert provider.minted == 2


def test_hooks_of_the_caller(api, client):
    """The caller's hooks see both requests and both responses."""
    client.get(api.url)
    api.valid.clear()
    seen = []
    client.event_hooks = {
        "request": [lambda request: seen.append(request.headers["Authorization"])],
        "response": [lambda answer: seen.append(answer.status_code)],
    }
    answer = client.get(api.url)
    assert seen == ["Bearer token-1", 401, "Bearer token-2", 200]
    assert [each.status_code for each in answer.history] == [401]


def test_one_request_alone(api, auth, httpx):
    """``auth=`` can be used for a single request, and replaces the caller's header."""
    with httpx.Client() as client:
        assert client.get(api.url, auth=auth).json()["token"] == "token-1"
        header = {"Authorization": "Bearer mine"}
        assert client.get(api.url, auth=auth, headers=header).json()["token"] == "token-1"
        assert client.get(api.url).status_code == 401


def test_hosts_that_are_not_allowed(api, keeper, keeper_auth, httpx):
    """A call to a host that is not allowed raises an error before anything is sent."""
    auth = keeper_auth(keeper, "api", allowed_hosts=["api.example.com"])
    with pytest.raises(InvalidConfigurationError, match=r"must not be sent to '127\.0\.0\.1:"):
        httpx.get(api.url, auth=auth)
    assert api.seen == []


def test_no_token(api, keeper, provider, client, keeper_auth):
    """Without a token, the keeper's own error is raised, and nothing is sent."""
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    for _ in range(2):  # a request, and then the cooldown
        with pytest.raises(TokenAcquisitionError, match="the server is down"):
            client.get(api.url)
    with pytest.raises(UnknownProviderError, match="'other'"):
        client.get(api.url, auth=keeper_auth(keeper, "other"))
    keeper.close()
    with pytest.raises(KeeperClosedError):
        client.get(api.url)
    assert provider.asked == 1
    assert api.seen == []


def test_no_new_token(api, provider, client):
    """If a refused token can't be renewed, the keeper's own error is raised too."""
    client.get(api.url)
    api.valid.clear()
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    with pytest.raises(TokenRefreshError, match="the server is down"):
        client.get(api.url)


def test_a_timeout_in_a_renewal(api, keeper, provider, client, keeper_auth):
    """``timeout=`` limits the wait for a token; the renewal goes on and serves the next call."""
    client.get(api.url)
    api.valid.clear()
    provider.open.clear()
    with pytest.raises(TokenWaitTimeoutError):
        client.get(api.url, auth=keeper_auth(keeper, "api", timeout=0))
    provider.open.set()
    assert client.get(api.url).json()["token"] == "token-2"
