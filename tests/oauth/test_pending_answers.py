"""What the answers to polls mean (RFC 8628 §3.5, CIBA Core §11), in the spellings of servers."""

import json

import pytest

from tokenkeeper.exceptions import AuthorizationRequiredError, TokenAcquisitionError
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.pending_answers import Interval, final_error, interval_in, next_interval
from tokenkeeper.oauth.token_response import parse_token_response
from tokenkeeper.oauth.verdict import judge

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
CIBA = "urn:openid:params:grant-type:ciba"
SECRET = "device-code-which-is-never-shown"


def error_of(status, body, headers=(), grant=DEVICE):
    """Return the error for a poll that was answered so."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    expected = Expected("tv", 1_900_000_000.0, secrets=[SECRET], grant=grant)
    with pytest.raises(TokenAcquisitionError) as caught:
        parse_token_response(HttpAnswer(status, dict(headers), content), expected)
    return caught.value


PENDING = {
    "RFC 8628": (400, {"error": "authorization_pending"}),
    "Google": (428, {"error": "authorization_pending", "error_description": "Precondition"}),
    "Auth0": (403, {"error": "authorization_pending", "error_description": "User has yet to"}),
    "GitHub": (200, {"error": "authorization_pending", "error_uri": "https://docs.example.com"}),
    "GitHub's form": (200, b"error=authorization_pending&error_description=still+pending"),
    "AWS": (400, {"__type": "AuthorizationPendingException", "error": "authorization_pending"}),
    "AWS, by type": (400, {"type": "AuthorizationPendingException"}),
    "Entra ID": (
        400,
        {
            "error": "authorization_pending",
            "error_description": "AADSTS70016: OAuth 2.0 device flow error. Authorization is "
            "pending. Continue polling.",
            "error_codes": [70016],
        },
    ),
    "oidc-provider": (
        400,
        {
            "error": "authorization_pending",
            "error_description": "authorization request is still pending as the end-user hasn't "
            "yet completed the user interaction steps",
        },
    ),
    "authgent": (
        400,
        {"error": "invalid_grant", "error_description": "authorization_pending"},
    ),
    "Twitch": (400, {"status": 400, "message": "authorization_pending"}),
    "in a sentence": (400, {"error": "invalid_request", "message": "Authorization pending."}),
    "upper case": (400, {"error": "AUTHORIZATION_PENDING"}),
    "XML": (400, b"<error><code>authorization_pending</code></error>"),
    "in prose": (
        400,
        {
            "error": "invalid_grant",
            "error_description": "The authorization request is still pending",
        },
    ),
}
SLOW_DOWN = {
    "RFC 8628": (400, {"error": "slow_down"}),
    "AWS": (400, {"error": "SlowDownException"}),
    "GitHub": (200, {"error": "slow_down", "interval": 10}),
    "as a description": (400, {"error": "invalid_grant", "error_description": "slow_down"}),
    "429": (429, b""),
    "rate limit": (400, {"error": "rate_limit_exceeded"}),
}
OVER = {
    "denied": (400, {"error": "access_denied"}, "denied the request"),
    "denied at Entra ID": (400, {"error": "authorization_declined"}, "denied the request"),
    "denied, come back": (400, {"error": "access_denied"}, "denied the request"),
    "expired": (400, {"error": "expired_token"}, "in time"),
    "expired at AWS": (400, {"error": "ExpiredTokenException"}, "in time"),
    "expired at authgent": (
        400,
        {"error": "invalid_grant", "error_description": "Device code expired"},
        "expired",
    ),
    "used": (400, {"error": "invalid_grant"}, "already used"),
}
FINAL = {
    "wrong client": (401, {"error": "invalid_client"}),
    "grant not allowed": (400, {"error": "unauthorized_client"}),
    "no answer to this": (404, b"<html>"),
    "an unusable token": (200, {"access_token": ""}),
}
FAULTS = {
    "500": (500, b"", 0.0),
    "503": (503, b"", 0.0),
    "503, come back": (503, b"", 40.0),
    "temporarily": (400, {"error": "temporarily_unavailable"}, 0.0),
}


@pytest.mark.parametrize("grant", [DEVICE, CIBA], ids=["device", "ciba"])
@pytest.mark.parametrize(("status", "body"), PENDING.values(), ids=PENDING)
def test_not_yet(status, body, grant):
    """In every spelling, the same interval follows."""
    error = error_of(status, body, grant=grant)
    assert next_interval(error, 7.0) == 7.0
    assert error.transient


@pytest.mark.parametrize(("status", "body"), SLOW_DOWN.values(), ids=SLOW_DOWN)
def test_too_fast(status, body):
    """In every spelling, the interval is 5 s longer from then on."""
    error = error_of(status, body)
    assert next_interval(error, 7.0) == 12.0
    after = Interval(7.0, failures=3).after(error, 12.0)
    assert (after.wait_seconds, after.failures) == (12.0, 0)


@pytest.mark.parametrize(("status", "body", "why"), OVER.values(), ids=OVER)
def test_over(status, body, why):
    """A denial and an expired code end the polls, even with a ``Retry-After``: begin again."""
    for headers in ({}, {"retry-after": "1"}):
        error = error_of(status, body, headers)
        assert next_interval(error, 5.0) is None
        assert Interval(5.0).after(error, None) is None
        final = final_error(error, Interval(5.0))
        assert isinstance(final, AuthorizationRequiredError)
        assert (final.error, final.transient) == (error.error, False)
        assert why in str(final)
        assert str(final).endswith("Begin again with authorize().")


@pytest.mark.parametrize(("status", "body"), FINAL.values(), ids=FINAL)
def test_errors_that_no_poll_changes(status, body):
    """Any other final error is raised as it is."""
    error = error_of(status, body)
    assert next_interval(error, 5.0) is None
    assert Interval(5.0).after(error, None) is None
    assert final_error(error, Interval(5.0)) is error


@pytest.mark.parametrize(("status", "body", "wait"), FAULTS.values(), ids=FAULTS)
def test_faults(status, body, wait):
    """A fault of the server doubles the wait, which a ``Retry-After`` may lengthen."""
    error = error_of(status, body, {"retry-after": f"{wait:.0f}"} if wait else {})
    assert next_interval(error, 5.0) is None
    first = Interval(5.0).after(error, None)
    second = first.after(error, None)
    assert [first.wait_seconds, second.wait_seconds] == [max(10.0, wait), max(20.0, wait)]
    assert second.after(error_of(*PENDING["RFC 8628"]), 5.0).wait_seconds == 5.0


def test_lost_connections():
    """A lost connection doubles the wait up to a minute, or the interval if that is longer."""
    lost = TokenAcquisitionError("lost", network_reason="timeout", transient=True)
    waits, interval = [], Interval(5.0)
    for _ in range(40):
        interval = interval.after(lost, None)
        waits.append(interval.wait_seconds)
    assert waits[:4] == [10.0, 20.0, 40.0, 60.0]
    assert waits[-1] == 60.0
    assert Interval(90.0).after(lost, None).wait_seconds == 90.0


def test_an_answer_that_was_lost():
    """If a code is used up after a lost answer, the error says that the token may be lost."""
    lost = TokenAcquisitionError("lost", network_reason="connection_broken", transient=True)
    used = error_of(*OVER["used"][:2])
    interval = Interval(5.0).after(lost, None).after(error_of(*PENDING["RFC 8628"]), 5.0)
    interval = interval.after(error_of(*FAULTS["500"][:2]), None)
    unknown = error_of(400, {"error": "invalid_request", "error_description": "device_code"})
    for error in (used, unknown):
        final = final_error(error, interval)
        assert isinstance(final, AuthorizationRequiredError)
        assert "An earlier poll got no answer" in str(final)
    assert final_error(unknown, Interval(5.0)) is unknown
    denied = error_of(*OVER["denied"][:2])
    assert "An earlier poll" not in str(final_error(denied, interval))
    refused = TokenAcquisitionError("no", network_reason="connection_refused", transient=True)
    for kept in (Interval(5.0), Interval(5.0).after(refused, None)):
        assert "An earlier poll" not in str(final_error(used, kept))


def test_other_grants():
    """For another grant, such a description does not change what a code means."""
    verdict = judge(["invalid_grant"], "authorization_pending", 400, grant="refresh_token")
    assert (verdict.code, verdict.transient) == ("invalid_grant", False)
    assert judge(["invalid_client"], "slow_down", 401, grant=DEVICE).code == "invalid_client"


INTERVALS = [
    (None, 5.0),
    (5, 5.0),
    ("7", 7.0),
    (0, 1.0),
    (0.5, 1.0),
    (-1, 5.0),
    (float("inf"), 5.0),
]
INTERVALS += [(float("inf"), 5.0), (True, 5.0), ([], 5.0), ("soon", 5.0), (3600, 3600.0)]


@pytest.mark.parametrize(("stated", "seconds"), INTERVALS, ids=repr)
def test_intervals(stated, seconds):
    """The interval is as stated, at least a second, and 5 s if it is not stated."""
    assert interval_in(stated) == seconds


def test_secrets():
    """The code is shown in no message, even if the server repeats it."""
    error = error_of(400, {"error": "invalid_grant", "error_description": f"unknown {SECRET}"})
    assert SECRET not in str(final_error(error, Interval(5.0)))
