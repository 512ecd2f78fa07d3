"""``python -m tokenkeeper.testing``: a server for the shell in its own process."""

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
    """Return a function that starts the command, with its standard output in a file."""
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


def read_messages(process):
    """Return the three lines that the command prints first, the last one as shell words."""
    lifetime, api, secret = (process.stderr.readline() for _ in range(3))
    return lifetime, api.split()[-1], shlex.split(secret)


def test_a_keeper_from_what_it_prints(serve, monkeypatch):
    """The output is a configuration without a warning, and the API accepts its tokens."""
    process, file = serve("--port", "0", "--lifetime", "90")
    lifetime, api, secret = read_messages(process)
    assert "valid for 90 s" in lifetime
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
    """Ctrl-C and SIGTERM stop it silently with the usual exit code, even with open connections."""
    process, file = serve("--port", "0")
    read_messages(process)
    token_url = yaml.safe_load(file.read_text())["oauth2"]["token_url"]
    with requests.Session() as session:
        assert session.get(token_url, timeout=10).status_code == 405  # the connection stays open
        process.send_signal(number)
        assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == code


def test_a_port_that_is_taken(serve):
    """A port in use is reported in one line on standard error, with the exit code 1."""
    with LoopbackAuthorizationServer() as other:
        port = other.issuer.rpartition(":")[2]
        process, file = serve("--port", port)
        _, errors = process.communicate(timeout=60)
    expected = f"Port {port} is in use. Stop its program, or choose another with --port.\n"
    assert (process.returncode, errors) == (1, expected)
    assert file.read_text() == ""


def test_a_fixed_port_by_default():
    """By default the port is fixed, for use in a file, and tokens are valid for an hour."""
    assert vars(parser().parse_args([])) == {"port": PORT, "lifetime": 3600}


@pytest.mark.parametrize(
    "option",
    ["--port=x", "--port=-1", "--port=65536", "--lifetime=x", "--lifetime=0", "--lifetime=nan"],
)
def test_options_that_make_no_sense(option, capsys):
    """An invalid number is refused with the exit code 2 and the option's name."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([option])
    assert ended.value.code == 2
    name, _, value = option.partition("=")
    assert f"argument {name}: {value!r} is not a " in capsys.readouterr().err
