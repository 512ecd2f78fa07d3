"""A signal waits for a request with a refresh token that works once; a second one does not."""

import os
import signal
import sys

import pytest

from tokenkeeper.cli import endings


class Exited(BaseException):
    """The process has ended."""


class OneTime:
    """Stands in for what waits for requests."""

    def __init__(self, during=None):
        self.waits = 0
        self.during = during

    def finish_all(self):
        self.waits += 1
        if self.during is not None:
            self.during()


@pytest.fixture
def handle(monkeypatch):
    """Return the handler of signals, in a process that ends by an exception."""

    def exit_with(code):
        raise Exited(code)

    monkeypatch.setattr(os, "_exit", exit_with)
    monkeypatch.setattr(os, "isatty", lambda _: False)
    monkeypatch.setattr(endings, "_signals", [])
    return lambda: endings._handle(signal.SIGTERM, None)


def wait_with(monkeypatch, one_time):
    monkeypatch.setitem(sys.modules, "tokenkeeper._renewal.one_time", one_time)
    return one_time


def test_a_signal_waits(handle, monkeypatch):
    """The command ends after its requests are answered and stored."""
    one_time = wait_with(monkeypatch, OneTime())
    with pytest.raises(Exited, match="143"):
        handle()
    assert one_time.waits == 1


def test_a_second_signal_ends_the_wait(handle, monkeypatch):
    """A second signal ends the process at once."""
    one_time = wait_with(monkeypatch, OneTime(during=handle))
    with pytest.raises(Exited, match="143"):
        handle()
    assert one_time.waits == 1


def test_without_a_store(handle, monkeypatch):
    """Without a store there is nothing to wait for."""
    monkeypatch.delitem(sys.modules, "tokenkeeper._renewal.one_time", raising=False)
    with pytest.raises(Exited, match="143"):
        handle()


def test_a_signal_restores_the_terminal(handle):
    """What a command has changed of its terminal is put back before the process ends."""
    calls = []
    with endings.restored_at_end(lambda: calls.append("restored")):
        with pytest.raises(Exited, match="143"):
            handle()
        assert calls == ["restored"]
    assert calls == ["restored"] * 2
