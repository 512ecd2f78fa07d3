"""Client credentials at Authlib's server: all kinds of secrets by both methods, and scopes."""

import pytest
from kit.servers.authlib_on_flask import AuthlibOnFlask

from tokenkeeper import TokenAcquisitionError

METHODS = ["client_secret_basic", "client_secret_post"]

SECRETS = {
    "plain": "worker-secret",
    "percent": "50%",
    "percent and digits": "a%41b",
    "colon": "a:b::c",
    "plus": "a+b",
    "slash": "a/b//c=",
    "space": "a b  c",
    "form": "a=b&c=d;e",
    "non-ASCII": "gehüt€t 秘密 🔑",
    "everything": "%25 + : / ä%zz&=?#é",
}


@pytest.fixture(scope="module")
def server():
    """Return one server for all tests, which leave nothing behind in it."""
    with AuthlibOnFlask() as server:
        yield server


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_of_any_kind(server, make_keeper, make_provider, method, secret):
    """A secret of any characters arrives unchanged by either method."""
    server.add_client("client", secret, token_endpoint_auth_method=method)
    provider = make_provider("api", "client", token_endpoint_auth_method=method)
    asked_before = server.stats("client")["token_requests"]
    assert server.call(make_keeper(provider).get_token("api"))[0] == 200
    assert server.stats("client")["token_requests"] == asked_before + 1


@pytest.mark.parametrize("method", METHODS)
def test_an_identifier_of_any_kind(server, make_keeper, make_provider, method):
    """The identifier is encoded like the secret; a colon in it does not separate the two."""
    server.add_client("urn:cliént 1%41+/", "a:b", token_endpoint_auth_method=method)
    provider = make_provider("api", "urn:cliént 1%41+/", token_endpoint_auth_method=method)
    token = make_keeper(provider).get_token("api")
    assert server.call(token)[1]["client_id"] == "urn:cliént 1%41+/"


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_that_is_not_form_encoded(server, make_keeper, make_provider, secret):
    """Authlib decodes the parts of HTTP Basic; raw parts work unless they contain a %XX."""
    server.add_client("client", secret)
    keeper = make_keeper(make_provider("api", "client", form_encode_credentials=False))
    if secret in (SECRETS["percent and digits"], SECRETS["everything"]):
        with pytest.raises(TokenAcquisitionError) as raised:
            keeper.get_token("api")
        assert (raised.value.error, raised.value.status_code) == ("invalid_client", 401)
        assert secret not in str(raised.value)
    else:
        assert server.call(keeper.get_token("api"))[0] == 200


@pytest.mark.parametrize("method", METHODS)
def test_the_method_that_the_client_is_not_registered_for(
    server, make_keeper, make_provider, method
):
    """A correct secret by the wrong method is refused, and the error names the provider."""
    server.add_client("client", token_endpoint_auth_method=method)
    (other,) = set(METHODS) - {method}
    keeper = make_keeper(make_provider("api", "client", token_endpoint_auth_method=other))
    with pytest.raises(TokenAcquisitionError, match="'api'") as raised:
        keeper.get_token("api")
    assert raised.value.error == "invalid_client"
    assert raised.value.attempts == 1


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("read", "read"),
        ("read write", "read write"),
        (["write", "read"], "write read"),
        ("read delete", "read"),
        ("delete write read", "write read"),
        (None, "read write"),
    ],
)
def test_scopes(server, make_keeper, make_provider, asked, granted):
    """The scope in the diagnostics is the granted one, not the requested one."""
    keeper = make_keeper(make_provider(config={"scope": asked}))
    token = keeper.get_token("api")
    assert keeper.get_cached_token_info("api")["scope"] == granted
    assert server.call(token)[1]["scope"] == granted


def test_a_renewal_narrows_the_scope(server, make_keeper, make_provider):
    """A renewal with a narrower scope changes the scope in the diagnostics."""
    server.add_client("client", scope="read write")
    keeper = make_keeper(make_provider("api", "client", config={"scope": "read write"}))
    keeper.get_token("api")
    assert keeper.get_cached_token_info("api")["scope"] == "read write"
    server.add_client("client", scope="write")
    token = keeper.get_token("api", force_refresh=True)
    assert keeper.get_cached_token_info("api")["scope"] == "write"
    assert server.call(token)[1]["scope"] == "write"


def test_parameters_that_the_server_does_not_know(server, make_keeper, make_provider):
    """Unknown additional parameters don't prevent the grant."""
    parameters = {"audience": "https://api.example.com/ä?x=1&y=2", "resource": ["urn:a", "urn:b"]}
    keeper = make_keeper(make_provider(config={"additional_params": parameters}))
    assert server.call(keeper.get_token("api"))[0] == 200
