"""One introspection request (RFC 7662, RFC 9701): what is sent, and what each answer means."""

import json

import jwt
import pytest
from kit.oauth_client import oauth_client
from kit.signing_keys import private_key

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.oauth.client import OAuthClient
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.introspection import introspect_token
from tokenkeeper.oauth.server import ConfiguredServer
from tokenkeeper.testing import SteppedClock

TOKEN = "access-token-which-is-never-shown"
ISSUER = "https://id.example.com"
INTROSPECT, KEYS = f"{ISSUER}/introspect", f"{ISSUER}/keys"
SIGNED = "application/token-introspection+jwt"
CONFIG = OAuth2Config(
    "api", "me", "hunter2", f"{ISSUER}/token", endpoints={"introspection_endpoint": INTROSPECT}
)
METADATA = {"introspection_signing_alg_values_supported": ("RS256",), "jwks_uri": KEYS}
KEY, OTHER = private_key("RSA"), private_key("RSA", 1)


class Wire:
    """A transport that notes requests, and answers each URL."""

    def __init__(self, answer, keys=None):
        self.answers = {INTROSPECT: answer, KEYS: keys}
        self.calls = []

    def request(self, method, url, **options):
        self.calls.append((method, url, options))
        return self.answers[url]


class Server(ConfiguredServer):
    """A server with metadata."""

    def __init__(self, metadata, issuer=ISSUER):
        super().__init__(CONFIG)
        self.found, self.its_issuer = metadata, issuer

    def issuer(self):
        return self.its_issuer

    def metadata(self):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def endpoint(self, name, *, with_certificate=False):
        return KEYS if name == "jwks_uri" else super().endpoint(name)


def answer(body, status=200, content_type="application/json", **headers):
    body = body if isinstance(body, str) else json.dumps(body)
    return HttpAnswer(status, {"content-type": content_type, **headers}, body.encode())


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def ask(clock):
    """Return a function that asks about a token, and returns the answer and the wire."""

    def ask(reply, *, keys=None, metadata=METADATA, issuer=ISSUER):
        wire = Wire(reply, keys)
        client = oauth_client(CONFIG, wire, server=Server(metadata, issuer))
        client = OAuthClient(
            CONFIG, client.server, client.auth, client.transport, clock, client.style
        )
        ask.wire = wire
        return introspect_token(client, TOKEN)

    return ask


@pytest.fixture
def refused(ask):
    """Return a function that asks, expects a failure, and returns its message."""

    def refused(*arguments, **options):
        with pytest.raises(TokenAcquisitionError) as caught:
            ask(*arguments, **options)
        said = str(caught.value)
        assert said.startswith("provider 'api': introspection failed")
        assert TOKEN not in said
        refused.error = caught.value
        return said

    return refused


# ---- JSON


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"jwks_uri": KEYS}, {**METADATA, "jwks_uri": 5}, TokenAcquisitionError("none")],
    ids=["no metadata", "nothing", "no algorithms", "no keys", "it can't be had"],
)
def test_what_is_sent(ask, metadata):
    """Where no signature could be verified, plain JSON is asked for."""
    assert ask(answer({"active": True, "scope": "read"}), metadata=metadata) == {
        "active": True,
        "scope": "read",
    }
    ((method, url, options),) = ask.wire.calls
    assert (method, url) == ("POST", INTROSPECT)
    assert options["headers"] == {"Accept": "application/json"}
    assert options["data"] == {
        "token": TOKEN,
        "token_type_hint": "access_token",
        "client_id": "me",
        "client_secret": "hunter2",
    }


def test_json_in_place_of_a_signature(ask):
    """A server that signs for some clients may answer others in JSON."""
    assert ask(answer({"active": False})) == {"active": False}
    ((_, _, options),) = ask.wire.calls
    assert options["headers"] == {"Accept": f"{SIGNED}, application/json;q=0.9"}


ACTIVE = {
    "true": (True, True),
    "false": (False, False),
    "a text, true": ("true", True),
    "a text, false": ("false", False),
}


@pytest.mark.parametrize(("sent", "expected"), ACTIVE.values(), ids=ACTIVE)
def test_active_is_a_bool(ask, sent, expected):
    """Whatever spelling a server uses, callers get a bool."""
    assert ask(answer({"active": sent}))["active"] is expected


UNUSABLE = {
    "no active": ({"scope": "read"}, "has no active, and not true or false"),
    "a number": ({"active": 1}, "has an active of type int"),
    "an array": ([True], "is a JSON array, not an object"),
    "words": ("yes", "the response is"),
    "a web page": ("<html></html>", "Check that the URL is an introspection endpoint"),
    "an error": ({"error": "server_error"}, "server_error"),
}


@pytest.mark.parametrize(("body", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_answers(refused, body, words):
    """An answer without a clear yes or no is an error, not a no."""
    assert words in refused(answer(body))


def test_refused(refused):
    """A refusal has the server's words, and says whether to ask again."""
    said = refused(answer({"error": "unsupported_token_type"}, 400))
    assert "unsupported_token_type" in said
    assert not refused.error.transient
    refused(answer("", 503, **{"retry-after": "9"}))
    assert (refused.error.transient, refused.error.retry_after) == (True, 9.0)


def test_the_token_is_in_no_answer(ask):
    """A server that repeats the token does not bring it to the caller."""
    found = ask(answer({"active": True, "token": TOKEN, "x": [{TOKEN: f"Bearer {TOKEN}"}, 1]}))
    assert TOKEN not in json.dumps(found)
    assert found["active"] is True


# ---- signed


def claims(clock, **changed):
    given = {
        "iss": ISSUER,
        "aud": "me",
        "iat": int(clock.time()),
        "token_introspection": {"active": True, "sub": "ada", "jti": 5},
    }
    return {name: value for name, value in {**given, **changed}.items() if value is not None}


def sign(content, key=KEY, alg="RS256", **headers):
    headers = {"typ": "token-introspection+jwt", "kid": "k1", **headers}
    return jwt.encode(content, key, alg, headers)


def b64_json(content):
    return jwt.utils.base64url_encode(json.dumps(content).encode()).decode()


def keys(*jwks, status=200):
    return answer({"keys": list(jwks)}, status)


@pytest.fixture
def public_key():
    """Return the public half of the server's key, as it publishes it."""
    found = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    return {**found, "kid": "k1", "use": "sig"}


ACCEPTED = {
    "as it is": ({}, {}),
    "several audiences": ({"aud": ["other", "me"]}, {}),
    "a full media type": ({}, {"typ": f"{SIGNED}"}),
    "another case": ({}, {"typ": "Token-Introspection+JWT"}),
    "a sub that is not a string": ({"sub": 5}, {}),
}


@pytest.mark.parametrize(("changed", "headers"), ACCEPTED.values(), ids=ACCEPTED)
def test_signed(ask, clock, public_key, changed, headers):
    """A signed answer is verified with the server's keys, which are requested without a secret."""
    reply = answer(
        sign(claims(clock, **changed), **headers), content_type=f"{SIGNED}; charset=utf-8"
    )
    assert ask(reply, keys=keys(public_key)) == {"active": True, "sub": "ada", "jti": 5}
    method, url, options = ask.wire.calls[1]
    assert (method, url) == ("GET", KEYS)
    assert set(options) == {"provider_name", "headers"}


def test_the_key_is_found_among_others(ask, clock, public_key):
    """Keys for encryption, of other kinds, with other names and broken ones are left out."""
    others = [
        {**public_key, "use": "enc"},
        {**public_key, "kid": "k0"},
        {"kty": "EC", "kid": "k1"},
        json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER.public_key())) | {"kid": "k1"},
        "text",
    ]
    reply = answer(sign(claims(clock)), content_type=SIGNED)
    assert ask(reply, keys=keys(*others, public_key))["active"] is True


def test_the_key_is_found_among_other_curves(ask, clock):
    """A key on another curve, which PyJWT refuses only when it verifies, hides no later one."""
    p256, p384 = private_key("P-256"), private_key("P-384")
    published = [
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(k.public_key())) for k in (p384, p256)
    ]
    reply = answer(sign(claims(clock), p256, "ES256"), content_type=SIGNED)
    assert ask(reply, keys=keys(*published))["active"] is True


def test_values_of_any_size(ask, refused, clock, public_key):
    """Numbers and nesting that Python has limits for cause no error but the usual ones."""
    nested = json.loads("[" * 300 + "]" * 300)
    content = {"active": True, "sub": nested, "jti": 10**400}
    reply = answer(sign(claims(clock, token_introspection=content)), content_type=SIGNED)
    assert ask(reply, keys=keys(public_key))["active"] is True
    reply = answer(sign(claims(clock, iat=10**400)), content_type=SIGNED)
    assert "was signed in the future" in refused(reply, keys=keys(public_key))
    headers = {"typ": "token-introspection+jwt"}
    text = jwt.api_jws.encode(b'{"iat": %b' % (b"[" * 100_000), KEY, "RS256", headers)
    assert "is signed, and can't be used" in refused(
        answer(text, content_type=SIGNED), keys=keys(public_key)
    )


def test_without_a_key_id(ask, clock, public_key):
    """An answer that names no key is tried with each."""
    del public_key["kid"]
    text = jwt.encode(claims(clock), KEY, "RS256", {"typ": "token-introspection+jwt"})
    assert ask(answer(text, content_type=SIGNED), keys=keys(public_key))["active"] is True


UNTRUSTED = {
    "another issuer": ({"iss": "https://evil.example"}, {}, "for another issuer"),
    "no issuer": ({"iss": None}, {}, "MissingRequiredClaimError"),
    "another client": ({"aud": "you"}, {}, "for another client"),
    "no audience": ({"aud": None}, {}, "MissingRequiredClaimError"),
    "no time": ({"iat": None}, {}, "MissingRequiredClaimError"),
    "a time that is not a number": ({"iat": "now"}, {}, "iat is not a number"),
    "expired": ({"exp": 1}, {}, "ExpiredSignatureError"),
    "no content": ({"token_introspection": None}, {}, "no object token_introspection"),
    "content of another kind": ({"token_introspection": [1]}, {}, "no object"),
    "an ID token": ({}, {"typ": "JWT"}, "another typ"),
    "another key": ({}, {"kid": "k2"}, "not signed with one of the server's keys"),
}


@pytest.mark.parametrize(("changed", "headers", "words"), UNTRUSTED.values(), ids=UNTRUSTED)
def test_signed_for_something_else(refused, clock, public_key, changed, headers, words):
    """A JWT of the server that is not the answer to this question is refused, and not shown."""
    reply = answer(sign(claims(clock, **changed), **headers), content_type=SIGNED)
    said = refused(reply, keys=keys(public_key))
    assert words in said
    assert "ada" not in said
    assert not refused.error.transient


@pytest.mark.parametrize(
    ("seconds", "words"), [(-301, "too long ago"), (301, "in the future")], ids=["old", "early"]
)
def test_signed_at_another_time(refused, ask, clock, public_key, seconds, words):
    """An answer that was signed minutes ago is an earlier one, repeated."""
    content = claims(clock, iat=int(clock.time()) + seconds)
    assert words in refused(answer(sign(content), content_type=SIGNED), keys=keys(public_key))
    content["iat"] = int(clock.time()) + (300 if seconds > 0 else -299)
    reply = answer(sign(content), content_type=SIGNED)
    assert ask(reply, keys=keys(public_key))["active"] is True


def test_not_signed(refused, clock, public_key):
    """An answer without a signature, or with one that the client could have made, is refused."""
    secret = b"a secret of the client, which is long enough"
    for text, shown in (
        (sign(claims(clock), None, "none"), "'none'"),
        (sign(claims(clock), secret, "HS256"), "'HS256'"),
        (sign(claims(clock)).replace(".", "x.", 1), "is not a JWT"),
        ("no.dots", "is not a JWT"),
        (f"{b64_json({'typ': 'token-introspection+jwt', 'alg': ['RS256']})}.e30.eA", "has the alg"),
        (f"{b64_json({'x': '['})[:-4]}{'W1tb' * 100_000}.e30.eA", "is not a JWT"),
        ("a.b.c.d.e", "is encrypted"),
    ):
        said = refused(answer(text, content_type=SIGNED), keys=keys(public_key))
        assert shown in said


def test_a_signature_of_another_key(refused, clock, public_key):
    """A signature by a key that the server does not publish is refused."""
    reply = answer(sign(claims(clock), OTHER), content_type=SIGNED)
    assert "not signed with one of the server's keys" in refused(reply, keys=keys(public_key))


def test_keys_that_are_not_known(refused, clock):
    """Without an issuer there are no keys, and the message says what to set."""
    reply = answer(sign(claims(clock)), content_type=SIGNED)
    assert "Set issuer in place of token_url" in refused(reply, metadata=None, issuer=None)


NO_KEYS = {
    "503": (answer("", 503), True, "answered HTTP 503"),
    "404": (answer("", 404), False, "answered HTTP 404"),
    "no JSON": (answer("hello"), False, "has no list of keys"),
    "no list": (answer({"keys": {}}), False, "has no list of keys"),
}


@pytest.mark.parametrize(("found", "transient", "words"), NO_KEYS.values(), ids=NO_KEYS)
def test_keys_that_can_not_be_had(refused, clock, found, transient, words):
    """If the keys can't be had, nothing is believed, and the message says whether to ask again."""
    reply = answer(sign(claims(clock)), content_type=SIGNED)
    assert words in refused(reply, keys=found)
    assert refused.error.transient is transient
