"""Refresh tokens beside client credentials: when they are used, and when they are invalid."""

import gc
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest
import requests
import responses

from tokenkeeper import (
    BaseOAuth2Provider,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    OAuth2Token,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper._runtime import provider_loop
from tokenkeeper.testing import LoopbackAuthorizationServer, SteppedClock

URL = "https://id.example.com/token"
GRANT = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}
ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def wire():
    """Respond to requests without a server."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def server():
    with LoopbackAuthorizationServer(refresh_tokens=True) as server:
        yield server


def provider(*, kind=GenericOAuth2Provider, scope=None, refresh_tokens=True, **options):
    config = OAuth2Config("api", "me", "secret", URL, scope)
    return kind(config, refresh_tokens=refresh_tokens, **options)


def held(refresh_token=None, *, seconds=3600, scope=None):
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    return OAuth2Token("old", "Bearer", ends, scope, refresh_token)


def grants(wire):
    return [dict(parse_qsl(call.request.body))["grant_type"] for call in wire.calls]


ANEW = ["refresh_token", "client_credentials"]


class TestByDefault:
    """RFC 6749 §4.4.3: client credentials should come without a refresh token."""

    def test_they_are_ignored(self, wire):
        """A renewal uses client credentials, even if the server sent a refresh token."""
        wire.post(URL, json=GRANT | {"refresh_token": "r-2"})
        provider(refresh_tokens=False).refresh_token(held("r-1"))
        assert grants(wire) == ["client_credentials"]

    def test_they_are_not_kept(self, wire):
        """An unused refresh token is not kept on the token."""
        wire.post(URL, json=GRANT | {"refresh_token": "r-1"})
        assert provider(refresh_tokens=False).acquire_token().refresh_token is None

    @pytest.mark.parametrize("value", ["true", 1, None])
    def test_the_switch_is_a_boolean(self, value):
        """Anything but True or False is refused by name."""
        with pytest.raises(InvalidConfigurationError, match="'api': refresh_tokens must be True"):
            provider(refresh_tokens=value)


class TestOptedIn:
    """RFC 6749 §6."""

    def test_asks_for_the_scope_that_was_granted(self, wire):
        """If the server narrowed the scope, the wider one is not requested again."""
        wire.post(URL, json=GRANT)
        token = provider(scope="a b").refresh_token(held("r-1", scope="a"))
        assert token.scope == "a"
        assert "scope" not in dict(parse_qsl(wire.calls[0].request.body))

    def test_uses_the_refresh_token(self, wire):
        """The server's refresh token is used for the next token."""
        wire.post(URL, json=GRANT | {"refresh_token": "r-2"})
        assert provider(scope="a").refresh_token(held("r-1")).refresh_token == "r-2"
        assert sorted(parse_qsl(wire.calls[0].request.body)) == [
            ("grant_type", "refresh_token"),
            ("refresh_token", "r-1"),
        ]

    def test_the_old_one_stays_where_no_new_one_comes(self, wire):
        """A response without a refresh token keeps the old one."""
        wire.post(URL, json=GRANT)
        assert provider().refresh_token(held("r-1")).refresh_token == "r-1"

    def test_the_newest_is_used(self, wire):
        """A spent refresh token is not sent again, even if the keeper didn't get its successor.

        The keeper drops a token that has expired before it arrived. Its refresh token is still
        the only one that the server takes.
        """
        wire.post(URL, json=GRANT | {"refresh_token": "r-2"})
        wire.post(URL, json=GRANT | {"refresh_token": "r-3"})
        shipped = provider()
        for _ in range(3):
            shipped.refresh_token(held("r-1"))
        sent = [dict(parse_qsl(call.request.body))["refresh_token"] for call in wire.calls]
        assert sent == ["r-1", "r-2", "r-3"]

    def test_without_one_the_grant_is_used(self, wire):
        """Without a refresh token a renewal uses client credentials."""
        wire.post(URL, json=GRANT)
        provider().refresh_token(held())
        assert grants(wire) == ["client_credentials"]

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (400, '{"error": "invalid_grant"}'),
            (400, '{"error": "invalid_scope"}'),
            (400, '{"error": "invalid_request"}'),
            (400, '{"error": "unauthorized_client"}'),
            (400, '{"error": "unsupported_grant_type"}'),
            (400, '{"error": "some_word_of_the_vendor"}'),
            (400, ""),
            (400, "<html>no</html>"),
            (401, '{"error": "invalid_token"}'),
            (401, '{"error": "invalid_client"}'),
            (401, ""),
            (403, '{"message": "no"}'),
            (404, ""),
            (200, '{"error": "token_revoked"}'),
            (200, '{"ok": false}'),
            (200, ""),
            (302, ""),
        ],
    )
    def test_a_final_refusal_falls_back(self, wire, status, body):
        """After any final refusal of a refresh token, client credentials are used at once."""
        wire.post(URL, body=body, status=status)
        wire.post(URL, json=GRANT)
        token = provider().refresh_token(held("r-1"))
        assert (token.access_token, token.refresh_token) == ("abc", None)
        assert grants(wire) == ANEW

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
    @pytest.mark.parametrize("seconds", [3600, -1])
    def test_what_may_pass(self, wire, status, seconds):
        """A transient failure is raised while the token is valid; afterwards it falls back."""
        wire.post(URL, status=status)
        wire.post(URL, json=GRANT)
        if seconds > 0:
            with pytest.raises(TokenAcquisitionError) as caught:
                provider().refresh_token(held("r-1", seconds=seconds))
            assert caught.value.status_code == status
        else:
            assert provider().refresh_token(held("r-1", seconds=seconds)).access_token == "abc"
        assert grants(wire) == (["refresh_token"] if seconds > 0 else ANEW)

    def test_no_answer_at_all(self, wire):
        """A broken connection falls back too once the token has expired."""
        wire.post(URL, body=requests.ConnectionError("reset"))
        wire.post(URL, json=GRANT)
        assert provider().refresh_token(held("r-1", seconds=-1)).access_token == "abc"

    def test_refreshing_is_never_given_up(self, wire):
        """After a refusal the next refresh token is used."""
        wire.post(URL, json={"error": "unsupported_grant_type"}, status=400)
        wire.post(URL, json=GRANT | {"refresh_token": "r-2"})
        wire.post(URL, json=GRANT | {"refresh_token": "r-3"})
        asking = provider()
        renewed = asking.refresh_token(held("r-1"))
        assert asking.refresh_token(renewed).refresh_token == "r-3"
        assert grants(wire) == [*ANEW, "refresh_token"]

    def test_the_grant_s_own_failure_is_shown(self, wire):
        """If the grant fails too, its error is raised, without the refresh's as its context."""
        wire.post(URL, json={"error": "invalid_grant", "error_description": "r-1"}, status=400)
        wire.post(URL, json={"error": "invalid_client"}, status=401)
        with pytest.raises(TokenAcquisitionError) as caught:
            provider().refresh_token(held("r-1"))
        assert caught.value.error == "invalid_client"
        assert caught.value.__context__ is None

    def test_an_echo_is_hidden(self, wire):
        """An echoed refresh token is not shown in errors."""
        wire.post(URL, json={"error": "x", "error_description": "old r-1"}, status=503)
        with pytest.raises(TokenAcquisitionError) as caught:
            provider().refresh_token(held("r-1"))
        assert "r-1" not in str(caught.value)


class TestUnderAKeeper:
    """The keeper's own clock and refusals by an API decide whether the token is valid."""

    @pytest.fixture
    def clock(self):
        return SteppedClock()

    @pytest.fixture
    def keeper(self, clock, wire):
        wire.post(URL, json=GRANT | {"refresh_token": "r-1"})
        wire.post(URL, status=503)
        wire.post(URL, json=GRANT | {"access_token": "new"})
        with TokenKeeper(clock=clock, background=False, retry=ONCE) as keeper:
            keeper.add_provider(provider(clock=clock))
            assert keeper.get_token("api") == "abc"
            yield keeper

    def test_an_expired_token(self, keeper, clock, wire):
        """An outage of only the refresh grant does not affect callers."""
        clock.step(3595)  # within the margin before the expiry
        assert keeper.get_token("api") == "new"
        assert grants(wire) == ["client_credentials", *ANEW]

    def test_a_token_that_an_api_refused(self, keeper, wire):
        """A token that an API refused counts as expired."""
        assert keeper.renew_refused("api", "abc") == "new"
        assert grants(wire) == ["client_credentials", *ANEW]

    def test_a_token_that_expired_before_it_arrived(self, clock, wire):
        """The next attempt spends the refresh token that came with it, not the spent one again."""

        def answer(number, takes=0.0):
            def callback(request):
                clock.step(takes)
                token = GRANT | {"access_token": f"t-{number}", "refresh_token": f"r-{number}"}
                return 200, {}, json.dumps(token)

            wire.add_callback(responses.POST, URL, callback)

        answer(1)
        answer(2, takes=3600.0)
        answer(3)
        with TokenKeeper(clock=clock, background=False, retry=ONCE) as keeper:
            keeper.add_provider(provider(clock=clock, total_timeout=7200, read_timeout=7200))
            keeper.get_token("api")
            with pytest.raises(TokenAcquisitionError, match="expired before it arrived"):
                keeper.get_token("api", force_refresh=True)
            assert keeper.get_token("api", force_refresh=True) == "t-3"
        sent = [dict(parse_qsl(call.request.body)).get("refresh_token") for call in wire.calls]
        assert sent == [None, "r-1", "r-2"]

    def test_a_valid_token(self, keeper, clock, wire):
        """A token in its buffer is still served, and its refresh token is kept for later."""
        clock.step(3400)
        assert keeper.get_token("api") == "abc"
        assert grants(wire) == ["client_credentials", "refresh_token"]


FORKS_IN_C = """
import ctypes, os, sys
from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenKeeper

keeper = TokenKeeper(background=False)  # one thread: such a fork may leave any lock held
config = OAuth2Config("api", *sys.argv[1:])
keeper.add_provider(GenericOAuth2Provider(config, refresh_tokens=True))
keeper.get_token("api")
child = ctypes.PyDLL(None).fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
keeper.get_token("api", force_refresh=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
class TestAFork:
    """A refresh token that a forked child inherited may only be used by its parent."""

    @pytest.fixture
    def keeper(self, server):
        with TokenKeeper(background=False) as keeper:
            config = server.config("api")
            keeper.add_provider(GenericOAuth2Provider(config, refresh_tokens=True))
            keeper.get_token("api")
            yield keeper

    def renew(self, keeper, server):
        token = keeper.get_token("api", force_refresh=True)
        answer = requests.get(
            server.api_url, headers={"Authorization": f"Bearer {token}"}, timeout=10
        )
        return 0 if answer.status_code == 200 else 1

    @pytest.mark.parametrize("child_first", [True, False])
    def test_in_both_orders(self, exit_code_of, keeper, server, child_first):
        """Parent and child renew in either order, and both tokens are valid."""
        if not child_first:
            assert self.renew(keeper, server) == 0
        assert exit_code_of(lambda: self.renew(keeper, server)) == 0
        if child_first:
            assert self.renew(keeper, server) == 0
        assert server.stats().token_requests_by_grant == {
            "client_credentials": 2,  # the first one, and the child's
            "refresh_token": 1,
        }

    def test_the_child_s_own(self, exit_code_of, keeper, server):
        """A child uses a refresh token that it received itself."""

        def child():
            return self.renew(keeper, server) + self.renew(keeper, server)

        assert exit_code_of(child) == 0
        assert server.stats().token_requests_by_grant == {
            "client_credentials": 2,
            "refresh_token": 1,
        }

    @pytest.mark.skipif(sys.platform != "linux", reason="the C library is looked up as on Linux")
    def test_a_fork_made_in_c(self, server):
        """A fork without Python's hooks is detected by the process id."""
        command = [sys.executable, "-c", FORKS_IN_C, server.client_id, server.client_secret]
        subprocess.run([*command, server.token_url], check=True, timeout=60)
        assert server.stats().token_requests_by_grant == {
            "client_credentials": 2,
            "refresh_token": 1,
        }

    def test_another_process_id(self, wire, monkeypatch):
        """The provider detects it without a keeper."""
        wire.post(URL, json=GRANT | {"refresh_token": "r-1"})
        asking = provider()
        token = asking.acquire_token()
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        asking.refresh_token(token)
        assert grants(wire) == ["client_credentials", "client_credentials"]

    def test_the_hook_of_providers(self, wire):
        """``after_fork_in_child`` does the same, even if the child has its parent's process id."""
        wire.post(URL, json=GRANT | {"refresh_token": "r-1"})
        asking = provider()
        token = asking.acquire_token()
        asking.after_fork_in_child()
        renewed = asking.refresh_token(token)
        asking.refresh_token(replace(renewed, refresh_token="r-1"))
        assert grants(wire) == ["client_credentials", "client_credentials", "refresh_token"]


class Circular(BaseOAuth2Provider):
    """Calls refresh_token in acquire_token; the base does the opposite."""

    def acquire_token(self):
        return self.refresh_token(held())


class AsyncCircular(BaseOAuth2Provider):
    """The same with ``async def``."""

    async def acquire_token(self):
        return await self.refresh_token(held())


class CircularByHand(BaseOAuth2Provider):
    """Two custom methods that call each other."""

    def acquire_token(self):
        return self.refresh_token(held())

    def refresh_token(self, token):
        return self.acquire_token()


class AsyncCircularByHand(BaseOAuth2Provider):
    """The same with ``async def``."""

    async def acquire_token(self):
        return await self.refresh_token(held())

    async def refresh_token(self, token):
        return await self.acquire_token()


class Seeded(GenericOAuth2Provider):
    """Starts with a refresh token from elsewhere."""

    def acquire_token(self):
        return self.refresh_token(held("r-0"))


class TestCircles:
    """Endless recursion of ``acquire_token`` and ``refresh_token`` is detected."""

    @pytest.mark.parametrize("kind", [Circular, AsyncCircular, CircularByHand, AsyncCircularByHand])
    @pytest.mark.parametrize("renews", [False, True])
    def test_a_custom_provider(self, kind, renews):
        """It is a clear and final error, for a first token and for a renewal."""
        gc.collect()  # or the keeper of another test may be collected deep in the recursion
        with TokenKeeper(background=False, retry=ONCE) as keeper:
            circular = kind("api")
            keeper.add_provider(circular)
            if renews:
                kind.acquire_token, original = lambda _: held(), kind.acquire_token
                keeper.get_token("api")
                kind.acquire_token = original
            with pytest.raises(TokenAcquisitionError, match="call each other") as caught:
                keeper.get_token("api", force_refresh=True)
        assert caught.value.provider_name == "api"
        assert not caught.value.transient

    @pytest.mark.parametrize("kind", [Circular, AsyncCircular])
    def test_it_is_found_at_once(self, kind):
        """If one of the methods is ours, the second call detects it, even without a keeper."""
        circular = kind("api")
        with pytest.raises(TokenAcquisitionError, match="Make"):
            provider_loop.call(circular.acquire_token)

    @pytest.mark.parametrize("refresh_tokens", [True, False])
    def test_a_subclass_that_begins_with_a_refresh_token(self, wire, refresh_tokens):
        """If its refresh token is refused or disabled, client credentials are used."""
        wire.post(URL, json={"error": "invalid_grant"}, status=400)
        wire.post(URL, json=GRANT)
        if not refresh_tokens:
            wire.remove(responses.POST, URL)
            wire.post(URL, json=GRANT)
        asking = provider(kind=Seeded, refresh_tokens=refresh_tokens)
        assert asking.acquire_token().access_token == "abc"
        assert grants(wire) == (ANEW if refresh_tokens else ["client_credentials"])

    def test_a_subclass_with_a_grant_of_its_own(self, wire):
        """``refresh_token`` falls back to the subclass's grant, not to client credentials."""

        class Own(GenericOAuth2Provider):
            def acquire_token(self):
                return held()

        wire.post(URL, json={"error": "invalid_grant"}, status=400)
        assert provider(kind=Own).refresh_token(held("r-1")).access_token == "old"
        assert grants(wire) == ["refresh_token"]
