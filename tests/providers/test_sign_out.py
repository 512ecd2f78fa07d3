"""Sign-out and questions, from the keeper to the wire: what is sent, and what is left."""

import logging
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import anyio
import pytest
import responses

from tokenkeeper import (
    AuthorizationRequiredError,
    BaseOAuth2Provider,
    GenericOAuth2Provider,
    OAuth2Config,
    OAuth2Token,
    OAuth2TokenManager,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.providers.grants.refresh_token import RefreshToken

BASE = "https://id.example.com"
URL, REVOKE, INTROSPECT = f"{BASE}/token", f"{BASE}/revoke", f"{BASE}/introspect"
A = "https://a.example"
ENDPOINTS = {"revocation_endpoint": REVOKE, "introspection_endpoint": INTROSPECT}


@pytest.fixture
def wire():
    """Grant token-1, token-2, ... with refresh tokens r-2, r-3, ...; revoke; answer questions.

    Its ``sent`` has the last part of the URL and the parameters of each request.
    """
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.sent = []
        mock.statuses = {}

        def answer(request):
            what = request.url.rpartition("/")[2]
            mock.sent.append((what, dict(parse_qsl(request.body))))
            number = sum(each == "token" for each, _ in mock.sent)
            body = {
                "token": f'{{"access_token": "token-{number}", "token_type": "Bearer", '
                f'"expires_in": 3600, "refresh_token": "r-{number + 1}"}}',
                "introspect": '{"active": true, "scope": "read"}',
            }
            return mock.statuses.get(what, 200), {}, body.get(what, "")

        for url in (URL, REVOKE, INTROSPECT):
            mock.add_callback(responses.POST, url, answer)
        yield mock


def client(grant=None, *, endpoints=ENDPOINTS, **options):
    config = OAuth2Config("api", "me", "secret", URL, endpoints=endpoints)
    return GenericOAuth2Provider(config, grant=grant, **options)


def keeper(api, **options):
    keeper = TokenKeeper(background=False, retry=RetryPolicy(attempts=1), **options)
    keeper.add_provider(api)
    return keeper


def asked(wire, what):
    """Return the tokens that *what* was sent with."""
    return [parameters["token"] for each, parameters in wire.sent if each == what]


@pytest.mark.parametrize("custody", [None, "sqlite"])
def test_a_sign_in(wire, tmp_path, custody):
    """The newest refresh token is revoked, wherever it is kept, and no process begins again."""
    if custody is not None:
        tmp_path.chmod(0o700)
        custody = f"sqlite:///{tmp_path / 'custody.db'}"
    with keeper(client(RefreshToken("r-1"), custody=custody)) as mine:
        mine.get_token("api")
        mine.source("api", resource=A).get_token()
        found = mine.revoke("api")
        assert (found.token, found.forgotten) == ("refresh_token", 2)
        assert asked(wire, "revoke") == ["r-3"]
        with pytest.raises(AuthorizationRequiredError, match="was revoked by"):
            mine.get_token("api")
    if custody is not None:
        with (
            keeper(client(RefreshToken("r-1"), custody=custody)) as again,
            pytest.raises(AuthorizationRequiredError),
        ):
            again.get_token("api")
        assert b"r-3" not in (tmp_path / "custody.db").read_bytes()
    assert len(wire.sent) == 3


def test_a_first_refresh_token(wire, tmp_path):
    """A refresh token in a file that was not used yet is revoked, and not used afterwards."""
    file = tmp_path / "first"
    file.write_text("r-1")
    with keeper(client(RefreshToken(file))) as mine:
        assert mine.revoke("api").server_was_asked
        with pytest.raises(AuthorizationRequiredError):
            mine.get_token("api")
    assert wire.sent == [
        (
            "revoke",
            {"token": "r-1", "token_type_hint": "refresh_token"},
        )
    ]


def test_a_first_refresh_token_that_is_not_there(wire, tmp_path):
    """If the file can't be read, nothing was revoked, and the error says so."""
    mine = keeper(client(RefreshToken(tmp_path / "gone")))
    with mine, pytest.raises(TokenAcquisitionError, match="gone can't be read"):
        mine.revoke("api")
    assert wire.sent == []


def test_nobody_signed_in(wire):
    """A grant that has no refresh token to begin with has nothing to revoke."""

    class SignIn(RefreshToken):
        def first(self):
            raise AuthorizationRequiredError("sign in first")

    with keeper(client(SignIn("unused"))) as mine:
        assert not mine.revoke("api").server_was_asked
    assert wire.sent == []


def test_an_access_token(wire):
    """The access token alone is revoked, and the refresh token brings another one."""
    with keeper(client(RefreshToken("r-1"))) as mine:
        mine.get_token("api")
        assert mine.revoke("api", token="access_token").token == "access_token"
        assert asked(wire, "revoke") == ["token-1"]
        assert mine.get_token("api") == "token-2"


def test_client_credentials(wire):
    """The access token is revoked, and the next caller requests another."""
    with keeper(client()) as mine:
        assert not mine.revoke("api").server_was_asked
        mine.get_token("api")
        mine.revoke("api")
        assert mine.get_token("api") == "token-2"
    assert asked(wire, "revoke") == ["token-1"]


def test_refresh_tokens_beside_client_credentials(wire):
    """Refresh tokens that come with other grants are revoked in place of the access token."""
    with keeper(client(refresh_tokens=True)) as mine:
        mine.get_token("api")
        assert mine.revoke("api").token == "refresh_token"
        mine.get_token("api")
    assert asked(wire, "revoke") == ["r-2"]
    assert [what for what, _ in wire.sent] == ["token", "revoke", "token"]


def test_nothing_without_a_token():
    """A provider whose grant can be repeated has nothing to begin with."""
    assert client().revoke_token(None, "refresh_token") is False
    assert client().revoke_token(None, "access_token") is False
    assert Grant().first() == ""


@pytest.mark.parametrize("grant", [None, RefreshToken("r-1")], ids=["credentials", "sign-in"])
def test_no_secret_anywhere(wire, caplog, grant):
    """Neither result, nor log, nor error shows a token."""
    caplog.set_level(logging.DEBUG)
    with keeper(client(grant)) as mine:
        token = mine.get_token("api")
        wire.statuses["revoke"] = 503
        with pytest.raises(TokenAcquisitionError) as caught:
            mine.revoke("api")
        wire.statuses["revoke"] = 200
        shown = f"{mine.revoke('api')} {caught.value!r} {caplog.text}"
    assert "token revoked" in caplog.text
    assert all(each not in shown for each in (token, "r-2", "r-1"))


# ---- questions


def test_introspect(wire):
    """A token is requested if there is none, and then the server is asked about it."""
    with keeper(client()) as mine:
        assert mine.introspect("api") == {"active": True, "scope": "read"}
        name = mine.source("api", resource=A).name
        assert mine.introspect(name)["active"] is True
    assert asked(wire, "introspect") == ["token-1", "token-2"]


def test_introspect_refused(wire):
    """What the server refuses is an error that says what was asked."""
    wire.statuses["introspect"] = 403
    with keeper(client()) as mine, pytest.raises(TokenAcquisitionError, match="introspection fail"):
        mine.introspect("api")
    with (
        keeper(client(endpoints={})) as mine,
        pytest.raises(TokenAcquisitionError, match="introspection_endpoint is not known"),
    ):
        mine.introspect("api")


class Own(BaseOAuth2Provider):
    """A custom provider, without further methods."""

    def acquire_token(self):
        return OAuth2Token("secret", "Bearer", datetime.now(UTC) + timedelta(hours=1))


class Failing(Own):
    """The same, with a fault."""

    async def introspect_token(self, token):
        raise ValueError(token.access_token)


def test_introspect_without_the_method():
    """A provider that can't ask says so; another error of it becomes one of the library."""
    with keeper(Own("api")) as mine, pytest.raises(TokenAcquisitionError) as caught:
        mine.introspect("api")
    assert "because Own has no introspect_token()" in str(caught.value)
    with keeper(Failing("api")) as mine, pytest.raises(TokenAcquisitionError) as caught:
        mine.introspect("api")
    assert "raised ValueError" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_twins(wire, backend):
    """Both are there for event loops, and do the same."""

    async def main():
        async with OAuth2TokenManager(keeper(client())) as manager:
            assert (await manager.introspect("api"))["active"] is True
            found = await manager.revoke("api", token="access_token")
            assert found.token == "access_token"
            assert await manager.get_token("api") == "token-2"

    anyio.run(main, backend=backend)
    assert [what for what, _ in wire.sent] == ["token", "introspect", "revoke", "token"]


def test_configured(wire):
    """A provider of a configuration does the same."""
    block = {
        "provider_name": "api",
        "provider_type": "generic",
        "client_id": "me",
        "client_secret": "hunter2",
        "token_url": URL,
        "endpoints": ENDPOINTS,
    }
    with TokenKeeper.from_config({"oauth2": block}, background=False) as mine:
        assert mine.introspect("api")["active"] is True
        assert mine.revoke("api").server_was_asked
