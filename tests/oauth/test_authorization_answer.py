"""The answer in a redirect's URL, which may come from anyone, and responses without a token."""

import pytest
from kit.oauth_client import oauth_client

from tokenkeeper import OAuth2Config, TokenAcquisitionError
from tokenkeeper.oauth.authorization_answer import read_answer
from tokenkeeper.oauth.client import Exchange
from tokenkeeper.oauth.endpoint_answer import read_endpoint_answer
from tokenkeeper.oauth.exchange import HttpAnswer, LateSecrets, Purpose
from tokenkeeper.oauth.pkce import challenge_of, new_state, new_verifier


def test_the_challenge_of_the_rfc():
    """It is that of RFC 7636 appendix B, and verifiers and states are never the same."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert len({new_verifier(), new_verifier(), new_state(), new_state()}) == 4


@pytest.mark.parametrize(
    ("issuer", "metadata", "stated", "problem"),
    [
        (None, None, "https://any.test", ""),
        ("https://as.test", None, None, ""),
        ("https://as.test", {}, "https://as.test", ""),
        ("https://as.test", {}, "https://as.test/", "was not asked"),
        ("https://as.test", {}, "", "was not asked"),
        (
            "https://as.test",
            {"authorization_response_iss_parameter_supported": True},
            None,
            "it has no iss",
        ),
        (
            "https://as.test",
            {"authorization_response_iss_parameter_supported": "true"},
            None,
            "",
        ),
    ],
    ids=["unknown", "silent", "same", "slash", "empty", "promised", "no promise"],
)
def test_the_issuer(issuer, metadata, stated, problem):
    """It is compared verbatim, and must be there if the server promises it (RFC 9207 §2.4)."""
    suffix = "" if stated is None else f"&iss={stated}"
    found = read_answer(f"https://app.test/?state=s{suffix}").issuer_problem(issuer, metadata)
    assert problem in found
    assert bool(problem) is bool(found)


def test_nothing_of_it_is_shown():
    """Neither code nor state is in its ``repr``, and errors are one line."""
    answer = read_answer("https://app.test/?code=c0de&state=st4te&error=a%0Ab")
    assert "c0de" not in repr(answer)
    assert "st4te" not in repr(answer)
    assert "\n" not in answer.error
    assert not answer.is_for("")


@pytest.mark.parametrize("url", ["http://[", "https://app.test/?" + "a&" * 200])
def test_what_can_not_be_read(url):
    """It has a problem, and nothing else."""
    assert read_answer(url).problem == "it is not a valid URL"


def test_responses_without_a_token():
    """Each that can't be used is an error that names the request, and shows no secret."""
    client = oauth_client(OAuth2Config("api", "me", "s3cret", "https://as.test/token"), None)
    purpose = Purpose.of("device_authorization_endpoint", "device request")

    def read(status, body):
        answer = HttpAnswer(status, {}, body)
        exchange = Exchange(answer, 0.0, LateSecrets(lambda: ["s3cret"]), "https://as.test/x")
        return read_endpoint_answer(client, exchange, purpose, needs=("device_code",))

    assert read(200, b'{"device_code": "d"}')["device_code"] == "d"
    for status, body, says in (
        (200, b"no json", "the response is not JSON"),
        (200, b'{"device_code": 7}', "the response has no device_code"),
        (200, b'{"error": "invalid_scope"}', "invalid_scope"),
        (200, b'{"device_code": "d", "error": "invalid_scope"}', "invalid_scope"),
        (503, b"s3cret", "HTTP 503"),
    ):
        with pytest.raises(TokenAcquisitionError, match=says) as info:
            read(status, body)
        assert "device request failed" in str(info.value)
        assert "s3cret" not in str(info.value)
        assert info.value.transient is (status == 503)
