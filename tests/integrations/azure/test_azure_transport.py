"""Blocking Azure clients that renew refused tokens, against a real API."""

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline import Pipeline
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.pipeline.transport import HttpRequest as LegacyRequest
from azure.core.rest import HttpRequest
from integrations.azure.pipelines import SCOPE, client_of, send

from tokenkeeper import KeeperClosedError
from tokenkeeper.integrations.azure import KeeperCredential
from tokenkeeper.integrations.azure_transport import RenewingTransport


def test_a_revoked_token(api, provider, client):
    """A 401 renews once and sends the request again; later requests have the new token."""
    send(client, api.url)
    api.valid.clear()
    answer = send(client, api.url + "/x", "POST", json={"a": "b"})
    assert answer.json() == {"path": "/x", "token": "token-2", "body": '{"a": "b"}'}
    assert send(client, api.url).json()["token"] == "token-2"
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    assert provider.minted == 2


def test_a_second_refusal(api, provider, client):
    """A second refusal is the caller's."""
    provider.good = False
    assert send(client, api.url).status_code == 401
    assert api.tokens == ["token-1", "token-2"]


def test_what_the_keeper_does_counts_at_once(keeper, provider, api, client):
    """A client keeps no token of its own: the next request has what the keeper has."""
    send(client, api.url)
    keeper.get_token("api", force_refresh=True)
    assert send(client, api.url).json()["token"] == "token-2"


def test_a_token_revoked_in_the_middle(api, provider, client, crowd):
    """While 200 callers are at it the token is revoked: each goes on, with one renewal for all."""
    send(client, api.url)
    api.revoke_at = 300
    answers = crowd(200, lambda: [send(client, api.url).json()["token"] for _ in range(3)])
    assert {token for tokens in answers for token in tokens} == {"token-1", "token-2"}
    assert provider.minted == 2


def test_a_crowd_that_is_refused(api, provider, client, crowd):
    """Of 200 calls at once, all refused, each succeeds, with one renewal for all."""
    send(client, api.url)
    api.valid.clear()
    assert set(crowd(200, lambda: send(client, api.url).json()["token"])) == {"token-2"}
    assert provider.minted == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_of_the_older_kind(api, keeper, stream):
    """Clients that were generated long ago are served as well."""
    policy = BearerTokenCredentialPolicy(KeeperCredential(keeper, "api"), SCOPE)
    with Pipeline(RenewingTransport(keeper, "api"), [policy]) as pipeline:

        def call():
            return pipeline.run(
                LegacyRequest("POST", api.url, data=b"x"), enforce_https=False, stream=stream
            ).http_response

        call().internal_response.close()
        api.valid.clear()
        answer = call()
        assert answer.status_code == 200
        answer.internal_response.close()
    assert api.tokens == ["token-1", "token-1", "token-2"]


def test_hosts_that_are_not_allowed(api, elsewhere, keeper):
    """A token does not follow a redirect, or a call, to a host that it is not for."""
    other = elsewhere.url.replace("127.0.0.1", "localhost")
    with client_of(keeper, api, allowed_hosts=[api.place]) as client:
        assert send(client, api.url).status_code == 200
        with pytest.raises(ClientAuthenticationError, match="must not be sent to 'localhost:"):
            send(client, api.url + "/to/" + other)
        with pytest.raises(ClientAuthenticationError, match="must not be sent to 'localhost:"):
            send(client, other)
    assert elsewhere.seen == []


class Fixed:
    """A credential with one token."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *scopes, **options):
        return AccessToken(self.token, 2**40)


def test_no_new_token(api, keeper):
    """Where nothing can be had in the place of a refused token, the error says why."""
    policy = BearerTokenCredentialPolicy(Fixed("old"), SCOPE)
    with Pipeline(RenewingTransport(keeper, "api"), [policy]) as pipeline:
        keeper.close()
        with pytest.raises(ClientAuthenticationError, match="closed") as raised:
            pipeline.run(HttpRequest("GET", api.url), enforce_https=False)
    assert isinstance(raised.value.__cause__, KeeperClosedError)
    assert raised.value.status_code == 401


def test_a_request_without_a_token(api, keeper):
    """A 401 to a request that showed no token renews nothing."""
    with RenewingTransport(keeper, "api") as transport:
        assert transport.send(HttpRequest("GET", api.url)).status_code == 401
        transport.sleep(0)
    assert api.tokens == [None]
