"""``python -m tokenkeeper.testing``: a server for the shell in its own process."""

import os
import shlex
import signal
import subprocess
import sys

import jwt
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
            process = subprocess.Popen(
                command, cwd=tmp_path, stdout=output, stderr=subprocess.PIPE, text=True
            )
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
    options = parser().parse_args([])
    assert (options.port, options.lifetime) == (PORT, 3600)
    assert not any([options.jwt, options.tls, options.outage, options.refuse, options.control])


@pytest.mark.parametrize(
    "option",
    [
        *("--port=x", "--port=-1", "--port=65536"),
        *("--lifetime=x", "--lifetime=0", "--lifetime=nan"),
        *("--refuse=", "--refuse=:2", "--refuse=slow down", "--refuse=slow_down:0"),
        *("--refuse=slow_down:x", "--scope= ", "--scope=é"),
    ],
)
def test_options_that_make_no_sense(option, capsys):
    """An invalid value is refused with the exit code 2 and the option's name."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([option])
    assert ended.value.code == 2
    name, _, value = option.partition("=")
    assert f"argument {name}: {value!r} is not " in capsys.readouterr().err


def test_faults_from_the_start(serve, monkeypatch):
    """A server can begin with an outage, and refuse requests once that is over."""
    options = ["--outage", "503", "--refuse", "invalid_scope:2", "--control"]
    process, file = serve("--port", "0", *options)
    secret = read_messages(process)[2]
    monkeypatch.setenv(*secret[-1].split("="))
    token_url = yaml.safe_load(file.read_text())["oauth2"]["token_url"]
    assert requests.post(token_url, timeout=10).status_code == 503
    name, key = (file.parent / "loopback-control.txt").read_text().split()
    control = token_url.replace("/token", "/control/outage")
    headers = {name.rstrip(":"): key}
    assert requests.delete(control, headers=headers, timeout=10).json()["down"] is None
    answers = [requests.post(token_url, timeout=10).json()["error"] for _ in range(3)]
    assert answers == ["invalid_scope", "invalid_scope", "invalid_request"]


def test_https_from_the_shell(serve, monkeypatch):
    """With --tls, the configuration trusts the CA whose certificate the command wrote."""
    process, file = serve("--port", "0", "--tls", "ca $1.pem", "--jwt", "--scope", "a:b *")
    _, api, secret = read_messages(process)
    monkeypatch.setenv(*secret[-1].split("="))
    rest = [process.stderr.readline() for _ in range(3)]
    path = str(file.parent / "ca $1.pem")
    assert shlex.split(rest[0])[-1] == f"REQUESTS_CA_BUNDLE={path}"
    assert shlex.split(rest[1])[-2:] == ["--cacert", path]
    with TokenKeeper.from_config(file) as keeper, requests.Session() as session:
        session.verify = path
        assert session.get(api, auth=keeper.auth("billing"), timeout=10).ok
        claims = jwt.decode(keeper.get_token("billing"), options={"verify_signature": False})
        assert session.get(rest[2].split()[-1], timeout=10).json()["keys"]
    assert (claims["scope"], claims["aud"]) == ("a:b *", "loopback-api")


@pytest.mark.parametrize("option", ["--tls", "--control"])
def test_a_file_that_can_not_be_written(serve, option):
    """A file that can't be written is reported in one line, with the exit code 1."""
    process, _ = serve("--port", "0", f"{option}=no-such-directory/file")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == "Can't write no-such-directory/file: No such file or directory\n"


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes")
def test_the_key_is_private(serve, tmp_path):
    """The file with the control key is readable for its owner only, whatever it was before."""
    key = tmp_path / "key"
    key.touch(0o644)
    process, _ = serve("--port", "0", "--control", "key")
    read_messages(process)
    assert key.stat().st_mode & 0o777 == 0o600
