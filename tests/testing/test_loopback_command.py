"""``python -m tokenkeeper.testing``: a server for the shell, as a process of its own."""

import os
import shlex
import signal
import subprocess
import sys

import pytest
import requests
import yaml

from tokenkeeper import TokenKeeper
from tokenkeeper.testing import LoopbackAuthorizationServer
from tokenkeeper.testing.__main__ import PORT, parser


@pytest.fixture
def serve(tmp_path):
    """Start the command, with its standard output in a file; return the process and the file."""
    started = []

    def serve(*arguments):
        file = tmp_path / "tokens.yaml"
        command = [sys.executable, "-W", "error", "-m", "tokenkeeper.testing", *arguments]
        with file.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process, file

    yield serve
    for process in started:
        process.kill()
        process.communicate()


def words_of(process):
    """Return the three lines that the command says once it serves, the last one as shell words."""
    lives, api, secret = (process.stderr.readline() for _ in range(3))
    return lives, api.split()[-1], shlex.split(secret)


def test_a_keeper_from_what_it_prints(serve, monkeypatch):
    """Its output is a configuration without a warning, whose tokens its API accepts."""
    process, file = serve("--port", "0", "--lifetime", "90")
    lives, api, secret = words_of(process)
    assert "valid for 90 s" in lives
    assert secret[-2] == "export"
    monkeypatch.setenv(*secret[-1].split("="))
    with TokenKeeper.from_config(file) as keeper:
        assert requests.get(api, auth=keeper.auth("billing"), timeout=10).ok
        info = keeper.get_cached_token_info("billing")
    assert info["scope"] == "read"
    assert 60 < info["remaining_seconds"] <= 90


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it(serve, number, code):
    """Ctrl-C and SIGTERM end it silently, with the exit code that shells expect."""
    process, file = serve("--port", "0")
    words_of(process)
    token_url = yaml.safe_load(file.read_text())["oauth2"]["token_url"]
    with requests.Session() as session:
        assert session.get(token_url, timeout=10).status_code == 405  # and the connection stays
        process.send_signal(number)
        assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == code


def test_a_port_that_is_taken(serve):
    """Where another listens it says so in one line, prints nothing, and ends with 1."""
    with LoopbackAuthorizationServer() as other:
        port = other.issuer.rpartition(":")[2]
        process, file = serve("--port", port)
        _, said = process.communicate(timeout=60)
    told = f"Port {port} is in use. Stop its program, or choose another with --port.\n"
    assert (process.returncode, said) == (1, told)
    assert file.read_text() == ""


def test_a_fixed_port_by_default():
    """Without options its port is one that a file can name, and its tokens live for an hour."""
    assert vars(parser().parse_args([])) == {"port": PORT, "lifetime": 3600}


@pytest.mark.parametrize(
    "option",
    ["--port=x", "--port=-1", "--port=65536", "--lifetime=x", "--lifetime=0", "--lifetime=nan"],
)
def test_options_that_make_no_sense(option, capsys):
    """A number that can't be is refused with the exit code 2, by its option's name."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([option])
    assert ended.value.code == 2
    name, _, value = option.partition("=")
    assert f"argument {name}: {value!r} is not a " in capsys.readouterr().err
