"""``auth=`` for requests, against a real API that refuses tokens."""

import io
import threading

import pytest
import requests
from urllib3.util import Retry

from tokenkeeper import (
    InvalidConfigurationError,
    KeeperClosedError,
    TokenAcquisitionError,
    TokenRefreshError,
    TokenWaitTimeoutError,
    UnknownProviderError,
)
from tokenkeeper.integrations.requests import KeeperAuth


@pytest.fixture
def session(keeper):
    """Return a session whose requests carry the token."""
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=200))
        session.auth = keeper.auth("api")
        yield session


def test_the_header(api, session):
    """Each request carries the token of the provider."""
    for _ in range(3):
        assert session.get(api.url + "/x").json()["token"] == "token-1"


def test_a_revoked_token(api, provider, session):
    """A 401 renews the token and sends the request again; the caller gets the second response."""
    session.get(api.url)
    api.valid.clear()
    answer = session.post(api.url + "/x", data={"a": "b"})
    assert answer.json() == {"path": "/x", "token": "token-2", "body": "a=b"}
    assert [each.status_code for each in answer.history] == [401]
    assert answer.request.headers["Authorization"] == "Bearer token-2"
    assert provider.minted == 2


def test_a_second_refusal(api, provider, session):
    """If the new token is refused too, the caller gets the second 401."""
    provider.good = False
    answer = session.get(api.url)
    assert answer.status_code == 401
    assert api.tokens == ["token-1", "token-2"]


@pytest.mark.slow
def test_a_token_revoked_in_the_middle(api, provider, session, crowd):
    """A token is revoked while 200 threads use it: all of them go on, with one renewal."""
    session.get(api.url)
    api.revoke_at = 300
    answers = crowd(200, lambda: [session.get(api.url).json()["token"] for _ in range(3)])
    assert {token for tokens in answers for token in tokens} == {"token-1", "token-2"}
    assert provider.minted == 2


def test_a_crowd_that_is_refused(api, provider, session, crowd):
    """200 concurrent calls that are all refused succeed, with one renewal."""
    session.get(api.url)
    refused = threading.Barrier(200)
    api.valid.clear()

    def call():
        refused.wait(30)
        return session.get(api.url).json()["token"]

    assert set(crowd(200, call)) == {"token-2"}
    assert provider.minted == 2


def test_a_body_that_can_be_rewound(api, session):
    """A file is sent again from its position."""
    session.get(api.url)
    api.valid.clear()
    file = io.BytesIO(b"skipped sent")
    file.seek(8)
    assert session.put(api.url, data=file).json()["body"] == "sent"
    assert [body for *_, body in api.seen[1:]] == [b"sent", b"sent"]


def test_a_refusal_in_the_middle_of_a_body(api, session):
    """A body that the server did not wait for is sent again completely."""
    big = b"0123456789abcdef" * 2**18
    api.faults = ["early"]
    assert session.put(api.url, data=io.BytesIO(big)).ok
    assert ("/", "token-2", big) in api.seen  # the refused one may be read completely later


def test_a_body_that_is_used_up(api, session):
    """A generator is not sent again: the caller gets the 401, and the next call has a new token."""
    session.get(api.url)
    api.valid.clear()
    assert session.put(api.url, data=(part for part in [b"a", b"b"])).status_code == 401
    assert session.put(api.url, data=(part for part in [b"a", b"b"])).json()["body"] == "ab"


def test_a_redirect_on_the_same_host(api, session):
    """A redirect keeps the token, which may be renewed at its target."""
    session.get(api.url)
    api.valid.clear()
    answer = session.get(api.url + "/to//end")
    assert answer.json() == {"path": "/end", "token": "token-2", "body": ""}


def test_a_redirect_after_a_renewal(api, provider, session):
    """A redirect after a renewal carries the new token; a 401 at its target is final."""
    session.get(api.url)
    api.valid.clear()
    answer = session.post(api.url + "/then//end", data="x")
    assert answer.json() == {"path": "/end", "token": "token-2", "body": ""}
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    # The second request is accepted, but not the one that it redirects to.
    api.once.add("token-3")
    api.valid.clear()
    provider.good = False
    assert session.get(api.url + "/then//end").status_code == 401
    assert api.tokens[4:] == ["token-2", "token-3", "token-3"]


def test_a_refusal_at_the_end_of_a_redirect(api, provider, session):
    """Only the request that was refused is sent again, not those that redirected to it."""
    session.get(api.url)
    api.once.add("token-1")
    api.valid.clear()
    answer = session.post(api.url + "/then//end", data="x")
    assert answer.json()["token"] == "token-2"
    assert [path for path, *_ in api.seen[1:]] == ["/then//end", "/end", "/end"]
    assert provider.minted == 2


def test_a_redirect_there_and_back(api, elsewhere, session):
    """A token that a redirect dropped does not return by another redirect."""
    back = api.url + "/to/" + elsewhere.url + "/to/" + api.url + "/end"
    assert session.get(back).status_code == 401
    assert elsewhere.tokens == [None]
    assert api.tokens == ["token-1", None]


def test_a_redirect_to_another_scheme(api, keeper):
    """A redirect from https to http drops the token."""
    auth = keeper.auth("api")
    request = requests.Request("GET", "https://localhost/", auth=auth).prepare()
    assert "Authorization" in request.headers
    hop = request.copy()
    hop.url = "http://localhost/"
    response = requests.Response()
    response.request = request
    with requests.Session() as session:
        session.rebuild_auth(hop, response)
    assert "Authorization" not in hop.headers


def test_hooks_of_the_caller(api, session):
    """All of the caller's hooks see the final response, with its elapsed time."""
    session.get(api.url)
    api.valid.clear()
    seen = []

    def hook(name):
        return lambda answer, **_: seen.append((name, answer.status_code))

    session.hooks["response"] = [hook("one"), hook("two")]
    answer = session.get(api.url)
    assert seen == [("one", 200), ("two", 200)]
    assert answer.elapsed.total_seconds() > 0
    assert answer.history[0].request.headers["Authorization"] == "Bearer token-1"


def test_a_prepared_request(api, provider, session):
    """A prepared request is renewed each time that its token is refused."""
    request = session.prepare_request(requests.Request("GET", api.url))
    for number in (1, 2, 3):
        assert session.send(request).json()["token"] == f"token-{number}"
        api.valid.clear()
    assert provider.minted == 3


def test_a_header_of_the_caller(api, session):
    """``auth=`` replaces a header of the caller's, as requests' own do."""
    answer = session.get(api.url, headers={"Authorization": "Bearer mine"})
    assert answer.json()["token"] == "token-1"


def test_netrc(api, session, tmp_path, monkeypatch):
    """A password for the host in ``~/.netrc`` does not replace the token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert session.get(api.url).json()["token"] == "token-1"


def test_cookies(api, session):
    """Cookies of all responses are kept, including those of the refusal."""
    session.get(api.url)
    api.valid.clear()
    api.cookies = True
    session.get(api.url)
    assert session.cookies.get_dict() == {"c1": "401", "c2": "200"}


def test_a_redirect_to_another_server(api, elsewhere, provider, session):
    """A redirect to another origin drops the token, and a 401 there renews nothing."""
    answer = session.get(api.url + "/to/" + elsewhere.url + "/end")
    assert answer.status_code == 401
    assert elsewhere.tokens == [None]
    assert provider.minted == 1


def test_hosts_that_are_not_allowed(api, keeper, elsewhere):
    """A call to a host that is not allowed raises an error before anything is sent."""
    auth = KeeperAuth(keeper, "api", allowed_hosts=["api.example.com", ".example.org"])
    with pytest.raises(InvalidConfigurationError, match=r"must not be sent to '127\.0\.0\.1:"):
        requests.get(api.url, auth=auth, timeout=30)
    assert api.seen == []
    auth = KeeperAuth(keeper, "api", allowed_hosts=api.place)
    assert requests.get(api.url, auth=auth, timeout=30).ok


def test_a_connection_that_breaks(api, session):
    """Errors of requests reach the caller, and the next call works."""
    session.get(api.url)
    api.faults = ["drop"]
    with pytest.raises(requests.ConnectionError):
        session.post(api.url)
    assert session.post(api.url).ok


@pytest.mark.parametrize("retries", [0, 3])
def test_a_connection_that_breaks_before_the_second_request(api, provider, session, retries):
    """The token is renewed all the same; urllib3's retries, if any, send the request again."""
    retry = Retry(retries, allowed_methods=None)
    session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
    session.get(api.url)
    api.valid.clear()
    api.faults = [None, "drop"]
    if not retries:
        with pytest.raises(requests.ConnectionError):
            session.post(api.url)
    assert session.post(api.url).json()["token"] == "token-2"
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    assert provider.minted == 2


def test_answers_that_break_off(api, provider, session):
    """A refusal that breaks off does no harm; a response that breaks off is the caller's error."""
    session.get(api.url)
    api.valid.clear()
    api.faults = ["cut"]
    assert session.get(api.url).json()["token"] == "token-2"
    api.faults = ["cut"]
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        session.get(api.url)
    assert session.get(api.url).ok
    assert provider.minted == 2


def test_streamed_answers(api, session):
    """A refused streamed response frees its connection, and the second one is streamed."""
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=1, pool_block=True))
    session.get(api.url)
    api.valid.clear()
    api.refusal = b"no" * 2**20
    with session.get(api.url, stream=True) as answer:
        assert b"token-2" in b"".join(answer.iter_content(8))
    api.valid.clear()
    generator = (part for part in [b"a", b"b"])
    with session.put(api.url, data=generator, stream=True) as answer:
        assert (answer.status_code, len(answer.content)) == (401, 2**21)
    assert session.get(api.url).ok


def test_a_body_that_is_used_up_waits_for_nothing(api, provider, session):
    """A caller whose request can't be sent again gets the 401 without waiting for the renewal."""
    session.get(api.url)
    api.valid.clear()
    provider.open.clear()
    assert session.put(api.url, data=iter([b"a"])).status_code == 401
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    provider.open.set()
    with pytest.raises(TokenRefreshError, match="down"):
        session.get(api.url)


def test_no_token(api, keeper, provider, session):
    """Without a token, the keeper's own error is raised, and nothing is sent."""
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    for _ in range(2):  # a request, and then the cooldown
        with pytest.raises(TokenAcquisitionError, match="the server is down"):
            session.get(api.url)
    with pytest.raises(UnknownProviderError, match="'other'"):
        session.get(api.url, auth=keeper.auth("other"))
    keeper.close()
    with pytest.raises(KeeperClosedError):
        session.get(api.url)
    assert provider.asked == 1
    assert api.seen == []


def test_no_new_token(api, keeper, provider, session):
    """If a refused token can't be renewed, the keeper's own error is raised too."""
    session.get(api.url)
    api.valid.clear()
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    with pytest.raises(TokenRefreshError, match="the server is down"):
        session.get(api.url)


def test_a_timeout_in_a_renewal(api, keeper, provider):
    """``timeout=`` limits the wait for a token; the renewal goes on and serves the next call."""
    auth = KeeperAuth(keeper, "api", timeout=0)
    keeper.get_token("api")
    api.valid.clear()
    provider.open.clear()
    with pytest.raises(TokenWaitTimeoutError):
        requests.get(api.url, auth=auth, timeout=30)
    provider.open.set()
    assert requests.get(api.url, auth=keeper.auth("api"), timeout=30).json()["token"] == "token-2"


def test_equal_auths(keeper):
    """Two authentications with the same settings are equal, as requests' own are."""
    assert keeper.auth("api") == keeper.auth("api")
    assert keeper.auth("api") != keeper.auth("other")
    assert keeper.auth("api") != keeper.auth("api", allowed_hosts=["api.example.com"])
    assert len({keeper.auth("api"), keeper.auth("api")}) == 1
