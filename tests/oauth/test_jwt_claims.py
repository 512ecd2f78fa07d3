"""The claims of an access token that is a JSON Web Token."""

import base64
import json

import pytest

from tokenkeeper.oauth.jwt_claims import jwt_claims

CLAIMS = {"exp": 7, "sub": "me"}


def part(content):
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode("latin-1")).decode().rstrip("=")


HEADER, BODY = part({"alg": "none"}), part(json.dumps(CLAIMS))


def test_claims():
    """The claims are read from base64 in the alphabet for URLs, without padding."""
    body = part({"a": "~~~???", "b": ">>>"})
    assert "_" in body
    assert "-" in body
    assert jwt_claims(f"{HEADER}.{body}.") == {"a": "~~~???", "b": ">>>"}
    assert jwt_claims(f"{HEADER}.{BODY}.c2ln") == CLAIMS


@pytest.mark.parametrize("text", ['{"a":7}', '{"a":71}', '{"a":711}', '{"a":7111}'])
def test_padding(text):
    """A part of any length is read."""
    assert jwt_claims(f"{HEADER}.{part(text)}.c2ln") == json.loads(text)


@pytest.mark.parametrize(
    "token",
    [
        *("", "abc", ".", "..", "...", HEADER, f"{HEADER}.{BODY}", f"{HEADER}.{BODY}.a.b"),
        *(f"{part(each)}.{BODY}.c2ln" for each in ({"typ": "JWT"}, ["alg"], "[", '"alg"')),
        *(f"{HEADER}.{part(each)}.c2ln" for each in ([1], "7", "{", '{"a": "\xe9"}')),
        *(f"{HEADER}.{BODY[:4]}{each}{BODY[4:]}.c2ln" for each in "! *\n\xe9"),
        f"!{HEADER}.{BODY}.c2ln",
    ],
    ids=range(22),
)
def test_other_tokens(token):
    """A token that is not a JSON Web Token with an algorithm has no claims."""
    assert jwt_claims(token) == {}
