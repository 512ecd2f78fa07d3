"""Ciba: what it sends (CIBA Core §7.1, §10.1), and what becomes of the answers."""

import pytest
from kit.servers.base import Answer
from kit.servers.polled import AUTH_REQ_ID, PENDING, PolledServer, PolledSignIns

from tokenkeeper import (
    AuthorizationRequiredError,
    InvalidConfigurationError,
    TokenAcquisitionError,
)
from tokenkeeper.names import TokenParameters
from tokenkeeper.providers.grants.ciba import Ciba
from tokenkeeper.providers.grants.sign_in import Asked
from tokenkeeper.testing import SteppedClock


@pytest.fixture
def server():
    """Return a server, on whose stepped clock waits pass at once."""
    with PolledServer(SteppedClock(auto_step=True)) as server:
        yield server


def test_the_request(server):
    """The hint, the message and the expiry are sent, and what was set for the request."""
    grant = Ciba(
        login_hint="ann",
        binding_message="W4SCT",
        requested_expiry_seconds=120,
        authorize_parameters={"acr_values": "urn:strong"},
    )
    pending = server.begin(grant, Asked("tv", scope="openid read"))
    assert dict(server.received[0].form) == {
        "client_id": "client-1",
        "client_secret": "client-secret",
        "scope": "openid read",
        "login_hint": "ann",
        "binding_message": "W4SCT",
        "requested_expiry": "120",
        "acr_values": "urn:strong",
    }
    assert (pending.url, pending.user_code, pending.interval_seconds) == ("", None, 2)
    assert AUTH_REQ_ID not in repr(pending)


ACCOUNT = TokenParameters.of(account="bob")
HINTS = {
    "a text": ({"id_token_hint": "eyJ-text"}, Asked("tv"), "id_token_hint", "eyJ-text"),
    "a function": ({"login_hint_token": lambda: "t"}, Asked("tv"), "login_hint_token", "t"),
    "of authorize": ({}, Asked("tv", login_hint="ann"), "login_hint", "ann"),
    "the account": ({}, Asked("tv", ACCOUNT), "login_hint", "bob"),
    "both": ({}, Asked("tv", ACCOUNT, login_hint="ann"), "login_hint", "ann"),
    "the grant and an account": ({"login_hint": "cy"}, Asked("tv", ACCOUNT), "login_hint", "cy"),
}


@pytest.mark.parametrize(("options", "asked", "name", "text"), HINTS.values(), ids=HINTS)
def test_hints(server, options, asked, name, text):
    """One hint is sent: that of the grant, else of ``authorize()``, else the account."""
    server.begin(Ciba(**options), asked)
    sent = dict(server.received[0].form)
    assert {each: sent[each] for each in sent if "hint" in each} == {name: text}


def test_a_hint_in_a_file(server, tmp_path):
    """A hint in a file is read for each sign-in."""
    file = tmp_path / "hint"
    grant = Ciba(id_token_hint=file)
    for text in ("first", "second"):
        file.write_text(text + "\n")
        server.begin(grant)
        assert dict(server.received[-1].form)["id_token_hint"] == text


def test_a_hint_that_is_missing(server, tmp_path):
    """A hint that can't be read is an error before any request."""
    with pytest.raises(TokenAcquisitionError, match="the id_token_hint"):
        server.begin(Ciba(id_token_hint=tmp_path / "hint"))
    assert server.received == []


UNCLEAR = {
    "no one": ({}, Asked("tv"), "no hint says who"),
    "two": ({"id_token_hint": "x"}, Asked("tv", login_hint="ann"), "can't be combined"),
}


@pytest.mark.parametrize(("options", "asked", "why"), UNCLEAR.values(), ids=UNCLEAR)
def test_who_is_unclear(server, options, asked, why):
    """Without a hint, or with two, no one is asked."""
    with pytest.raises(InvalidConfigurationError, match=why) as caught:
        server.begin(Ciba(**options), asked)
    assert caught.value.field == "login_hint"
    assert server.received == []


WRONG = {
    "two hints": ({"login_hint": "a", "id_token_hint": "b"}, "id_token_hint", "one hint"),
    "an empty hint": ({"login_hint": ""}, "login_hint", "empty"),
    "a hint of bytes": ({"login_hint_token": b"x"}, "login_hint_token", "callable"),
    "message": ({"binding_message": "a\nb"}, "binding_message", "control"),
    "expiry": ({"requested_expiry_seconds": 0}, "requested_expiry_seconds", "1"),
    "half a second": ({"requested_expiry_seconds": 0.5}, "requested_expiry_seconds", "whole"),
    "set elsewhere": (
        {"authorize_parameters": {"login_hint": "a"}},
        "authorize_parameters",
        "the grant sets it",
    ),
    "user code": (
        {"authorize_parameters": {"user_code": "1234"}},
        "authorize_parameters",
        "user codes are not supported",
    ),
    "ping mode": (
        {"authorize_parameters": {"client_notification_token": "x"}},
        "authorize_parameters",
        "only poll mode",
    ),
}


@pytest.mark.parametrize(("options", "field", "why"), WRONG.values(), ids=WRONG)
def test_options_that_cannot_work(options, field, why):
    """Wrong options are refused when the grant is made, by name."""
    with pytest.raises(InvalidConfigurationError, match=why) as caught:
        Ciba(**options)
    assert caught.value.field == field


def test_polls(server):
    """A poll sends the auth_req_id and the grant type (§10.1); the token is an ordinary one."""
    began = server.clock.monotonic()
    server.script[:] = [PENDING, Answer(400, {"error": "slow_down"})]
    assert PolledSignIns(server, Ciba(login_hint="ann")).wait().access_token == "t-1"
    assert [at - began for at in server.polls] == [2, 4, 11]
    sent = dict(server.received[-1].form)
    assert (sent["grant_type"], sent["auth_req_id"]) == (Ciba.grant_type, AUTH_REQ_ID)


OVER = {
    "denied": ("access_denied", "denied the request"),
    "expired": ("expired_token", "in time"),
    "used": ("invalid_grant", "auth_req_id has expired, was denied, or was already used"),
}


@pytest.mark.parametrize(("code", "why"), OVER.values(), ids=OVER)
def test_over(server, code, why):
    """A denial or an expiry is a final error after one request, without the auth_req_id."""
    body = {"error": code, "error_description": f"for {AUTH_REQ_ID}"}
    server.script[:] = [Answer(400, body)]
    with pytest.raises(AuthorizationRequiredError, match=why) as caught:
        PolledSignIns(server, Ciba(login_hint="ann")).wait()
    assert AUTH_REQ_ID not in str(caught.value)
    assert AUTH_REQ_ID not in str(caught.value.error_description)
    assert len(server.polls) == 1


REFUSALS = {
    "unknown_user_id": "does not know the person",
    "invalid_binding_message": "binding_message",
    "missing_user_code": "user_code, which is not supported",
    "expired_login_hint_token": "login_hint_token has expired",
    "access_denied": "denied the request",
}


@pytest.mark.parametrize(("code", "why"), REFUSALS.items(), ids=REFUSALS)
def test_refusals(server, code, why):
    """What §13 defines is a final error that says what to do, without the hint."""
    hint = "eyJ-a-hint-which-is-never-shown"
    server.asked = Answer(400, {"error": code, "error_description": f"not {hint}"})
    with pytest.raises(TokenAcquisitionError, match=why) as caught:
        server.begin(Ciba(login_hint_token=hint))
    assert not caught.value.transient
    assert "backchannel authentication request failed" in str(caught.value)
    assert hint not in str(caught.value)


@pytest.mark.parametrize("missing", ["auth_req_id", "expires_in"])
def test_unusable_responses(server, missing):
    """A response without what §7.3 requires is a final error."""
    del server.asked[missing]
    with pytest.raises(TokenAcquisitionError, match=missing) as caught:
        server.begin(Ciba(login_hint="ann"))
    assert not caught.value.transient


def test_no_interval(server):
    """Without an interval, 5 s is the interval (§7.3)."""
    del server.asked["interval"]
    assert server.begin(Ciba(login_hint="ann")).interval_seconds == 5
