"""Sign-ins by device code and CIBA, from ``authorize()`` to the token that is served."""

import logging
import os

import pytest
from kit.crowds import at_once
from kit.frames import recorded_variables
from kit.guards import until
from kit.processes import Child
from kit.servers.base import Answer
from kit.servers.polled import AUTH_REQ_ID, DEVICE_CODE, GRANTED, PENDING, PolledServer

from tokenkeeper import (
    AuthorizationRequiredError,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    KeeperClosedError,
    TokenAcquisitionError,
    TokenKeeper,
    TokenWaitTimeoutError,
)
from tokenkeeper.events import SignInCompleted, SignInFailed, SignInStarted
from tokenkeeper.providers.grants.ciba import Ciba
from tokenkeeper.providers.grants.device_code import DeviceCode
from tokenkeeper.testing import SteppedClock

REFRESH_TOKEN = "refresh-token-which-is-never-shown"
WITH_REFRESH_TOKEN = Answer(200, {**GRANTED.body, "refresh_token": REFRESH_TOKEN})
DENIED = Answer(
    400, {"error": "access_denied", "error_description": f"{DEVICE_CODE} {AUTH_REQ_ID}"}
)
GRANTS = {"device": DeviceCode, "ciba": lambda: Ciba(login_hint="ann")}


class Stage:
    """A keeper whose provider "tv" needs a sign-in, at a scripted server.

    :param steps: whether waits of callers step the clock.
    """

    def __init__(self, server, grant, *, steps=True, store=None):
        self.server = server
        self.clock = server.clock = SteppedClock(auto_step="retries" if steps else False)
        self.events = []
        self.keeper = TokenKeeper(
            clock=self.clock, hooks=[self.events.append], max_workers=1, store=store
        )
        self.keeper.add_provider(
            GenericOAuth2Provider(server.config(), grant=grant, clock=self.clock)
        )

    def sign_ins(self):
        """Return the events about sign-ins, by kind and error."""
        kinds = (SignInStarted, SignInCompleted, SignInFailed)
        return [
            (type(each).__name__, getattr(each, "error", None))
            for each in list(self.events)
            if isinstance(each, kinds)
        ]


@pytest.fixture
def server():
    """Return the server."""
    with PolledServer() as server:
        yield server


@pytest.fixture
def stage(server):
    """Return a function that makes a keeper with a grant; it is closed at the end."""
    made = []

    def make(grant=None, **options):
        made.append(Stage(server, grant or DeviceCode(), **options))
        return made[-1]

    yield make
    for each in made:
        each.keeper.close()


def test_a_device_code(server, stage):
    """A person approves, and the token is served, renewed by its refresh token from then on."""
    stage = stage()
    server.script[:] = [PENDING, None, WITH_REFRESH_TOKEN]
    with pytest.raises(AuthorizationRequiredError, match="sign in first"):
        stage.keeper.get_token("tv")
    assert server.received == []
    with stage.keeper.authorize("tv") as authorization:
        assert authorization.user_code == "WDJB-MJHT"
        assert authorization.url.endswith("?user_code=WDJB-MJHT")
        assert authorization.state == ""
        token = authorization.wait()
    assert (token.access_token, token.refresh_token) == ("t-1", REFRESH_TOKEN)
    assert stage.keeper.get_token("tv") == "t-1"
    assert len(server.polls) == 3
    stage.clock.step(4000)
    assert stage.keeper.get_token("tv") == "t-1"
    assert dict(server.received[-1].form)["refresh_token"] == REFRESH_TOKEN


def test_ciba_for_an_account(server, stage):
    """The server asks the person of the account, whose source has the token then."""
    stage = stage(Ciba(binding_message="W4SCT"))
    server.script[:] = [PENDING]
    authorization = stage.keeper.authorize("tv", account="ann", scope="openid")
    assert (authorization.url, authorization.user_code) == ("", None)
    assert dict(server.received[0].form)["login_hint"] == "ann"
    assert authorization.wait().access_token == "t-1"
    assert stage.keeper.source("tv", account="ann")() == "t-1"
    with pytest.raises(AuthorizationRequiredError):
        stage.keeper.get_token("tv")


def test_events(server, stage):
    """The beginning and the end are reported once, and what means to wait is not a failure."""
    stage = stage()
    server.script[:] = [PENDING, None, Answer(500, b"")]
    authorization = stage.keeper.authorize("tv")
    assert [authorization.wait().access_token for _ in range(2)] == ["t-1"] * 2
    until(lambda: len(stage.sign_ins()) == 2, "two events")
    assert stage.sign_ins() == [("SignInStarted", None), ("SignInCompleted", None)]


ENDINGS = {
    "denied": ([PENDING, DENIED], "access_denied", "denied the request"),
    "expired": ([PENDING] * 200, "expired_token", "expires before the next poll"),
    "refused": ([Answer(401, {"error": "invalid_client"})], "invalid_client", "client_id"),
}


@pytest.mark.parametrize(("script", "code", "why"), ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("grant", GRANTS.values(), ids=GRANTS)
def test_failures(server, stage, caplog, grant, script, code, why):
    """A failure is reported once, and shows no secret in any message, log line or event."""
    caplog.set_level(logging.DEBUG)
    stage = stage(grant())
    server.script[:] = script
    authorization = stage.keeper.authorize("tv")
    for _ in range(2):
        with pytest.raises(TokenAcquisitionError, match=why) as caught:
            authorization.wait()
    assert caught.value.error == code
    until(lambda: len(stage.sign_ins()) == 2, "two events")
    assert stage.sign_ins()[1] == ("SignInFailed", code)
    shown = [str(caught.value), caplog.text, repr(stage.events), repr(authorization)]
    shown += [repr(vars(authorization)), repr(caught.value.error_description)]
    shown += recorded_variables(caught.value)
    for secret in (DEVICE_CODE, AUTH_REQ_ID):
        assert secret not in "".join(shown)
    server.script.clear()  # another sign-in is not affected
    assert stage.keeper.authorize("tv").wait().access_token == "t-1"


BROKEN = {"device": ("begun", DeviceCode), "ciba": ("asked", GRANTS["ciba"])}


@pytest.mark.parametrize(("response", "grant"), BROKEN.values(), ids=BROKEN)
def test_a_response_that_begins_nothing(server, stage, response, grant):
    """A response without a lifetime is reported, and no frame of the error has its code."""
    del getattr(server, response)["expires_in"]
    stage = stage(grant())
    with pytest.raises(TokenAcquisitionError, match="expires_in") as caught:
        stage.keeper.authorize("tv")
    shown = "".join(recorded_variables(caught.value))
    assert DEVICE_CODE not in shown
    assert AUTH_REQ_ID not in shown
    until(lambda: stage.sign_ins(), "an event")
    assert stage.sign_ins() == [("SignInFailed", None)]


def test_threads_share_a_sign_in(server, stage):
    """All threads that wait get the token of one redemption."""
    stage = stage(steps=False)
    server.script[:] = [PENDING]
    authorization = stage.keeper.authorize("tv")
    polling, idle = authorization.polling, stage.clock.waiting

    def steps():
        until(lambda: stage.clock.waiting >= idle + 4, "four waits")
        for _ in range(2):
            until(lambda: polling._next_at > stage.clock.monotonic(), "a planned poll")
            stage.clock.step(5)

    *tokens, _ = at_once(*[authorization.wait] * 4, steps)
    assert [token.access_token for token in tokens] == ["t-1"] * 4
    assert len(server.polls) == 2


def test_a_timeout(server, stage):
    """After a timeout, the same sign-in can be waited for again."""
    stage = stage()
    server.script[:] = [PENDING]
    authorization = stage.keeper.authorize("tv")
    with pytest.raises(TokenWaitTimeoutError):
        authorization.wait(7)
    with pytest.raises(InvalidConfigurationError):
        authorization.wait("soon")
    assert authorization.wait(7).access_token == "t-1"


CLOSINGS = {
    "the sign-in": lambda stage, authorization: authorization.close(),
    "the keeper": lambda stage, authorization: stage.keeper.close(),
}


@pytest.mark.parametrize("close", CLOSINGS.values(), ids=CLOSINGS)
def test_closed_during_a_wait(server, stage, close):
    """Closing ends a wait at once, and no poll is made."""
    stage = stage(steps=False)
    authorization = stage.keeper.authorize("tv")
    idle = stage.clock.waiting

    def waits():
        with pytest.raises(KeeperClosedError):
            authorization.wait()
        return True

    def closes():
        until(lambda: stage.clock.waiting > idle, "a wait")
        close(stage, authorization)
        return True

    assert at_once(waits, closes) == [True, True]
    assert server.polls == []


def test_no_worker_is_parked(server, stage):
    """While a thread waits for a person, the only worker serves other tokens."""
    stage = stage(steps=False)
    stage.keeper.add_provider(GenericOAuth2Provider(server.config("other"), clock=stage.clock))
    authorization = stage.keeper.authorize("tv")
    idle = stage.clock.waiting

    def asks():
        until(lambda: stage.clock.waiting > idle, "a wait")
        token = stage.keeper.get_token("other")
        authorization.close()
        return token

    def waits():
        with pytest.raises(KeeperClosedError):
            authorization.wait()
        return True

    assert at_once(waits, asks) == [True, "t-1"]


def test_no_redirect(stage):
    """There is no URL to complete such a sign-in with."""
    authorization = stage().keeper.authorize("tv")
    with pytest.raises(InvalidConfigurationError, match=r"wait\(\)"):
        authorization.complete("https://app.example.com/callback?code=c")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child(server, stage):
    """A child does not poll with its parent's code, which the parent redeems."""
    stage = stage()
    authorization = stage.keeper.authorize("tv")

    def child():
        with pytest.raises(TokenAcquisitionError, match="forked"):
            authorization.wait()
        authorization.close()
        return True

    assert Child(child).result()
    assert authorization.wait().access_token == "t-1"
    assert len(server.polls) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_with_a_store(server, stage, tmp_path):
    """What the parent's sign-in brings is in the store, where a child of before finds it."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    server.script[:] = [WITH_REFRESH_TOKEN]
    stage = stage(store=f"sqlite:///{folder / 'store.db'}")
    authorization = stage.keeper.authorize("tv")
    waits, done = os.pipe()

    def child():
        os.close(done)
        assert os.read(waits, 1) == b"."
        return stage.keeper.get_token("tv")

    forked = Child(child)
    authorization.wait()
    os.write(done, b".")
    assert forked.result() == "t-1"
    assert len(server.polls) == 1
    os.close(waits)
    os.close(done)
