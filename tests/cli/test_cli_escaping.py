"""Names, keys and paths with control characters are escaped on terminals and in logs."""

import json
import logging
import os
import re

import pytest

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError, TokenKeeper
from tokenkeeper._support.escaping import escaped, escaped_lines
from tokenkeeper.testing import MockProvider

UNRULY = {
    "an escape sequence": "\x1b[31mred",
    "a title": "\x1b]0;title\x07",
    "C1": "\x9b31m",
    "a line end": "a\nError: forged",
    "a carriage return": "safe\rforged",
    "a backspace": "safe\b\b\b\bforged",
    "DEL": "a\x7f",
    "a line separator": "a\u2028b",
    "right to left": "\u202egnorw",
    "an isolate": "\u2066a\u2069",
    "zero width": "a\u200bb",
    "a byte order mark": "\ufeffa",
    "a soft hyphen": "a\u00adb",
    "a tag": "a\U000e0041b",
    "a byte that is not UTF-8": "a\udcffb",
    "a private character": "\ue000",
}

ALL = " ".join(UNRULY.values())

# What a terminal acts on, or does not show. A line end is ours where a line ends.
RAW = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ue000\ufeff"
    r"\U000e0000-\U000e007f]"
)

FILE = """\
oauth2:
  - provider_name: {name}
    provider_type: generic
    client_id: worker
    client_secret: ${{BILLING_SECRET}}
    token_url: {url}
    {key}: 1
"""

COMMANDS = [
    ("list",),
    ("list", "--json"),
    ("status",),
    ("status", "--json"),
    ("status", "--fetch"),
    ("status", "nobody"),
    ("watch", "--seconds", "0"),
    ("watch", "--seconds", "0", "--json"),
    ("doctor",),
    ("doctor", "--json"),
    ("doctor", "nobody"),
    ("config", "check"),
    ("config", "check", "--json"),
    ("get", "nobody"),
    ("clear",),
    ("clear", "nobody"),
]


def shown(result):
    """Return the output of a command, which must be safe for a terminal."""
    for text in (result.stdout, result.stderr):
        assert not RAW.search(text), repr(RAW.search(text))
        assert not re.search("^(Error: )?forged", text, re.MULTILINE)
    return result.stdout + result.stderr


def test_escaped():
    """An invisible character is shown by its escape, and a letter unchanged."""
    assert escaped("a\x1b[31m\nb") == r"a\x1b[31m\nb"
    assert escaped("\u202e\ue000\udc80") == r"\u202e\ue000\udc80"
    assert escaped("日本 é ß 'quoted' \\") == "日本 é ß 'quoted' \\"
    assert escaped_lines("a\nb\r\x1b") == "a\nb\\r\\x1b"


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_names_and_keys(tokenkeeper, config, server, arguments):
    """No command prints a control character of a provider's name or a key."""
    shy = "a\u200bb\u202ec"  # which a name may have
    for name, key in ((ALL, "scope"), ("fine", ALL), (shy, "total_timeout")):
        config.write_text(
            FILE.format(name=json.dumps(name), key=json.dumps(key), url=server.token_url)
        )
        result = tokenkeeper(*arguments)
        assert not isinstance(result.exception, Exception)
        shown(result)


@pytest.mark.parametrize(
    "arguments", [each for each in COMMANDS if "--json" not in each], ids=" ".join
)
def test_paths(tokenkeeper, config, environment, tmp_path, arguments):
    """Nor one of a file's name."""
    strange = tmp_path / ALL
    strange.mkdir()
    file = strange / f"{ALL}.yaml"
    file.write_text("oauth2: {a: 1}")
    environment.setenv("TOKENKEEPER_CONFIG", str(file))
    shown(tokenkeeper(*arguments))
    file.chmod(0o666)
    assert "chmod o-w" in shown(tokenkeeper("config", "check"))
    environment.setenv("TOKENKEEPER_CACHE_DIR", str(strange))
    strange.chmod(0o755)
    shown(tokenkeeper(*arguments))
    file.unlink()
    shown(tokenkeeper(*arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "TEXT"),
        ("clear", "TEXT"),
        ("doctor", "TEXT"),
        ("status", "TEXT"),
        ("watch", "TEXT"),
        ("TEXT",),
        ("list", "TEXT"),
        ("--TEXT",),
        ("get", "--TEXT"),
        ("--config", "TEXT", "list"),
        ("list", "--config", "TEXT"),
        ("config", "check", "TEXT"),
        ("config", "TEXT"),
        ("completion", "TEXT"),
        ("get", "billing", "--format", "TEXT"),
        ("get", "billing", "--format", "env", "--variable", "TEXT"),
        ("get", "billing", "--timeout", "TEXT"),
        ("demo", "--seconds", "TEXT"),
    ],
    ids=" ".join,
)
def test_arguments(tokenkeeper, arguments):
    """Nor one of an argument, also in click's messages."""
    result = tokenkeeper(*(each.replace("TEXT", ALL) for each in arguments))
    assert result.exit_code == 2
    shown(result)


@pytest.mark.parametrize("text", UNRULY.values(), ids=UNRULY)
def test_errors_and_logs(write_file, caplog, text):
    """Error messages and log records are single lines, whatever keys and errors contain."""
    path = write_file(f"oauth2:\n  {json.dumps(text)}: 1\n")
    with pytest.raises(InvalidConfigurationError) as raised:
        TokenKeeper.from_config(path)
    assert not any(RAW.search(each) or "\n" in each for each in raised.value.problems)
    assert not RAW.search(str(raised.value))
    caplog.set_level(logging.INFO, "tokenkeeper")
    provider = MockProvider("api", script=[TokenAcquisitionError(f"refused: {text}")])
    with TokenKeeper() as keeper:
        keeper.add_provider(provider)
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
    lines = [record.getMessage() for record in caplog.records]
    assert lines
    assert not any(RAW.search(line) or "\n" in line for line in lines)


@pytest.fixture
def write_file(tmp_path):
    """Write a configuration file."""

    def write_file(text):
        path = tmp_path / "tokens.yaml"
        path.write_text(text)
        return path

    return write_file


@pytest.mark.skipif(os.name != "posix", reason="this platform does not allow such file names")
def test_a_name_that_is_not_text(tokenkeeper, tmp_path):
    """A path with undecodable bytes is shown with these escaped."""
    path = os.fsencode(tmp_path) + b"/\xff.yaml"
    with open(path, "wb") as file:
        file.write(b"oauth2: {a: 1}")
    result = tokenkeeper("config", "check", os.fsdecode(path))
    assert result.exit_code == 2
    assert r"\udcff.yaml" in result.stderr
