"""The 401 flow that all client libraries share: what it does, in which order, and what it logs.

No network and no keeper: a recorder stands in for the tokens of a provider and for the client.
"""

import asyncio
import logging

import pytest

from tokenkeeper import TokenAcquisitionError, TokenRejectedError, TokenWaitTimeoutError
from tokenkeeper._support.authorization import carries, header_value, set_token, token_in
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._unauthorized import Refusal, run, run_async, unauthorized_flow

OLD, NEW = Hidden("old"), Hidden("new")
CLAIMS = '{"access_token": {"nbf": {"essential": true, "value": "1"}}}'
REJECTED = TokenRejectedError("the API refuses every token")
NO_TOKEN = TokenAcquisitionError("the server is down")
TOO_LATE = TokenWaitTimeoutError("no token in time")

RENEWED = "the API refused the token. It was renewed; the request is sent again."
NOT_REPEATABLE = (
    "the API refused the token. A renewal was started, but this request can't be sent again; "
    "its caller gets the refusal."
)
PAUSED = (
    "the API refused the token, as it did with others that had just been granted. "
    "None is requested for now; the caller gets the refusal."
)
UNCHANGED = "the API refused the token, and no other one was granted."


class Recorder:
    """The tokens of a provider and a refused response; records each step that the flow takes.

    :param fails: by step, the error that it raises.
    """

    provider_name = "api"
    timeout = 20.0

    def __init__(self, *, paused=False, resendable=True, kept=False, fails=()):
        self.paused = paused
        self.resendable = resendable
        self.kept = kept
        self.fails = dict(fails)
        self.steps = []

    def step(self, name, result=None):
        self.steps.append(name)
        if name in self.fails:
            raise self.fails[name]
        return result

    def would_reject(self, token):
        assert token == OLD
        return self.paused

    def renew(self, token, timeout, claims=None):
        assert (token, claims) == (OLD, CLAIMS)
        return self.step("start renewal" if timeout == 0 else f"renew, {timeout:g} s", NEW)

    def refusal(self):
        return Refusal(
            OLD,
            can_be_resent=lambda: self.step("rewind", self.resendable),
            release=None if self.kept else lambda: self.step("release"),
            close=lambda: self.step("close"),
            claims=CLAIMS,
        )

    def run(self):
        return run(unauthorized_flow(self, self.refusal()))


class AsyncRecorder(Recorder):
    """The same for an async client, whose tokens and response have coroutines."""

    async def renew(self, token, timeout, claims=None):
        await asyncio.sleep(0)
        return super().renew(token, timeout, claims)

    def refusal(self):
        async def release():
            await asyncio.sleep(0)
            return self.step("release")

        async def close():
            await asyncio.sleep(0)
            return self.step("close")

        can_be_resent = super().refusal().can_be_resent
        return Refusal(OLD, can_be_resent, None if self.kept else release, close, CLAIMS)

    def run(self):
        return asyncio.run(run_async(unauthorized_flow(self, self.refusal())))


both = pytest.mark.parametrize("recorder", [Recorder, AsyncRecorder], ids=["blocking", "async"])

RENEW = "renew, 20 s"

OUTCOMES = {
    "renewed": ({}, NEW, ["rewind", "release", RENEW], RENEWED),
    "renewed while the response is kept": ({"kept": True}, NEW, ["rewind", RENEW], RENEWED),
    "a body that can't be sent again": (
        {"resendable": False},
        None,
        ["rewind", "start renewal"],
        NOT_REPEATABLE,
    ),
    "no wait for the renewal": (
        {"resendable": False, "fails": {"start renewal": TOO_LATE}},
        None,
        ["rewind", "start renewal"],
        NOT_REPEATABLE,
    ),
    "an API that refuses every token": (
        {"paused": True, "fails": {"start renewal": REJECTED}},
        None,
        ["start renewal"],
        PAUSED,
    ),
    "the refused token is granted again": (
        {"fails": {RENEW: REJECTED}},
        OLD,
        ["rewind", "release", RENEW],
        UNCHANGED,
    ),
    "the refused token is granted again, and the response is kept": (
        {"kept": True, "fails": {RENEW: REJECTED}},
        None,
        ["rewind", RENEW],
        UNCHANGED,
    ),
}


@both
@pytest.mark.parametrize(
    ("given", "token", "steps", "message"), OUTCOMES.values(), ids=list(OUTCOMES)
)
def test_outcomes(recorder, given, token, steps, message, caplog):
    """The flow takes these steps, returns the token to send the request with, and logs why."""
    caplog.set_level(logging.DEBUG, "tokenkeeper.integrations")
    client = recorder(**given)
    assert client.run() == token
    assert client.steps == steps
    assert caplog.messages == [f"provider 'api': {message}"]


ERRORS = {
    "no new token": (
        {"fails": {RENEW: NO_TOKEN}},
        NO_TOKEN,
        ["rewind", "release", RENEW],
    ),
    "a refusal that breaks off": (
        {"fails": {"release": ConnectionResetError()}},
        ConnectionResetError,
        ["rewind", "release", "start renewal"],
    ),
    "a refusal that breaks off, and no new token": (
        {"fails": {"release": ConnectionResetError(), "start renewal": NO_TOKEN}},
        ConnectionResetError,
        ["rewind", "release", "start renewal"],
    ),
    "interrupted while the renewal starts": (
        {"resendable": False, "fails": {"start renewal": KeyboardInterrupt()}},
        KeyboardInterrupt,
        ["rewind", "start renewal", "close"],
    ),
    "interrupted while the response is released": (
        {"fails": {"release": KeyboardInterrupt()}},
        KeyboardInterrupt,
        ["rewind", "release"],
    ),
    "interrupted while the token is renewed": (
        {"fails": {RENEW: KeyboardInterrupt()}},
        KeyboardInterrupt,
        ["rewind", "release", RENEW],
    ),
}


@both
@pytest.mark.parametrize(("given", "error", "steps"), ERRORS.values(), ids=list(ERRORS))
def test_errors(recorder, given, error, steps):
    """An error reaches the caller after these steps; a response that no caller gets is closed."""
    client = recorder(**given)
    with pytest.raises(error if isinstance(error, type) else type(error)) as raised:
        client.run()
    assert raised.value is next(iter(client.fails.values()))
    assert client.steps == steps


def test_a_cancelled_task():
    """A task that is cancelled while the renewal starts closes the response."""

    class Waiting(AsyncRecorder):
        async def renew(self, token, timeout, claims=None):
            self.steps.append("start renewal")
            await asyncio.Event().wait()

    async def main():
        client = Waiting(resendable=False)
        task = asyncio.create_task(run_async(unauthorized_flow(client, client.refusal())))
        while "start renewal" not in client.steps:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return client.steps

    assert asyncio.run(main()) == ["rewind", "start renewal", "close"]


def test_the_header():
    """The header has the form of RFC 6750, can be read back, and compared with a token."""
    headers = {}
    set_token(headers, OLD)
    assert headers == {"Authorization": "Bearer old"}
    assert header_value(OLD) == "Bearer old"
    assert token_in(headers) == OLD
    assert carries(headers, OLD)
    assert not carries(headers, NEW)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic b2xk"}])
def test_a_header_without_a_token(headers):
    """Another scheme carries no token of ours."""
    assert token_in(headers) is None
    assert not carries(headers, OLD)
