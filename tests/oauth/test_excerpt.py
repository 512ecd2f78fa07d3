"""Quotes of a server's plain text: its sentences stay readable, and possible secrets are hidden."""

import json

import pytest

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.oauth.excerpt import excerpt
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.token_response import parse_token_response
from tokenkeeper.testing import LoopbackAuthorizationServer

SENTENCES = [
    "the token endpoint is down for a while",
    "Token endpoint: not available.",
    "The access token expired.",
    "The refresh token is invalid, revoked, or was already used",
    "No token provided (token missing)",
    "token request failed; the token service cannot be reached",
    "Token exchange is not enabled for this client",
    "token signature mismatch",
    "a password grant needs a password",
    "use HTTP Basic authentication, not Basic credentials in the body",
    "Bearer authentication required",
    "DPoP proof missing",
    "invalid client secret: the secret is wrong",
    "Bad credentials: please check them",
    "Invalid assertion: signature verification failed",
    "TOKEN VALIDATION FAILED",
]

SECRETS = [
    ("token sqmzkwpv is bad", "token [hidden] is bad"),
    ("bad token SQMZKWPV", "bad token [hidden]"),
    ("Bearer s3cr3t-t0ken expired", "Bearer [hidden] expired"),
    ("got Basic aWQ6c2VjcmV0, not Bearer", "got Basic [hidden] not Bearer"),
    ("DPoP sqmzkwpv", "DPoP [hidden]"),
    ("token endpoints3cr3t here", "token [hidden] here"),
    ("token expired-s3cr3t here", "token [hidden] here"),
    ("token s3cr3tX here", "token [hidden] here"),
    ("token expiredX here", "token [hidden] here"),
    ("the password: sqmzk is wrong", "the password: [hidden] is wrong"),
    ("wrong password=required today", "wrong password=[hidden] today"),
    ("wrong password = required today", "wrong password = [hidden] today"),
    ("wrong password:required today", "wrong password:[hidden] today"),
    ("client_secret: 'sqmzk' is wrong", "client_secret: [hidden] is wrong"),
    ("bad token: Bearer sqmzkwpv here", "bad token: [hidden] here"),
    ("bad token: token sqmzkwpv here", "bad token: [hidden] here"),
    ("assertion: missing, credentials: sqmzk", "assertion: missing, credentials: [hidden]"),
    ("token request: token sqmzkwpv", "token request: token [hidden]"),
    ("the id 0123456789abcdefghij is unknown", "the id [hidden] is unknown"),
    (f"the id {'sqmzkwpv' * 4} is unknown", "the id [hidden] is unknown"),
]

BODIES = {
    "text": (str, "text/plain"),
    "JSON string": (json.dumps, "application/json"),
    "web page": ("<html><title>{}</title></html>".format, "text/html"),
}


def message(said, form="text", secrets=("hunter2",)):
    """Return the message for a response that says something."""
    written, content_type = BODIES[form]
    answer = HttpAnswer(503, {"content-type": content_type}, written(said).encode())
    with pytest.raises(TokenAcquisitionError) as caught:
        parse_token_response(answer, Expected("api", 0.0, scope=None, secrets=[*secrets]))
    return str(caught.value)


@pytest.mark.parametrize("form", BODIES)
@pytest.mark.parametrize("said", SENTENCES)
def test_sentences_stay(said, form):
    """A sentence about tokens and secrets contains none, so it is shown unchanged."""
    assert said in message(said, form)


@pytest.mark.parametrize("form", BODIES)
@pytest.mark.parametrize(("said", "shown"), SECRETS)
def test_possible_secrets_are_hidden(said, shown, form):
    """What follows a scheme or the name of a secret is hidden unless it is a listed word."""
    text = message(said, form)
    assert shown in text
    assert "sqmzk" not in text.lower()
    assert "s3cr3t" not in text


@pytest.mark.parametrize("said", ["the token endpoint is down", "bad secret: endpoint"])
def test_a_secret_that_is_a_listed_word_is_hidden(said):
    """A word of the list is hidden if it is the secret that was sent."""
    assert "endpoint" not in message(said, secrets=["endpoint"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("access_token: abc def", ""),
        ("your refreshtoken=abc", ""),
        ('{"id_token": "abc"', ""),
        ("x" * 30, "x" * 30),
        ("x" * 31, ""),
        (f"{'x' * 31} ", ""),
        (f"x {'x' * 30}", f"x {'x' * 30}"),
        (f"x{' ' * 398}y", "x y"),
        (f"x{' ' * 399}y", "x"),
        ("abcd " * 32, ("abcd " * 32).strip()),
        ("abcd " * 32 + "e", "abcd " * 32),
        ("abc\n\td", "abc d"),
    ],
    ids=range(12),
)
def test_lengths(text, shown):
    """At most 160 characters of the first 400 are shown, and no lone word of more than 30."""
    assert excerpt(text) == shown


def test_the_outage_of_the_test_server():
    """The test server's 503 is quoted in full: it is the first error that many users see."""
    with LoopbackAuthorizationServer() as server:
        server.go_down("503")
        with pytest.raises(TokenAcquisitionError, match="the token endpoint is down for a while"):
            server.provider("api").acquire_token()
