"""Forked children and Python programs that tests start."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest

import tokenkeeper
from kit.guards import GUARD_SECONDS

PROGRAM_SECONDS = 90.0
"""How long a program may take. Most of it are starts of Python, which share a busy machine."""

PACKAGE = str(Path(tokenkeeper.__file__).parent.parent)
"""Where the package under test is: a checkout, or the environment that a wheel is installed in."""

TESTS = str(Path(__file__).parent.parent)

PATH = os.pathsep.join([PACKAGE, TESTS])
"""The PYTHONPATH of programs that import the package under test, and this kit."""


def exit_code_of(child):
    """Fork, call *child* in the child process, and return its exit code.

    A child that hangs is killed, which the exit code shows.
    """
    pid = os.fork()
    if pid == 0:
        gc.disable()  # garbage of an earlier test's gRPC would crash it
        code = 70
        try:
            code = child()
        finally:
            os._exit(code)
    ended = []
    reaper = threading.Thread(target=lambda: ended.append(os.waitpid(pid, 0)[1]))
    reaper.start()
    reaper.join(GUARD_SECONDS)
    if reaper.is_alive():
        os.kill(pid, signal.SIGKILL)
        reaper.join()
    return os.waitstatus_to_exitcode(ended[0])


class Child:
    """A forked child that does a job and reports what it returned through a pipe."""

    def __init__(self, job):
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            gc.disable()  # as above
            self._live(job, writer)
        os.close(writer)
        self._reader = reader

    @staticmethod
    def _live(job, writer):
        code = 70
        try:
            # A child that hangs is killed by the system, whatever state its threads are in.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(GUARD_SECONDS))
            try:
                report = [True, job()]
            except Exception:  # noqa: BLE001 - whatever it is, it is reported
                report = [False, traceback.format_exc()]
            os.write(writer, json.dumps(report).encode() + b"\n")
            code = 0
        finally:
            os._exit(code)

    def result(self):
        """Return what the job returned; a child that hung, crashed or raised is a failure."""
        with os.fdopen(self._reader, "rb") as pipe:
            line = pipe.readline()  # not read(): later children hold the other end as well
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert code == 0, f"the child ended with {code}"
        worked, what = json.loads(line)
        assert worked, what
        return what


class Script:
    """A Python program in a process of its own."""

    def __init__(self, path, text, *options):
        path.write_text(text, encoding="utf-8")
        # The package under test, wherever it is, and not the one in the working directory.
        environment = {**os.environ, "PYTHONPATH": PATH, "PYTHONFAULTHANDLER": "1"}
        self._process = subprocess.Popen(
            [sys.executable, *options, str(path)],
            cwd=path.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self):
        """Return exit code, output and errors; a program that hangs is a failure."""
        try:
            output, errors = self._process.communicate(timeout=PROGRAM_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # shows where its threads are
            output, errors = self._process.communicate()
            pytest.fail(f"the program hangs\n{output}\n{errors}")
        return self._process.returncode, output, errors
