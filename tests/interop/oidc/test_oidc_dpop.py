"""Tokens that are bound to a key, at oidc-provider, whose userinfo endpoint is the API."""

import itertools
import threading

import pytest
import requests
from kit.crowds import at_once
from kit.processes import Child

from tokenkeeper import GenericOAuth2Provider, TokenAcquisitionError, TokenKeeper
from tokenkeeper.oauth.dpop import DPoPKey

PUBLIC = {"token_endpoint_auth_method": "none"}

CLIENTS = (f"dpop-{number}" for number in itertools.count())


@pytest.fixture(params=[False, True], ids=["without nonces", "with nonces"])
def nonces(oidc, request):
    """Have the server demand nonces in proofs, and then not."""
    oidc.require_nonces(request.param)
    yield request.param
    oidc.require_nonces(False)


@pytest.fixture
def sign_in(oidc):
    """Return a function that makes a provider with the refresh token of a person."""

    def sign_in(key=None, **client):
        key, client_id = key or DPoPKey(), next(CLIENTS)
        oidc.add_client(
            client_id,
            grant_types=["refresh_token", "authorization_code"],
            response_types=["code"],
            redirect_uris=["https://app.example.com/callback"],
            scope="openid offline_access",
            dpop_bound_access_tokens=True,
            **client,
        )
        is_public = "token_endpoint_auth_method" in client
        first = oidc.sign_in(client_id, key=key.thumbprint if is_public else None)
        config = oidc.config(
            "api", client_id, scope=None, additional_params={"refresh_token": first}
        )
        return GenericOAuth2Provider(config, grant_type="refresh_token", dpop=key, **client)

    return sign_in


def another(provider):
    """Return a provider of the same client, as another process has it, with a key of its own."""
    public = provider.describe()["token_endpoint_auth_method"] == "none"
    options = PUBLIC if public else {}
    return GenericOAuth2Provider(provider._config, grant_type="refresh_token", dpop=True, **options)


def userinfo(oidc, keeper, auth=None):
    return requests.get(oidc.issuer + "/me", auth=auth or keeper.auth("api"), timeout=30)


def test_a_bound_token_at_both_ends(oidc, sign_in, nonces):
    """A token is bound to the key, renewed with it, and accepted by the API, nonces or not."""
    provider = sign_in()
    with TokenKeeper() as keeper:
        keeper.add_provider(provider)
        responses = [userinfo(oidc, keeper) for _ in range(3)]
        assert [each.status_code for each in responses] == [200, 200, 200]
        assert responses[0].json() == {"sub": "somebody"}
        assert [len(each.history) for each in responses] == [int(nonces), 0, 0]
        keeper.get_token("api", force_refresh=True)
        assert userinfo(oidc, keeper).status_code == 200
        assert keeper.get_oauth2_token("api").token_type == "DPoP"
        stats = oidc.stats(provider.describe()["client_id"])
    assert stats["grants"] == 2
    assert stats["token_requests"] == 2 + nonces
    assert stats["families_revoked"] == 0


def test_client_credentials(oidc, nonces):
    """A client's own token is bound as well, and each variant of it to the same key."""
    client_id = next(CLIENTS)
    oidc.add_client(client_id, dpop_bound_access_tokens=True)
    with TokenKeeper() as keeper:
        keeper.add_provider(GenericOAuth2Provider(oidc.config("api", client_id), dpop=True))
        keys = {
            keeper.source("api", scope=scope).token().dpop_key for scope in ("read", "write", None)
        }
    assert len(keys) == 1


def test_a_missing_key_is_refused(oidc):
    """A client whose tokens must be bound gets none without a proof, after one request."""
    client_id = next(CLIENTS)
    oidc.add_client(client_id, dpop_bound_access_tokens=True)
    with TokenKeeper() as keeper:
        keeper.add_provider(GenericOAuth2Provider(oidc.config("api", client_id)))
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
    assert oidc.stats(client_id)["token_requests"] == 1


def test_crowds(oidc, sign_in, nonces):
    """Many threads share one key: each request has a proof that no other one has."""
    with TokenKeeper() as keeper:
        keeper.add_provider(sign_in())
        statuses = []

        def call():
            statuses.extend(userinfo(oidc, keeper).status_code for _ in range(10))

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200] * 80


def test_nonces_that_come_and_go_under_load(oidc, sign_in):
    """The server begins and ceases to demand nonces, at both ends, and no caller notices."""
    provider = sign_in()
    renewals, tokens = 6, []
    ended = threading.Event()
    with TokenKeeper() as keeper:
        keeper.add_provider(provider)

        def call():
            statuses = []
            while not ended.is_set():
                statuses.append(userinfo(oidc, keeper).status_code)
            return set(statuses)

        def renew():
            try:
                for number in range(renewals):
                    oidc.require_nonces(number % 2 == 0)
                    tokens.append(keeper.get_token("api", force_refresh=True))
                    assert userinfo(oidc, keeper).status_code == 200
            finally:
                ended.set()
                oidc.require_nonces(False)

        assert at_once(*[call] * 8, renew) == [{200}] * 8 + [None]
    assert len(set(tokens)) == renewals
    stats = oidc.stats(provider.describe()["client_id"])
    assert stats["families_revoked"] == 0
    assert stats["grants"] in (renewals, renewals + 1)  # one may have been the callers' first


def test_a_fork(oidc, sign_in, nonces):
    """A forked child calls the API with its parent's token and key."""
    with TokenKeeper() as keeper:
        keeper.add_provider(sign_in())
        assert userinfo(oidc, keeper).status_code == 200
        child = Child(lambda: userinfo(oidc, keeper).status_code)
        assert [child.result(), userinfo(oidc, keeper).status_code] == [200, 200]


@pytest.mark.parametrize("client", [{}, PUBLIC], ids=["with a secret", "public"])
def test_processes_with_a_store(oidc, sign_in, tmp_path, nonces, client):
    """Processes that share a token share its key, and renew it with that key.

    The refresh token of a public client is bound to it as well (RFC 9449 §5).
    """
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    store = f"sqlite:///{folder}/tokens.db"
    key = DPoPKey()
    first = sign_in(key, **client)
    client_id = first.describe()["client_id"]

    def process(provider=None):
        """Take over the token of the process before, use it, and renew it."""
        with TokenKeeper(store=store) as keeper:
            keeper.add_provider(provider or another(first))
            status = userinfo(oidc, keeper).status_code
            keeper.get_token("api", force_refresh=True)
            key = keeper.get_oauth2_token("api").dpop_key
            return [status, userinfo(oidc, keeper).status_code, key.thumbprint]

    results = [Child(lambda: process(first)).result(), *[Child(process).result() for _ in "ab"]]
    assert [each[:2] for each in results] == [[200, 200]] * 3
    assert {thumbprint for *_, thumbprint in results} == {key.thumbprint}
    assert oidc.stats(client_id)["families_revoked"] == 0
    assert oidc.stats(client_id)["grants"] == 4


def test_another_key_is_refused(oidc, sign_in):
    """A refresh token that is bound to one key works with no other, which costs one request."""
    provider = sign_in(**PUBLIC)
    client_id = provider.describe()["client_id"]
    with pytest.raises(TokenAcquisitionError) as raised:
        another(provider).acquire_token()
    assert raised.value.error == "invalid_grant"
    assert oidc.stats(client_id)["token_requests"] == 1
    assert provider.acquire_token().dpop_key is not None
