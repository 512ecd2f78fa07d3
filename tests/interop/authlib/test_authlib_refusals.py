"""Refusals of Authlib's server: the right error, one request for many callers, no secret shown."""

import logging
import pickle
import traceback
from urllib.parse import quote, quote_plus

import pytest
from kit.servers.authlib_on_flask import AuthlibOnFlask

from tokenkeeper import (
    GenericOAuth2Provider,
    OAuth2TokenManager,
    TokenAcquisitionError,
    TokenKeeper,
    TokenRefreshError,
)

SECRET = "s3cret: with+a %41 and/ä"
METHODS = ["client_secret_basic", "client_secret_post"]


class Case:
    """A client that is refused, and the expected error."""

    def __init__(self, error, status, client_id="client", secret=SECRET, scope="read", **client):
        self.error = error
        self.status = status
        self.client_id = client_id
        self.secret = secret
        self.scope = scope
        self.client = client

    def config(self, server):
        server.add_client("client", SECRET, **self.client)
        return server.config("api", self.client_id, client_secret=self.secret, scope=self.scope)


def cases(method):
    # Authlib's status depends on the method: 401 for HTTP Basic (RFC 6749 §5.2).
    unknown = 401 if method == "client_secret_basic" else 400
    return {
        "wrong secret": Case("invalid_client", 401, secret="wr0ng: " + SECRET),
        "unknown client": Case("invalid_client", unknown, client_id="nobody"),
        "unknown scope": Case("invalid_scope", 400, scope="fly"),
        "known and unknown scope": Case("invalid_scope", 400, scope="read fly"),
        "scope of others": Case("invalid_scope", 400, scope="delete"),
        "grant of others": Case("unauthorized_client", 400, grant_types=["password"]),
    }


def shown(error, caplog):
    """Return all that a user may see of *error*."""
    chain = "".join(traceback.format_exception(error))
    return "\n".join([str(error), repr(error), repr(vars(error)), chain, caplog.text])


def assert_nothing_leaks(error, secret, caplog):
    text = shown(error, caplog)
    for form in (secret, quote(secret, safe=""), quote_plus(secret)):
        assert form not in text
    assert "Basic " not in text
    assert "\n" not in str(error)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("which", cases(METHODS[0]))
def test_a_refusal(kit, server, make_keeper, caplog, method, which):
    """The error quotes the server, follows one request of many callers, and shows no secret."""
    caplog.set_level(logging.DEBUG)
    case = cases(method)[which]
    case.client["token_endpoint_auth_method"] = method
    case.client["delay_seconds"] = 0.1
    config = case.config(server)
    keeper = make_keeper(GenericOAuth2Provider(config, token_endpoint_auth_method=method))

    errors = kit.at_once(*[lambda: keeper.get_token("api")] * 32)

    for error in errors:
        assert type(error) is TokenAcquisitionError
        assert (error.error, error.status_code) == (case.error, case.status)
        assert (error.provider_name, error.attempts, error.retry_after) == ("api", 1, None)
        assert "'api'" in str(error)
        assert case.error in str(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert_nothing_leaks(error, case.secret, caplog)
    assert len(set(map(id, errors))) == 32
    assert server.stats(case.client_id)["token_requests"] == 1
    assert keeper.get_cached_token_info("api") is None


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_crowd_of_tasks(kit, server, make_keeper, make_provider, backend):
    """500 tasks that are refused cause one request as well."""
    server.add_client("client", delay_seconds=0.1)
    keeper = make_keeper(make_provider("api", "client", config={"client_secret": "wrong"}))
    manager = OAuth2TokenManager(keeper)
    errors = kit.tasks_at_once(backend, 500, lambda: manager.get_token("api"))
    assert {(type(error), error.error) for error in errors} == {
        (TokenAcquisitionError, "invalid_client")
    }
    assert server.stats("client")["token_requests"] == 1


def test_a_hot_loop_with_a_wrong_secret(server, make_keeper, make_provider):
    """During the cooldown each further call gets the same error, and no request is sent."""
    keeper = make_keeper(make_provider(config={"client_secret": "wrong"}), cooldown_seconds=600)
    messages = set()
    for _ in range(200):
        with pytest.raises(TokenAcquisitionError) as raised:
            keeper.get_token("api")
        messages.add(str(raised.value))
    assert len(messages) == 1
    assert server.stats("worker")["token_requests"] == 1


def test_a_secret_that_is_put_right_at_the_server(server, make_keeper, make_provider):
    """A forced renewal ignores the cooldown, and ends it for the others."""
    server.add_client("client", "new")
    server.clients["client"] = "right"
    keeper = make_keeper(make_provider("api", "client"), cooldown_seconds=600)
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    server.add_client("client", "right")
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    token = keeper.get_token("api", force_refresh=True)
    assert keeper.get_token("api") == token
    assert server.stats("client")["token_requests"] == 2


def test_a_secret_that_changes_while_a_token_is_valid(server, make_keeper, make_provider, caplog):
    """The current token is still served; a forced renewal raises the server's refusal."""
    server.add_client("client", "before")
    keeper = make_keeper(make_provider("api", "client"))
    token = keeper.get_token("api")
    server.add_client("client", "after")
    with pytest.raises(TokenRefreshError) as raised:
        keeper.get_token("api", force_refresh=True)
    assert raised.value.error == "invalid_client"
    assert "before" not in str(raised.value)
    assert keeper.get_token("api") == token
    info = keeper.get_cached_token_info("api")
    assert info["failures"] == 1
    assert "invalid_client" in info["last_error"]


def test_a_grant_that_the_server_does_not_have(kit, caplog):
    """``unsupported_grant_type`` differs from a grant that only this client may not use."""
    with (
        AuthlibOnFlask(without=["client_credentials"]) as server,
        TokenKeeper() as keeper,
    ):
        keeper.add_provider(GenericOAuth2Provider(server.config("api")))
        errors = kit.at_once(*[lambda: keeper.get_token("api")] * 8)
        for error in errors:
            assert (error.error, error.status_code) == ("unsupported_grant_type", 400)
            assert error.attempts == 1
            assert_nothing_leaks(error, "worker-secret", caplog)
        assert server.stats("worker")["token_requests"] == 1


def test_a_url_that_is_not_a_token_endpoint(server, make_keeper):
    """Another page of the same server is an error that says so, after one request."""
    config = server.config("api", token_url=server.issuer + "/nowhere")
    keeper = make_keeper(GenericOAuth2Provider(config))
    with pytest.raises(TokenAcquisitionError) as raised:
        keeper.get_token("api")
    assert (raised.value.status_code, raised.value.attempts) == (404, 1)
    assert raised.value.error is None
