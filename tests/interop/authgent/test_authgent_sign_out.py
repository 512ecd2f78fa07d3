"""Revocation and introspection at authgent-server, whose access tokens are JWTs."""

import pytest

from tokenkeeper import GenericOAuth2Provider, TokenKeeper

POST = {"token_endpoint_auth_method": "client_secret_post"}


@pytest.fixture
def keeper(server):
    """Return a keeper with one client."""
    endpoints = {
        "revocation_endpoint": f"{server.issuer}/revoke",
        "introspection_endpoint": f"{server.issuer}/introspect",
    }
    with TokenKeeper() as keeper:
        config = server.register("api", scope="read", endpoints=endpoints)
        keeper.add_provider(GenericOAuth2Provider(config, **POST))
        keeper.client_id = config.client_id
        yield keeper


def test_introspection(server, keeper):
    """What the server says of a token fits the registration."""
    token = keeper.get_token("api")
    found = keeper.introspect("api")
    assert found["active"] is True
    assert (found["client_id"], found["scope"]) == (keeper.client_id, "read")
    assert token not in str(found)


def test_revocation(server, keeper):
    """The server calls a token inactive once it was revoked, and the next one active."""
    before = keeper.get_token("api")
    answers = []

    def ask(token):
        fields = {"token": token}
        answer = server.http.request_encode_body(
            "POST", f"{server.issuer}/introspect", fields, encode_multipart=False
        )
        answers.append(answer.json()["active"])

    ask(before)
    assert keeper.revoke("api").token == "access_token"
    ask(before)
    assert keeper.introspect("api")["active"] is True
    assert keeper.get_token("api") != before
    assert answers == [True, False]
