"""Refusals of oidc-provider: the right error, one request for many callers, no secret shown."""

import pickle
import traceback
from urllib.parse import quote, quote_plus

import pytest

from tokenkeeper import TokenAcquisitionError

SECRET = "s3cret: with+a %41 and/"
METHODS = ["client_secret_basic", "client_secret_post"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("what", "error", "status"),
    [
        ("wrong secret", "invalid_client", 401),
        ("unknown client", "invalid_client", 401),
        ("wrong scope", "invalid_scope", 400),
    ],
)
def test_a_refusal(kit, server, make_keeper, make_provider, method, what, error, status):
    """The error quotes the server, follows one request of many callers, and shows no secret."""
    client_id = f"{what} by {method}"
    config = {"client_secret": SECRET}
    if what != "unknown client":
        server.add_client(client_id, SECRET, delay_seconds=0.1)
    if what == "wrong secret":
        config["client_secret"] = "wr0ng: " + SECRET
    if what == "wrong scope":
        config["scope"] = "read delete"  # the server has both, and this client the first alone
    provider = make_provider("api", client_id, config=config, token_endpoint_auth_method=method)
    keeper = make_keeper(provider, cooldown_seconds=600)

    errors = kit.at_once(*[lambda: keeper.get_token("api")] * 32)

    for raised in errors:
        assert type(raised) is TokenAcquisitionError
        assert (raised.error, raised.status_code, raised.attempts) == (error, status, 1)
        assert raised.provider_name == "api"
        assert "'api'" in str(raised)
        assert str(pickle.loads(pickle.dumps(raised))) == str(raised)
        shown = "".join([repr(vars(raised)), *traceback.format_exception(raised)])
        for form in (config["client_secret"], quote(SECRET, safe=""), quote_plus(SECRET)):
            assert form not in shown
    for _ in range(50):
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
    assert server.stats(client_id)["token_requests"] == 1


def test_a_scope_that_the_server_does_not_know(server, make_keeper, make_provider):
    """The server ignores a scope that it does not know, and does not report that."""
    keeper = make_keeper(make_provider(config={"scope": "fly"}))
    assert server.call(keeper.get_token("api"))[1]["scope"] is None
