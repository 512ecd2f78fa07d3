"""A gRPC call that is made again, when something other than the call fails."""

import logging
import threading

import grpc
import pytest
from kit.guards import GUARD_SECONDS

from tokenkeeper.integrations._grpc_future import RenewingFuture


class Refused:
    """A call that has ended with a refusal."""

    def code(self):
        return grpc.StatusCode.UNAUTHENTICATED

    def add_done_callback(self, callback):
        callback(self)


class Fine(Refused):
    """A call that has succeeded."""

    def code(self):
        return grpc.StatusCode.OK

    def result(self):
        return "answer"


def fail(*_):
    raise ZeroDivisionError


@pytest.mark.parametrize("broken", ["handle_refusal", "call_again"])
def test_an_error_of_our_own(broken):
    """An error between the attempts ends the call with its refusal: no caller waits forever."""
    parts = {"handle_refusal": lambda: True, "call_again": Fine} | {broken: fail}
    call = RenewingFuture(Refused(), **parts)
    assert call._ended_call(GUARD_SECONDS).code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_callback_that_raises(caplog):
    """The exception is logged, as in gRPC, and the other callbacks are called."""
    caplog.set_level(logging.ERROR)
    go_on, called = threading.Event(), threading.Event()

    def handle_refusal():
        return go_on.wait(GUARD_SECONDS)

    call = RenewingFuture(Refused(), handle_refusal, Fine)
    call.add_done_callback(fail)
    call.add_done_callback(lambda _: called.set())
    go_on.set()
    assert called.wait(GUARD_SECONDS)
    assert call.result(GUARD_SECONDS) == "answer"
    assert "ZeroDivisionError" in caplog.text
