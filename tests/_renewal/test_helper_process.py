"""How a helper process is started, and its pipes."""

import json
import os
import subprocess
import sys
import sysconfig

import pytest

from tokenkeeper import InvalidConfigurationError
from tokenkeeper._renewal import helper_process
from tokenkeeper._renewal.helper_process import HelperProcess, interpreter
from tokenkeeper.clock import SYSTEM_CLOCK


class Popen:
    """Stands in for a process; the test has the other ends of its pipes."""

    def __init__(self, command, **options):
        self.command, self.options = command, options
        reader, writer = os.pipe()
        self.stdin, self.reader = os.fdopen(writer, "wb", buffering=0), reader
        reader, writer = os.pipe()
        self.stdout, self.writer = os.fdopen(reader, "rb", buffering=0), writer
        self.waits = []

    def wait(self, timeout):
        self.waits.append(timeout)
        raise subprocess.TimeoutExpired("python", timeout)


@pytest.fixture
def started(monkeypatch):
    """Return the stand-ins that were started."""
    found = []

    def start(*args, **options):
        found.append(Popen(*args, **options))
        return found[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    yield found
    for each in found:
        for end in (each.reader, each.writer):
            os.close(end)


def soon():
    return SYSTEM_CLOCK.monotonic() + 20


def test_what_a_helper_gets(started, monkeypatch):
    """A helper has a session of its own, the module search path, and its job; no secret is visible.

    The job is on its standard input, not among its arguments or in its environment.
    """
    monkeypatch.setattr(sys, "path", ["", "/somewhere"])
    helper = HelperProcess(b"a secret job")
    helper.hand_over()
    (process,) = started
    line, job = os.read(process.reader, 4096).split(b"\n")
    assert json.loads(line) == [os.getcwd(), "/somewhere"]
    assert job == b"a secret job"
    assert "secret" not in str(process.command)
    assert process.options["start_new_session"]
    assert "env" not in process.options
    helper.close()


def test_what_a_helper_answers(started, monkeypatch):
    """Answers are read in the lengths that are asked for, whatever arrives at once."""
    helper = HelperProcess(b"")
    os.write(started[0].writer, b"abcdef")
    assert [helper.read(1, soon()), helper.read(5, soon())] == [b"a", b"bcdef"]
    assert helper.read(1, SYSTEM_CLOCK.monotonic() - 1) == b""
    monkeypatch.setattr(helper_process, "_POLL_MILLISECONDS", 1)
    assert helper.read(1, SYSTEM_CLOCK.monotonic() + 0.01) == b""
    helper.close()
    assert started[0].waits == [helper_process.CLOSE_SECONDS]


def test_a_helper_that_ended(started):
    """The end of a helper is noticed at once."""
    helper = HelperProcess(b"")
    os.write(started[0].writer, b"ab")
    os.close(started[0].writer)
    assert helper.read(9, soon()) == b"ab"
    started[0].writer = os.dup(started[0].reader)
    helper.close()


def test_the_interpreter():
    """It is the one that runs this program."""
    assert interpreter() == sys.executable


def test_an_embedded_interpreter(monkeypatch):
    """Where Python is embedded, as in uWSGI, it is the one of the same environment."""
    monkeypatch.setattr(sys, "executable", "/usr/sbin/uwsgi")
    assert interpreter().startswith(os.path.join(sysconfig.get_path("scripts"), "python"))


def test_no_interpreter(monkeypatch, tmp_path):
    """A program without an interpreter, such as a frozen one, has to do without helpers."""
    monkeypatch.setattr(sys, "executable", "")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(InvalidConfigurationError, match="there is no Python interpreter in"):
        interpreter()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(InvalidConfigurationError, match="no Python interpreter of its own"):
        interpreter()
