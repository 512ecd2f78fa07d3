"""The control endpoint: faults by HTTP."""

import pytest

from tokenkeeper.testing import LoopbackAuthorizationServer

KEY = "the key"


@pytest.fixture
def server():
    """Return a running server with a control endpoint."""
    with LoopbackAuthorizationServer(control_key=KEY) as server:
        yield server


@pytest.fixture
def control(session, server):
    """Return a function that sends a request to the control endpoint."""

    def control(method, name, key=KEY, **form):
        headers = {"Control-Key": key}
        url = f"{server.issuer}/control/{name}"
        return session.request(method, url, data=form, headers=headers, timeout=10)

    return control


def test_an_outage(control, server, ask):
    """An outage begins and ends on request; the state says whether there is one."""
    assert control("POST", "outage", retry_after=7).json()["down"] == "503"
    assert ask(server).headers["Retry-After"] == "7"
    assert control("POST", "outage", mode="reset").json()["down"] == "reset"
    assert control("DELETE", "outage").json()["down"] is None
    assert ask(server).status_code == 200


def test_refusals(control, server, ask):
    """The next token requests are refused as asked for."""
    control("POST", "refuse")
    control("POST", "refuse", error="invalid_scope", description="none left", times=2)
    answers = [ask(server).json() for _ in range(4)]
    assert [each.get("error") for each in answers] == [
        *("invalid_client", "invalid_scope", "invalid_scope"),
        None,
    ]
    assert answers[2]["error_description"] == "none left"


def test_refused_api_calls(control, server, ask, session):
    """The API refuses the next calls, even with a valid token."""
    bearer = {"Authorization": f"Bearer {ask(server).json()['access_token']}"}
    control("POST", "refuse-api", times=2)
    codes = [session.get(server.api_url, headers=bearer, timeout=10).status_code for _ in range(3)]
    assert codes == [401, 401, 200]


def test_revocation(control, server, ask):
    """One token is revoked, or all."""
    tokens = [ask(server).json()["access_token"] for _ in range(3)]
    assert control("POST", "revoke", token=tokens[0]).status_code == 200
    assert [server.is_alive(each) for each in tokens] == [False, True, True]
    assert control("POST", "revoke").status_code == 200
    assert not any(server.is_alive(each) for each in tokens)
    assert control("POST", "revoke", token="made up").json() == {"error": "the token is unknown"}


def test_settings(control, server, ask):
    """Lifetime, latency and refresh tokens can be set while the server runs."""
    form = {"lifetime_seconds": "2.5", "latency_seconds": "0.01", "refresh_tokens": "true"}
    state = control("POST", "settings", **form).json()
    assert (state["lifetime_seconds"], state["latency_seconds"]) == (2.5, 0.01)
    assert state["refresh_tokens"] is True
    assert "refresh_token" in ask(server).json()
    assert server.lifetime_seconds == 2.5


def test_stats(control, server, ask):
    """The state has the counters of the server."""
    ask(server)
    state = control("GET", "stats").json()
    assert (state["token_requests"], state["tokens_granted"]) == (1, 1)
    assert state["token_requests_by_grant"] == {"client_credentials": 1}


@pytest.mark.parametrize(
    ("method", "name", "form", "status", "message"),
    [
        ("POST", "outage", {"mode": "flood"}, 400, "one of 503, reset, stall"),
        ("POST", "outage", {"until": "noon"}, 400, "unknown parameter 'until'"),
        ("POST", "outage", {"retry_after": "-1"}, 400, "number of seconds"),
        ("POST", "refuse", {"times": "0"}, 400, "from 1 to 10000"),
        ("POST", "refuse", {"times": "many"}, 400, "from 1 to 10000"),
        ("POST", "settings", {"lifetime_seconds": "0"}, 400, "positive"),
        ("POST", "settings", {"latency_seconds": "inf"}, 400, "number of seconds"),
        ("POST", "settings", {"refresh_tokens": "yes"}, 400, "true or false"),
        ("GET", "outage", {}, 405, "method_not_allowed"),
        ("POST", "explode", {}, 404, "only outage, refuse"),
    ],
)
def test_mistakes(control, server, method, name, form, status, message):
    """A mistake changes nothing, and the answer says what is possible."""
    answer = control(method, name, **form)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    state = (server.down, server.lifetime_seconds, server.latency_seconds, server.refresh_tokens)
    assert state == (None, 3600, 0, False)


def test_a_body_that_is_not_a_form(control, server, session):
    """JSON is refused, and not read as an empty form that would revoke every token."""
    url = f"{server.issuer}/control/revoke"
    answer = session.post(url, json={"token": "x"}, headers={"Control-Key": KEY}, timeout=10)
    assert answer.status_code == 400


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("key", ["", "another", "the keys", "kéy".encode()])
def test_only_with_the_key(control, server, method, key):
    """Without the right key nothing happens, and no answer lets a page of another origin in."""
    answer = control(method, "outage", key=key)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("Access-Control")]
    assert server.down is None


def test_off_unless_asked_for(session):
    """Without a key there is no such endpoint."""
    with LoopbackAuthorizationServer() as server:
        url = f"{server.issuer}/control/outage"
        assert session.post(url, headers={"Control-Key": ""}, timeout=10).status_code == 404
        assert server.down is None
    with pytest.raises(ValueError, match="empty"):
        LoopbackAuthorizationServer(control_key="")
