"""Client credentials at oidc-provider: all kinds of secrets by both methods, and resources."""

import itertools

import pytest

from tokenkeeper import TokenAcquisitionError

METHODS = ["client_secret_basic", "client_secret_post"]
SECRETS = {
    "percent": "50%",
    "percent and digits": "a%41b",
    "colon": "a:b::c",
    "plus": "a+b",
    "slash": "a/b//c=",
    "space": "a b  c",
    "form": "a=b&c=d;e",
    "everything": '%25 + : / %zz&=?#~"\\',
}
INVOICES = "https://invoices.example.com/"

numbers = itertools.count(1)


@pytest.fixture
def client_id():
    """Return a client id that no other test uses."""
    return f"client-{next(numbers)}"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_of_any_kind(server, client_id, make_keeper, make_provider, method, secret):
    """A secret of any characters arrives unchanged by either method."""
    server.add_client(client_id, secret, token_endpoint_auth_method=method)
    keeper = make_keeper(make_provider("api", client_id, token_endpoint_auth_method=method))
    assert server.call(keeper.get_token("api"))[0] == 200
    assert server.stats(client_id)["token_requests"] == 1


@pytest.mark.parametrize("method", METHODS)
def test_an_identifier_of_any_kind(server, client_id, make_keeper, make_provider, method):
    """The identifier is encoded like the secret; a colon in it does not separate the two."""
    client_id = f"urn:{client_id} 1%41+/"
    server.add_client(client_id, "a:b", token_endpoint_auth_method=method)
    keeper = make_keeper(make_provider("api", client_id, token_endpoint_auth_method=method))
    assert server.call(keeper.get_token("api"))[1]["client_id"] == client_id


def test_a_secret_that_is_not_form_encoded(server, client_id, make_keeper, make_provider):
    """The server follows RFC 6749 in HTTP Basic: it reads a raw plus as a space."""
    server.add_client(client_id, "a+b")
    keeper = make_keeper(make_provider("api", client_id, form_encode_credentials=False))
    with pytest.raises(TokenAcquisitionError) as raised:
        keeper.get_token("api")
    assert (raised.value.error, raised.value.status_code) == ("invalid_client", 401)


@pytest.mark.parametrize("method", METHODS)
def test_a_secret_beyond_ascii(server, client_id, make_keeper, make_provider, method):
    """A secret that RFC 6749 appendix A.2 forbids is an error that shows no part of it.

    Authlib's server accepts such secrets; this one rejects them.
    """
    server.add_client(client_id, "gehüt€t 秘密", token_endpoint_auth_method=method)
    keeper = make_keeper(make_provider("api", client_id, token_endpoint_auth_method=method))
    with pytest.raises(TokenAcquisitionError) as raised:
        keeper.get_token("api")
    assert raised.value.status_code == 400
    assert raised.value.error in ("invalid_request", "invalid_client_metadata")
    assert not any(part in str(raised.value) for part in ("geh", "秘密", "%E2%82%AC"))


@pytest.mark.parametrize("used", METHODS)
@pytest.mark.parametrize("registered", METHODS)
def test_the_method_is_the_clients_to_choose(
    server, client_id, make_keeper, make_provider, registered, used
):
    """The server accepts either method from any client with a secret."""
    server.add_client(client_id, token_endpoint_auth_method=registered)
    keeper = make_keeper(make_provider("api", client_id, token_endpoint_auth_method=used))
    assert server.call(keeper.get_token("api"))[0] == 200


@pytest.mark.parametrize(
    ("asked", "granted"),
    [("read", "read"), ("read write", "read write"), (["write", "read"], "write read")],
)
def test_scopes(server, make_keeper, make_provider, asked, granted):
    """The scope in the diagnostics is the one that the server granted."""
    keeper = make_keeper(make_provider(config={"scope": asked}))
    token = keeper.get_token("api")
    assert keeper.get_cached_token_info("api")["scope"] == granted
    assert server.call(token)[1]["scope"] == granted


@pytest.mark.parametrize(
    ("resource", "asked", "granted", "audience"),
    [
        ("urn:orders", "read write", "read write", "urn:orders"),
        (INVOICES, "read write", "read", INVOICES),
        ((INVOICES,), "read", "read", INVOICES),
    ],
)
def test_resource_indicators(
    server, make_keeper, make_provider, resource, asked, granted, audience
):
    """A token for a resource (RFC 8707) is opaque or a JWT, and may have a narrowed scope."""
    config = {"scope": asked, "additional_params": {"resource": resource}}
    keeper = make_keeper(make_provider(config=config))
    token = keeper.get_token("api")
    assert keeper.get_cached_token_info("api")["scope"] == granted
    assert server.call(token)[1] == {"client_id": "worker", "scope": granted, "aud": audience}
    assert (token.count(".") == 2) == (audience == INVOICES)


def test_one_provider_for_each_resource(server, make_keeper, make_provider):
    """Two resources need two providers, and neither gets the other's token."""
    keeper = make_keeper(
        *(
            make_provider(name, config={"additional_params": {"resource": name}})
            for name in ("urn:orders", INVOICES)
        )
    )
    for name in ("urn:orders", INVOICES, "urn:orders"):
        assert server.call(keeper.get_token(name))[1]["aud"] == name


@pytest.mark.parametrize("resource", ["urn:unknown", ("urn:orders", INVOICES)])
def test_resources_that_are_refused(make_keeper, make_provider, resource):
    """An unknown resource, and two at once, are refused with the RFC's error code."""
    keeper = make_keeper(make_provider(config={"additional_params": {"resource": resource}}))
    with pytest.raises(TokenAcquisitionError, match="'api'") as raised:
        keeper.get_token("api")
    assert raised.value.status_code == 400
    assert raised.value.error in ("invalid_target", "invalid_request")
    assert raised.value.attempts == 1
