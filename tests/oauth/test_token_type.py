"""Which types of token count as bearer tokens."""

import json

import pytest

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.token_response import parse_token_response


def type_of(kind, **expected):
    """Return the type of a granted token with the ``token_type`` *kind*, or the error."""
    body = json.dumps({"access_token": "abc", "token_type": kind}).encode()
    return parse_token_response(HttpAnswer(200, {}, body), Expected("api", 1.9e9, **expected))


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer", "bEARER"])
def test_any_case(kind):
    """``bearer`` is accepted in any case, and kept."""
    assert type_of(kind).token_type == kind


@pytest.mark.parametrize(
    "kind",
    [
        *("BearerToken", "Bearer Token", "bearer_token", "bearer-token", "BEARERTOKEN"),
        *(" Bearer ", "Bearer\n", "\tbearer token", "OAuth Bearer", "oauth2:bearer"),
        *("JWT", "jwt", "at+jwt", "access_token", "Access Token", "AccessToken", "token"),
        *("User Access Token", "Application Access Token", "uuid", "opaque", "reference"),
        *("bot", "user", "app", "OAuth", "OAuth2", "example", "macaroon", "popular", "machine"),
        *("urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:access_token"),
        *(None, "", " ", 7, 0, True, False, {}, [], ["Bearer"], [None], {"type": "bearer"}),
    ],
)
def test_bearer_in_fact(kind):
    """Vendors' names, or none, mean bearer tokens; the type is then ``Bearer``."""
    assert type_of(kind).token_type.lower() == "bearer"


def test_left_out():
    """A missing type means a bearer token."""
    answer = HttpAnswer(200, {}, b'{"access_token": "abc"}')
    assert parse_token_response(answer, Expected("api", 1.9e9)).token_type == "Bearer"


NOT_BEARER = [
    *("mac", "MAC", " mac ", "Mac Token", "mac_token", "MacToken", "hmac", "HMAC-SHA256", "Hawk"),
    *("pop", "PoP", "PoP Token", "poptoken", "DPoP", "dpop", "DPOP", "DPoP Bearer", "bearer/dpop"),
    *("proof-of-possession", "ProofOfPossession", "hok", "holder_of_key", "GNAP"),
    *("N_A", "n_a", "Basic", "Digest", "Negotiate", "AWS4-HMAC-SHA256", "ssh-cert"),
    *("urn:ietf:params:oauth:token-type:saml2", ["mac"], ["DPoP"]),
]


@pytest.mark.parametrize("kind", NOT_BEARER)
def test_not_bearer(kind):
    """A token of another type is refused; the message has its type and what to do."""
    with pytest.raises(TokenAcquisitionError, match="token_type other than Bearer") as caught:
        type_of(kind)
    word = kind[0] if isinstance(kind, list) else kind.strip()
    assert f'"{word}"' in str(caught.value)
    assert "accept_token_types" in str(caught.value)
    assert caught.value.transient is False
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("kind", [each for each in NOT_BEARER if isinstance(each, str)])
def test_accepted(kind):
    """A type in accept_token_types is accepted in any case, and kept as the server writes it."""
    accepted = ("other", f" {kind.swapcase().strip()}")
    assert type_of(kind, accept_token_types=accepted).token_type == kind.strip()


def test_accepting_one_accepts_no_other():
    """A type that is not listed is refused, and bearer tokens are still accepted."""
    with pytest.raises(TokenAcquisitionError, match="DPoP"):
        type_of("DPoP", accept_token_types=("mac",))
    assert type_of("Bearer", accept_token_types=("mac",)).token_type == "Bearer"


def test_the_type_is_sanitized():
    """A type with line breaks, excess length or a secret is sanitized."""
    with pytest.raises(TokenAcquisitionError) as caught:
        type_of("mac hunter2\nroot: " + "x" * 500, secrets=["hunter2"])
    message = str(caught.value)
    assert "hunter2" not in message
    assert message.isprintable()
    assert len(message) < 500


@pytest.mark.parametrize(("kind", "shown"), [("d" * 46, "d" * 46), ("d" * 47, f"{'d' * 43}...")])
def test_the_message(kind, shown):
    """The message says what to do about another type, of which it shows 50 characters."""
    with pytest.raises(TokenAcquisitionError) as caught:
        type_of(f"mac {kind}")
    assert f'the response has a token_type other than Bearer, "mac {shown}".' in str(caught.value)
    assert str(caught.value).partition("other than Bearer, ")[2] == (
        f'"mac {shown}". Request a bearer token from the server, or, if the API accepts this one '
        f'in an "Authorization: Bearer" header, add "mac {shown}" to accept_token_types. '
        "Check the response with the server's operator."
    )


@pytest.mark.parametrize(
    ("kinds", "taken"),
    [
        (["Bearer", "Bearer"], "Bearer"),
        (["mac", "Bearer"], "Bearer"),
        (["bearer", "mac"], "bearer"),
        ([None, "mac"], None),
    ],
)
def test_twice(kinds, taken):
    """Of two types, either may make the token a bearer token."""
    members = ['"access_token": "abc"', *(f'"token_type": {json.dumps(kind)}' for kind in kinds)]
    answer = HttpAnswer(200, {}, f"{{{', '.join(members)}}}".encode())
    if taken is None:
        with pytest.raises(TokenAcquisitionError):
            parse_token_response(answer, Expected("api", 1.9e9))
    else:
        assert parse_token_response(answer, Expected("api", 1.9e9)).token_type == taken
