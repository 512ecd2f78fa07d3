"""``keeper.authorize()`` on this machine, blocking and async: the browser, the wait, the end."""

import threading
import urllib.request

import anyio
import pytest
import responses
from kit.crowds import in_thread
from kit.frames import recorded_variables
from kit.sign_ins import SignInServer
from kit.stores import FaultyStore

from tokenkeeper import (
    GenericOAuth2Provider,
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2Config,
    OAuth2TokenManager,
    TokenAcquisitionError,
    TokenWaitTimeoutError,
)
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.providers.grants.sign_in import PendingSignIn, SignIn
from tokenkeeper.testing import SteppedClock


@pytest.fixture
def server():
    with SignInServer() as server:
        yield server


@pytest.fixture
def clock():
    return SteppedClock(auto_step=True)


def local(server, clock, **options):
    provider = server.provider(clock=clock, redirect_uri=None, **options)
    return server.keeper(provider, clock=clock)


def browse(url):
    """Do what a browser does with a redirect to this machine."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def test_in_a_browser_of_this_machine(server, clock):
    """The listener gets the answer, the wait completes it, and then nothing listens any more."""
    with local(server, clock) as keeper, keeper.authorize("crm") as authorization:
        answer = server.sign_in(authorization.url)
        assert answer.startswith("http://127.0.0.1:")
        assert "You have signed in" in browse(answer)
        assert authorization.wait().access_token == keeper.get_token("crm") == "token-1"
        with pytest.raises(OSError, match="refused"):
            browse(answer)
        with pytest.raises(KeeperClosedError, match="completed already"):
            authorization.wait()
    assert server.sent[0]["redirect_uri"] == answer.partition("?")[0]


def test_nobody_comes(server, clock):
    """A wait with a timeout can be repeated; at the end of the sign-in's time it is over."""
    with local(server, clock) as keeper, keeper.authorize("crm") as authorization:
        with pytest.raises(TokenWaitTimeoutError, match="has not signed in"):
            authorization.wait(timeout=5)
        with pytest.raises(TokenAcquisitionError, match="took too long"):
            authorization.wait()
        with pytest.raises(KeeperClosedError):
            authorization.wait()
    assert server.sent == []


@pytest.mark.parametrize("what", ["declined", "a foreign issuer"])
def test_a_bad_answer_ends_the_wait(server, clock, what):
    """What the browser brings is the answer, so that the wait raises what is wrong with it."""
    with local(server, clock) as keeper, keeper.authorize("crm") as authorization:
        if what == "declined":
            browse(server.decline(authorization.url))
        else:
            browse(server.sign_in(authorization.url, iss="https://evil.test"))
        with pytest.raises(TokenAcquisitionError, match=r"access_denied|was not asked"):
            authorization.wait()
    assert server.sent == []


def test_errors_of_a_wait_keep_secrets(server, clock):
    """No frame that an error tracker records has what the browser brought."""
    with local(server, clock) as keeper, keeper.authorize("crm") as authorization:
        browse(server.sign_in(authorization.url))
        server.answers = [(400, {"error": "invalid_grant"})]
        with pytest.raises(TokenAcquisitionError) as info:
            authorization.wait()
    for secret in (server.sent[0]["code"], server.sent[0]["code_verifier"], authorization.state):
        assert not [each for each in recorded_variables(info.value) if secret in each]


def test_closed_while_waiting(server):
    """A wait ends when its authorization is closed, or the keeper."""
    for closes in ("authorization", "keeper"):
        clock = SteppedClock()
        keeper = local(server, clock)
        authorization = keeper.authorize("crm")
        thread, outcomes = in_thread(authorization.wait)
        (authorization if closes == "authorization" else keeper).close()
        while thread.is_alive():
            clock.step(1)
            thread.join(0.002)
        assert isinstance(outcomes[0], KeeperClosedError)
        authorization.close()
        keeper.close()


def test_a_port_of_ones_own(server, clock):
    """With redirect_port the listener uses that port."""
    with local(server, clock) as keeper, keeper.authorize("crm") as first:
        port = int(server.asked(first.url)["redirect_uri"][0].split(":")[2].split("/")[0])
    with local(server, clock, redirect_port=port) as keeper, keeper.authorize("crm") as second:
        redirect_uri = server.asked(second.url)["redirect_uri"][0]
        assert redirect_uri == f"http://127.0.0.1:{port}/callback"
        with pytest.raises(InvalidConfigurationError, match="nothing can listen"):
            keeper.authorize("crm")


def test_a_failure_to_begin_closes_the_listener(server, clock):
    """A server that refuses the pushed request leaves no thread behind."""
    server.metadata["pushed_authorization_request_endpoint"] = f"{server.issuer}/par"
    server.answers = [(400, {"error": "invalid_redirect_uri"})]
    refused = pytest.raises(TokenAcquisitionError, match="pushed authorization request failed")
    with local(server, clock) as keeper, refused:
        keeper.authorize("crm")
    assert "tokenkeeper-sign-in" not in [each.name for each in threading.enumerate()]


def test_the_store_is_away_as_the_browser_comes(server, clock):
    """Nothing is requested, and the wait can be repeated with the answer that has come."""
    store = FaultyStore(clock)
    provider = server.provider(clock=clock, redirect_uri=None)
    with server.keeper(provider, clock=clock, store=store) as keeper:
        with keeper.authorize("crm") as authorization:
            browse(server.sign_in(authorization.url))
            store.go_down()
            with pytest.raises(TokenAcquisitionError, match="without the store") as info:
                authorization.wait()
            assert info.value.transient
            assert server.sent == []
            store.come_back()
            clock.step(10)  # for which the store is left alone
            assert authorization.wait().access_token == "token-1"
        with pytest.raises(KeeperClosedError, match="completed already"):
            authorization.wait()


def test_a_web_application_completes_its_own(server, clock):
    """Waiting for what goes elsewhere is an error that says so."""
    with server.keeper(clock=clock) as keeper:
        authorization = keeper.authorize("crm")
        with pytest.raises(InvalidConfigurationError, match=r"Call complete\(\) there"):
            authorization.wait()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": "long"}, "timeout_seconds"),
        ({"redirect_uri": "http://app.test/callback"}, "redirect_uri"),
        ({"redirect_uri": "https://app.test/callback#part"}, "redirect_uri"),
        ({"redirect_uri": "/callback"}, "redirect_uri"),
        ({"login_hint": ""}, "login_hint"),
        ({"scope": ["a b"]}, "scope"),
        ({"account": ""}, "account"),
        ({"resource": []}, "resource"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_arguments_that_can_not_work(server, options, field):
    """Each is named."""
    with server.keeper() as keeper:
        with pytest.raises(InvalidConfigurationError) as info:
            keeper.authorize("crm", **options)
        assert info.value.field == field


def test_repr_shows_no_secret(server):
    """Neither state, verifier nor account is in any ``repr``."""
    with server.keeper() as keeper:
        authorization = keeper.authorize("crm", account="acme")
        pending = authorization._under_way.pending
        shown = f"{authorization!r} {pending!r}"
        assert repr(authorization) == "<Authorization of 'crm'>"
    for secret in ("acme", authorization.state, *pending.secrets.values()):
        assert secret not in shown


# ---- asked again and again, as for a device code


class Polled(SignIn):
    """A grant whose sign-in the server is asked about."""

    grant_type = "urn:test:polled"
    interval = 5.0

    def begin(self, client, asked):
        expires_at = asked.now + asked.timeout_seconds
        return PendingSignIn(
            *(asked.token_name, "https://as.test/device", "ABCD", "", expires_at),
            interval_seconds=self.interval,
        )

    def answer(self, client, pending, callback_url):
        return {"grant_type": "refresh_token", "refresh_token": "refresh-0"}

    def wait_seconds(self, error, interval):
        return {"authorization_pending": interval, "slow_down": interval + 5}.get(error.error)


class Struck(Polled):
    """A grant that is interrupted."""

    def begin(self, client, asked):
        asked.listen(None)
        raise KeyboardInterrupt


class Eager(Polled):
    """A grant that asks at once."""

    interval = 0.0


def polled(server, clock, kind=Polled):
    server._newest["0"], server._family_of["refresh-0"] = "refresh-0", "0"
    config = OAuth2Config("tv", "me", "s", issuer=server.issuer)
    return server.keeper(GenericOAuth2Provider(config, grant=kind(), clock=clock), clock=clock)


def test_asking_until_the_person_has_signed_in(server, clock):
    """It asks as often as the server allows, and not once too early."""
    asked_at = []
    server.answers = [(400, {"error": each}) for each in ("authorization_pending", "slow_down")]
    with polled(server, clock) as keeper:
        authorization = keeper.authorize("tv")
        assert (authorization.user_code, authorization.state) == ("ABCD", "")
        began = clock.monotonic()

        def note():
            asked_at.append(round(clock.monotonic() - began))
            server.during = note

        server.during = note
        assert authorization.wait().access_token == keeper.get_token("tv") == "token-3"
    assert asked_at == [5, 10, 20]


def test_asking_ends_with_a_refusal(server, clock):
    """An error that does not mean "not yet" ends the wait."""
    server.answers = [(400, {"error": "access_denied"})]
    with polled(server, clock) as keeper:
        authorization = keeper.authorize("tv")
        for _ in range(2):
            with pytest.raises(TokenAcquisitionError, match="access_denied"):
                authorization.wait()


def test_asking_ends_in_time(server, clock):
    """A wait that gives up can be repeated, and the pause between questions is kept."""
    with polled(server, clock) as keeper:
        authorization = keeper.authorize("tv", timeout_seconds=12)
        server.answers = [(400, {"error": "authorization_pending"})] * 9
        for _ in range(2):
            with pytest.raises(TokenWaitTimeoutError):
                authorization.wait(timeout=3)
        with pytest.raises(TokenAcquisitionError, match="was not approved") as info:
            authorization.wait()
        assert info.value.error == "expired_token"
        assert len(server.sent) == 2
        with pytest.raises(InvalidConfigurationError, match="has no redirect"):
            authorization.complete("https://app.test/callback")


def test_an_interruption_closes_the_listener(server, clock):
    """It is raised as it is, and leaves no thread behind."""
    with polled(server, clock, Struck) as keeper, pytest.raises(KeyboardInterrupt):
        keeper.authorize("tv")
    assert "tokenkeeper-sign-in" not in [each.name for each in threading.enumerate()]


# ---- async


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.mark.anyio
async def test_async(server, anyio_backend):
    """The wait holds up neither the loop nor a thread, under asyncio and trio."""
    provider = server.provider(redirect_uri=None)
    async with OAuth2TokenManager(server.keeper(provider)) as manager:
        async with await manager.authorize("crm") as authorization:
            assert (authorization.user_code, authorization.token_name) == (None, "crm")
            assert authorization.expires_at == authorization.authorization.expires_at
            assert repr(authorization) == "<AsyncAuthorization of 'crm'>"
            with pytest.raises(TokenWaitTimeoutError):
                await authorization.wait(timeout=0)
            async with anyio.create_task_group() as tasks:
                answer = server.sign_in(authorization.url)
                tasks.start_soon(anyio.to_thread.run_sync, browse, answer)
                assert (await authorization.wait(30)).access_token == "token-1"
        assert await manager.get_token("crm") == "token-1"


@pytest.mark.anyio
async def test_async_in_a_web_application(server, anyio_backend):
    """Both ways to complete it, by the object and by its state."""
    async with OAuth2TokenManager(server.keeper()) as manager:
        first = await manager.authorize("crm")
        assert (await first.complete(server.sign_in(first.url))).access_token == "token-1"
        second = await manager.authorize("crm", account="acme")
        answer = server.sign_in(second.url)
        source = await manager.complete_authorization("crm", answer, state=second.state)
        assert await source() == "token-2"


@pytest.mark.anyio
async def test_async_questions(server, anyio_backend):
    """A sign-in that the server is asked about needs a thread only for each question."""
    server.answers = [(400, {"error": "authorization_pending"})] * 2
    async with OAuth2TokenManager(polled(server, SYSTEM_CLOCK, Eager)) as manager:
        authorization = await manager.authorize("tv")
        assert authorization.user_code == "ABCD"
        assert (await authorization.wait()).access_token == "token-3"


def test_the_wire_is_in_memory(server):
    """No test of this file reaches a network."""
    assert isinstance(server._mock, responses.RequestsMock)
