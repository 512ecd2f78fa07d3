"""``auth=`` for requests, against a real API that refuses tokens."""

import io
import threading

import pytest
import requests

from tokenkeeper import InvalidConfigurationError, KeeperClosedError
from tokenkeeper.integrations.requests import KeeperAuth


@pytest.fixture
def session(keeper):
    """Return a session whose every request carries the token."""
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=200))
        session.auth = keeper.auth("api")
        yield session


def test_the_header(api, session):
    """Each request carries the token of the provider."""
    for _ in range(3):
        assert session.get(api.url + "/x").json()["token"] == "token-1"


def test_a_revoked_token(api, provider, session):
    """A 401 renews once and sends the request again; the caller sees the answer to the second."""
    session.get(api.url)
    api.valid.clear()
    answer = session.post(api.url + "/x", data={"a": "b"})
    assert answer.json() == {"path": "/x", "token": "token-2", "body": "a=b"}
    assert [each.status_code for each in answer.history] == [401]
    assert answer.request.headers["Authorization"] == "Bearer token-2"
    assert provider.minted == 2


def test_a_second_refusal(api, provider, session):
    """A token that is refused as well is the caller's to know: it gets the second 401."""
    provider.good = False
    answer = session.get(api.url)
    assert answer.status_code == 401
    assert api.tokens == ["token-1", "token-2"]


def test_a_crowd_with_a_token_revoked_in_the_middle(api, provider, session, crowd):
    """Of 200 calls at once, all refused, each succeeds, with one renewal for all."""
    session.get(api.url)
    refused = threading.Barrier(200)
    api.valid.clear()

    def call():
        refused.wait(30)
        return session.get(api.url).json()["token"]

    assert set(crowd(200, call)) == {"token-2"}
    assert provider.minted == 2


def test_a_body_that_can_be_rewound(api, session):
    """A file is sent again from where it was."""
    session.get(api.url)
    api.valid.clear()
    file = io.BytesIO(b"skipped sent")
    file.seek(8)
    assert session.put(api.url, data=file).json()["body"] == "sent"
    assert [body for *_, body in api.seen[1:]] == [b"sent", b"sent"]


def test_a_body_that_is_used_up(api, session):
    """A generator is not sent again: the caller gets the 401, and the next call a new token."""
    session.get(api.url)
    api.valid.clear()
    assert session.put(api.url, data=(part for part in [b"a", b"b"])).status_code == 401
    assert session.put(api.url, data=(part for part in [b"a", b"b"])).json()["body"] == "ab"


def test_a_redirect_on_the_same_host(api, session):
    """The token goes along with a redirect, and may be renewed at its end."""
    session.get(api.url)
    api.valid.clear()
    answer = session.get(api.url + "/to//end")
    assert answer.json() == {"path": "/end", "token": "token-2", "body": ""}


def test_a_redirect_to_somebody_else(api, elsewhere, provider, session):
    """The token stays here; that the other one wants one too renews nothing."""
    answer = session.get(api.url + "/to/" + elsewhere.url + "/end")
    assert answer.status_code == 401
    assert elsewhere.tokens == [None]
    assert provider.minted == 1


def test_hosts_that_are_not_allowed(api, keeper, elsewhere):
    """A call to a host that the token is not for is refused before anything is sent."""
    auth = KeeperAuth(keeper, "api", allowed_hosts=["api.example.com", ".example.org"])
    with pytest.raises(InvalidConfigurationError, match=r"'api': its token is not for '127.0.0.1'"):
        requests.get(api.url, auth=auth, timeout=30)
    assert api.seen == []
    auth = KeeperAuth(keeper, "api", allowed_hosts="127.0.0.1")
    assert requests.get(api.url, auth=auth, timeout=30).ok


def test_a_connection_that_breaks(api, session):
    """What requests raises comes through, and the next call works."""
    session.get(api.url)
    api.drops = 1
    with pytest.raises(requests.ConnectionError):
        session.post(api.url)
    assert session.post(api.url).ok


def test_a_streamed_answer(api, session):
    """A refused streamed answer gives its connection back, and the second one streams."""
    session.get(api.url)
    api.valid.clear()
    with session.get(api.url, stream=True) as answer:
        assert b"token-2" in b"".join(answer.iter_content(8))


def test_no_token(api, keeper, session):
    """Where no token is to be had, the keeper's own error says why, and nothing is sent."""
    keeper.close()
    with pytest.raises(KeeperClosedError):
        session.get(api.url)
    assert api.seen == []


def test_equal_auths(keeper):
    """Two that do the same are equal, as requests' own are."""
    assert keeper.auth("api") == keeper.auth("api")
    assert keeper.auth("api") != keeper.auth("other")
    assert keeper.auth("api") != keeper.auth("api", allowed_hosts=["api.example.com"])
    assert len({keeper.auth("api"), keeper.auth("api")}) == 1
