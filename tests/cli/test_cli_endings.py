"""Processes of the command as a shell runs them: pipes, terminals and Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and terminals"),
]

SECONDS = "2.5"
"""How long ``watch`` runs: five looks, so that it sees its token although the machine stalls."""

CURSOR_SHOWN, CURSOR_HIDDEN = b"\x1b[?25h", b"\x1b[?25l"


@pytest.fixture
def terminal(start, environment):
    """Start the command on its own terminal; return the process and the other end."""
    ends = []

    def run(*arguments, kind="xterm"):
        environment.setenv("TERM", kind)
        environment.delenv("NO_COLOR", raising=False)
        ours, theirs = os.openpty()
        ends.append(ours)
        process = start(*arguments, stdout=theirs)
        os.close(theirs)
        return process, ours

    yield run
    for end in ends:
        os.close(end)


def shown(end, until=None):
    """Read the output of a terminal until it closes, or until it contains *until*."""
    seen = b""
    while until is None or until not in seen:
        try:
            piece = os.read(end, 65536)
        except OSError:  # what Linux says at the end
            break
        if not piece:
            break
        seen += piece
    return seen


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "billing"),
        ("list",),
        ("status", "--fetch", "billing"),
        ("clear", "--json"),
        ("watch", "--json", "--seconds", "30"),
        ("completion", "fish"),
        ("--help",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_nobody_reads(start, arguments):
    """A closed pipe ends the command at its first line, without a message."""
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*arguments, stdout=writer)
    os.close(writer)
    _, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (1, "")


def test_nobody_reads_any_more(start, server):
    """`watch | head -1` ends with the next event."""
    server.lifetime_seconds = 2
    process = start("watch", "--json", "billing")
    assert "TokenAcquired" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr.read() == ""


@pytest.mark.parametrize("arguments", [("get", "billing"), ("status", "--fetch")])
def test_ctrl_c_at_a_server_that_hangs(start, server, arguments):
    """Ctrl-C ends the wait with the usual exit code and without a message."""
    with server.outage("stall"):
        process = start(*arguments)
        while server.stats().token_requests == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        # Within the outage: what still waited for the server would not end.
        assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 130


def test_watch_on_a_terminal(terminal):
    """`watch` shows a table on a terminal, and the cursor is visible at the end."""
    process, end = terminal("watch", "--seconds", SECONDS, "billing")
    seen = shown(end)
    assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == 0
    assert b"billing" in seen
    assert b"fresh" in seen
    assert seen.rfind(CURSOR_SHOWN) > seen.rfind(CURSOR_HIDDEN) >= 0


def test_ctrl_c_on_a_terminal(terminal):
    """Ctrl-C leaves the table and a visible cursor, and nothing else."""
    process, end = terminal("watch", "billing")
    shown(end, until=b"fresh")
    process.send_signal(signal.SIGINT)
    rest = shown(end)
    assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == 130
    assert CURSOR_SHOWN in rest
    assert b"Traceback" not in rest
    assert b"Aborted" not in rest


FRAMES = """
import os, threading, time
from tokenkeeper.cli.endings import exit_on_signals

def write_frames():
    while True:
        os.write(1, bytes(60_000))
        time.sleep(0.001)

exit_on_signals()
threading.Thread(target=write_frames, daemon=True).start()
threading.Event().wait()
"""


def test_ctrl_c_while_a_frame_is_written():
    """A frame that another thread is writing does not keep the cursor hidden."""
    ours, theirs = os.openpty()
    process = subprocess.Popen([sys.executable, "-c", FRAMES], stdout=theirs)
    os.close(theirs)
    shown(ours, until=bytes(1000))
    process.send_signal(signal.SIGINT)
    rest = shown(ours)
    os.close(ours)
    assert process.wait(timeout=60) == 130
    assert CURSOR_SHOWN in rest


def test_ctrl_c_at_the_doctor(terminal, server):
    """The doctor shows the current step on a terminal, and Ctrl-C leaves a visible cursor."""
    with server.outage("stall"):
        process, end = terminal("doctor", "billing", "--timeout", "60")
        shown(end, until=b"token request ...")
        process.send_signal(signal.SIGINT)
        rest = shown(end)
        assert process.communicate(timeout=20) == (None, "")
    assert process.returncode == 130
    assert CURSOR_SHOWN in rest


@pytest.mark.parametrize(
    ("arguments", "until"),
    [(("watch", "billing"), b"fresh"), (("demo", "--threads", "1", "--tasks", "1"), b"calls")],
    ids=["watch", "demo"],
)
def test_a_kill_on_a_terminal(terminal, arguments, until):
    """SIGTERM leaves a visible cursor and no message."""
    process, end = terminal(*arguments)
    shown(end, until=until)
    process.terminate()
    rest = shown(end)
    assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == 143
    assert CURSOR_SHOWN in rest
    assert b"Traceback" not in rest


SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}

SIGNALLED = """
import atexit, signal, sys
from tokenkeeper import __main__
from tokenkeeper.cli import group

class Lost:
    def __del__(self):
        signalled()

def signalled():
    signal.raise_signal(signal.NAME)
    for _ in range(1000):  # where a signal that came is seen
        pass

def command(**_):
    WHERE
    print("went on")

group.cli = command
__main__.main()
"""


@pytest.mark.parametrize(
    "where",
    [
        "signalled()",
        "Lost()",
        "sorted([1, 2], key=lambda _: signalled() or 1)",
        "atexit.register(signalled); sys.exit(0)",
    ],
    ids=["a command", "an exception is lost", "a callback", "the end of the interpreter"],
)
@pytest.mark.parametrize(("name", "code"), SIGNALS.items())
def test_signals(name, code, where):
    """A signal ends the command silently wherever it arrives, even where exceptions are lost."""
    program = SIGNALLED.replace("NAME", name).replace("WHERE", where)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize("name", SIGNALS)
def test_an_ignored_signal(name):
    """A signal that nohup or a shell ignores stays ignored."""
    program = SIGNALLED.replace("NAME", name).replace("WHERE", "signalled()")
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.Signals[name], signal.SIG_IGN),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")


@pytest.mark.parametrize("kind", ["dumb", "xterm"])
def test_ctrl_c_on_an_odd_terminal(terminal, server, kind):
    """A terminal that can't hide its cursor receives no code to show it."""
    with server.outage("stall"):
        process, end = terminal("get", "billing", kind=kind)
        while server.stats().token_requests == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert (CURSOR_SHOWN in shown(end)) is (kind == "xterm")
    assert process.wait(timeout=60) == 130


def test_a_kill_on_a_halted_terminal(terminal):
    """A terminal that was stopped with Ctrl-S does not prevent the exit."""
    process, end = terminal("watch", "billing")
    shown(end, until=b"fresh")
    os.write(end, b"\x13")
    process.terminate()
    assert process.wait(timeout=60) == 143


def test_a_kill_at_a_server_that_hangs(start, server):
    """SIGTERM ends a wait at once."""
    with server.outage("stall"):
        process = start("get", "billing")
        while server.stats().token_requests == 0:
            assert process.poll() is None
        process.terminate()
        assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 143


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", [("get", "billing"), ("status",), ("doctor", "billing")])
def test_a_full_disk(start, arguments):
    """Output that can't be written is a one-line error, with exit code 1."""
    with open("/dev/full", "w") as full:
        process = start(*arguments, stdout=full)
        _, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (1, "Error: [Errno 28] No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", [("config", "check"), ("get", "nobody"), ("clear",)])
def test_words_on_a_full_disk(start, environment, arguments):
    """Messages that can't be written are an error as well."""
    environment.delenv("PYTHONUNBUFFERED", raising=False)
    with open("/dev/full", "w") as full:
        process = start(*arguments, stderr=full)
        printed, _ = process.communicate(timeout=100)
    assert (process.returncode, printed) == (1, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "billing"),
        ("status",),
        ("doctor", "billing"),
        ("watch", "--seconds", "0.1"),
        ("demo", "--seconds", "1.5", "--lifetime", "1", "--threads", "1", "--tasks", "1"),
    ],
)
def test_no_standard_output_at_all(environment, arguments):
    """With standard output closed, the command does its work silently."""
    command = [sys.executable, "-m", "tokenkeeper", *arguments]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [("list",), ("status",), ("doctor",)])
def test_letters_that_the_locale_has_not(start, environment, config, arguments):
    """A name that the locale can't encode is escaped, without a failure."""
    config.write_text(config.read_text().replace("wrong", "日本"), encoding="utf-8")
    environment.setenv("PYTHONIOENCODING", "latin-1")
    process = start(*arguments)
    printed, errors = process.communicate(timeout=100)
    assert "Traceback" not in errors
    assert r"\u65e5\u672c" in printed


def test_watch_on_a_dumb_terminal(terminal):
    """A terminal without cursor movement gets lines."""
    process, end = terminal("watch", "--seconds", SECONDS, "billing", kind="dumb")
    seen = shown(end)
    assert process.wait(timeout=60) == 0
    assert b"TokenAcquired provider_name=billing" in seen
    assert b"\x1b" not in seen


def test_colours_in_a_pipe(start, environment):
    """With forced colors, a log gets lines without cursor movements."""
    environment.setenv("FORCE_COLOR", "1")
    process = start("watch", "--seconds", SECONDS, "billing")
    lines, _ = process.communicate(timeout=100)
    assert "TokenAcquired provider_name=billing" in lines
    assert "\x1b[?25" not in lines
    process = start("doctor", "billing")
    lines, _ = process.communicate(timeout=100)
    assert "\x1b[32m" in lines
    assert "\x1b[?25" not in lines
