"""The grants and refusals of the loopback authorization server, without a socket."""

import base64
import json
from email.message import Message
from urllib.parse import quote, urlencode

import pytest

from tokenkeeper.testing import SteppedClock
from tokenkeeper.testing.endpoints import Endpoints, Request
from tokenkeeper.testing.faults import Faults

ISSUER = "http://127.0.0.1:1"
GRANT = {"grant_type": "client_credentials"}


class Client:
    """Sends requests to endpoints, by default authenticated by client_secret_basic."""

    def __init__(self, **options):
        self.clock = SteppedClock()
        options = {"refresh_tokens": False, "faults": Faults(), **options}
        self.endpoints = Endpoints(self.clock, 60, **options)
        self.endpoints.grants.register("id", "secret", ["read", "write"])

    def send(self, method, target, headers, body=b""):
        message = Message()
        for name, value in headers.items():
            message[name] = value
        return self.endpoints.answer(Request(method, target, message, body), ISSUER)

    def post(self, form, target="/token", basic=("id", "secret"), **headers):
        headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        if basic:
            pair = ":".join(quote(part, safe="") for part in basic)
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        return self.send("POST", target, headers, urlencode(form).encode())

    def grant(self, **form):
        answer = self.post({**GRANT, **form})
        assert answer.status == 200
        return answer.body

    def api(self, token):
        return self.send("GET", "/api/x", {"Authorization": f"Bearer {token}"})


@pytest.fixture
def client():
    """Return a client of new endpoints."""
    return Client()


def test_client_credentials(client):
    """A known client gets a token for all its scopes, which must not be stored."""
    answer = client.post(GRANT)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.body["token_type"] == "Bearer"
    assert json.dumps(answer.body["expires_in"]) == "60"
    assert answer.body["scope"] == "read write"
    assert "refresh_token" not in answer.body


def test_client_secret_post(client):
    """The secret may be sent in the body as well."""
    form = {**GRANT, "client_id": "id", "client_secret": "secret"}
    assert client.post(form, basic=None).status == 200


def test_basic_is_form_decoded(client):
    """Id and secret of HTTP Basic are form-decoded (RFC 6749 §2.3.1)."""
    client.endpoints.grants.register("id: 1%", "sécret +&", [])
    assert client.post(GRANT, basic=("id: 1%", "sécret +&")).body.get("scope") is None


def test_a_scope_may_be_narrowed(client):
    """The requested scope is granted if the client may have it."""
    assert client.grant(scope="write")["scope"] == "write"


@pytest.mark.parametrize(
    ("form", "options", "status", "error"),
    [
        ({}, {}, 400, "invalid_request"),
        ({"grant_type": "password"}, {}, 400, "unsupported_grant_type"),
        ({"grant_type": "refresh_token"}, {}, 400, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, {}, 400, "invalid_grant"),
        ({**GRANT, "scope": "read admin"}, {}, 400, "invalid_scope"),
        ({**GRANT, "client_secret": "secret"}, {}, 400, "invalid_request"),
        ([*GRANT.items(), *GRANT.items()], {}, 400, "invalid_request"),
        (GRANT, {"Content-Type": "application/json"}, 400, "invalid_request"),
        (GRANT, {"basic": ("id", "wrong")}, 401, "invalid_client"),
        (GRANT, {"basic": ("nobody", "secret")}, 401, "invalid_client"),
        (GRANT, {"basic": None}, 401, "invalid_client"),
        (GRANT, {"basic": None, "Authorization": "Basic %%%"}, 401, "invalid_client"),
        (GRANT, {"basic": None, "Authorization": "Bearer aTpz"}, 401, "invalid_client"),
    ],
)
def test_what_is_refused(client, form, options, status, error):
    """Each mistake gets the error code of RFC 6749 §5.2."""
    answer = client.post(form, **options)
    assert (answer.status, answer.body["error"]) == (status, error)
    assert ("WWW-Authenticate" in answer.headers) == (status == 401 and options != {"basic": None})
    assert client.endpoints.recorder.snapshot().tokens_granted == 0


def test_resource_may_be_repeated(client):
    """Only the parameter resource may be repeated (RFC 8707 §2)."""
    assert client.post([*GRANT.items(), ("resource", "a"), ("resource", "b")]).status == 200


def test_refresh_tokens_rotate():
    """A refresh token is exchanged for an access token and the next refresh token."""
    client = Client(refresh_tokens=True)
    first = client.grant(scope="read")
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = client.post(form).body
    assert second["refresh_token"] != first["refresh_token"]
    assert second["scope"] == "read"
    assert client.api(first["access_token"]).status == 200
    assert client.endpoints.recorder.snapshot().token_requests_by_grant == {
        "client_credentials": 1,
        "refresh_token": 1,
    }


def test_reuse_of_a_refresh_token_kills_the_family():
    """The second use of a refresh token revokes all tokens of its grant, and no others."""
    client = Client(refresh_tokens=True)
    other, first = client.grant(), client.grant()
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = client.post(form).body
    assert client.post(form).body["error"] == "invalid_grant"
    assert client.api(second["access_token"]).status == 401
    next_form = {"grant_type": "refresh_token", "refresh_token": second["refresh_token"]}
    assert client.post(next_form).body["error"] == "invalid_grant"
    assert client.api(other["access_token"]).status == 200


def test_a_refresh_token_can_be_narrowed_but_not_widened():
    """A refresh may narrow the scope but not widen it, and a refused one doesn't use the token."""
    client = Client(refresh_tokens=True)
    form = {"grant_type": "refresh_token", "refresh_token": client.grant()["refresh_token"]}
    assert client.post({**form, "scope": "admin"}).body["error"] == "invalid_scope"
    narrowed = client.post({**form, "scope": "write"}).body
    assert narrowed["scope"] == "write"
    form["refresh_token"] = narrowed["refresh_token"]
    assert client.post(form).body["scope"] == "read write"


def test_a_refresh_token_belongs_to_its_client():
    """Another client can't use a refresh token."""
    client = Client(refresh_tokens=True)
    client.endpoints.grants.register("other", "secret", ["read"])
    form = {"grant_type": "refresh_token", "refresh_token": client.grant()["refresh_token"]}
    assert client.post(form, basic=("other", "secret")).body["error"] == "invalid_grant"


def test_the_api_wants_a_token_that_lives(client):
    """A token is valid to the last tick before its expiry, whatever the wall clock does."""
    token = client.grant()["access_token"]
    client.clock.step_wall(3600)
    client.clock.step(59.999)
    assert client.api(token).body == {"path": "/api/x"}
    client.clock.step(0.001)
    answer = client.api(token)
    assert answer.status == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert "expired" in answer.body["error_description"]


def test_the_api_counts_by_reason(client):
    """The statistics count why calls were refused, and expired or revoked tokens."""
    granted = client.endpoints.grants
    first, second = client.grant()["access_token"], client.grant()["access_token"]
    assert granted.revoke(first)
    assert not granted.revoke("nonsense")
    client.api(first)
    client.api(second)
    granted.revoke_all()
    client.api(second)
    client.api("nonsense")
    challenge = client.send("GET", "/api/x", {}).headers["WWW-Authenticate"]
    assert "error" not in challenge  # RFC 6750 §3.1: none if no token was sent
    client.clock.step(61)
    stats = client.endpoints.recorder.snapshot()
    assert stats.api_accepted == 1
    assert stats.api_refused == {"revoked": 2, "unknown": 1, "missing": 1}
    assert (stats.api_refusals, stats.api_dead) == (4, 2)


def test_revoking_by_refresh_token():
    """Revoking a refresh token revokes its access token."""
    client = Client(refresh_tokens=True)
    granted = client.grant()
    assert client.endpoints.grants.revoke(granted["refresh_token"])
    assert client.api(granted["access_token"]).status == 401


def test_introspection(client):
    """A client can introspect a token (RFC 7662), and no unauthenticated caller can."""
    token = client.grant(scope="read")["access_token"]
    answer = client.post({"token": token}, "/introspect").body
    assert answer["active"] is True
    assert answer["client_id"] == "id"
    assert answer["scope"] == "read"
    assert answer["exp"] == int(client.clock.time()) + 60
    client.clock.step(60)
    assert client.post({"token": token}, "/introspect").body == {"active": False}
    assert client.post({"token": token}, "/introspect", basic=None).status == 401


def test_revocation_endpoint(client):
    """A client can revoke its own tokens (RFC 7009), and no unauthenticated caller can."""
    token = client.grant()["access_token"]
    assert client.post({"token": token}, "/revoke", basic=None).status == 401
    client.endpoints.grants.register("other", "secret-of-the-other", ["read"])
    other = ("other", "secret-of-the-other")
    assert client.post({"token": token}, "/revoke", basic=other).status == 200
    assert client.api(token).status == 200
    assert client.post({"token": token}, "/revoke").status == 200
    assert client.api(token).status == 401
    assert client.post({"token": "unknown"}, "/revoke").status == 200


def test_metadata(client):
    """The metadata document (RFC 8414) names the endpoints under the issuer."""
    document = client.send("GET", "/.well-known/oauth-authorization-server", {}).body
    assert document["issuer"] == ISSUER
    assert document["token_endpoint"] == ISSUER + "/token"
    assert document["scopes_supported"] == ["read", "write"]
    assert "client_credentials" in document["grant_types_supported"]


def test_other_places(client):
    """An unknown path is 404, and a wrong method is 405."""
    assert client.send("GET", "/nowhere", {}).status == 404
    answer = client.send("GET", "/token", {})
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
