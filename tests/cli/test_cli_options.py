"""Options that commands share: the file and the cache, before or after the command."""

import json

import pytest
from click.shell_completion import ShellComplete

from tokenkeeper.cli.group import cli


@pytest.fixture
def other(tmp_path, server):
    """Return another file, with another provider of the same server."""
    file = tmp_path / "other.yaml"
    file.write_text(
        "oauth2: {provider_name: other, provider_type: generic, client_secret: '${BILLING_SECRET}',"
        f" client_id: '{server.client_id}', token_url: '{server.token_url}'}}\n"
    )
    return str(file)


@pytest.mark.parametrize(
    "command",
    [("get", "other"), ("list",), ("status",), ("doctor",), ("watch", "--seconds", "0.1")],
    ids=lambda command: command[0],
)
def test_a_file_named_after_the_command(tokenkeeper, other, command):
    """A file after the command overrides all others."""
    result = tokenkeeper(*command, "--config", other, "--json")
    assert result.exit_code == 0, result.output
    assert "billing" not in result.output


def test_the_last_one_counts(tokenkeeper, other, config):
    """Of two files, the one after the command is used."""
    assert tokenkeeper("--config", str(config), "list", "--config", other).stdout == (
        "other  generic\n"
    )


def test_a_cache_named_after_the_command(tokenkeeper, cache, tmp_path):
    """A cache after the command is used too, together with a file before it."""
    elsewhere = str(tmp_path / "elsewhere")
    assert tokenkeeper("get", "billing", "--cache", elsewhere).exit_code == 0
    assert not list(cache.iterdir())
    output = tokenkeeper("--cache", elsewhere, "status", "--json", "billing").stdout
    assert json.loads(output)[0]["state"] == "fresh"
    assert tokenkeeper("clear", "--cache", elsewhere).stderr == "1 token deleted.\n"


def test_the_file_to_check(tokenkeeper, environment, other, config):
    """Without FILE, `config check` checks the current file, and needs one."""
    assert "other" in tokenkeeper("config", "check", "--config", other).stderr
    assert "other" in tokenkeeper("--config", other, "config", "check").stderr
    assert "billing" in tokenkeeper("config", "check").stderr
    environment.delenv("TOKENKEEPER_CONFIG")
    result = tokenkeeper("config", "check")
    assert result.exit_code == 2
    assert "no file to check" in result.stderr


@pytest.mark.parametrize(
    "typed",
    [
        ["--config", "FILE", "get"],
        ["get", "--config", "FILE"],
        ["--config", "BOTH", "status", "--config", "FILE"],
        ["doctor", "--json", "--config=FILE"],
    ],
)
def test_names_are_completed_from_the_file_that_was_typed(environment, other, config, typed):
    """Names are completed from the file on the command line, wherever the option is."""
    complete = ShellComplete(cli, {}, "tokenkeeper", "_TOKENKEEPER_COMPLETE")
    words = [word.replace("FILE", other).replace("BOTH", str(config)) for word in typed]
    assert [each.value for each in complete.get_completions(words, "o")] == ["other"]


@pytest.mark.parametrize(
    "command",
    [
        ("get", "billing", "--timeout"),
        ("status", "--fetch", "--timeout"),
        ("watch", "--seconds"),
        ("doctor", "--timeout"),
        ("demo", "--seconds"),
        ("demo", "--lifetime"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("seconds", ["nan", "-1", "soon"])
def test_seconds_that_are_none(tokenkeeper, command, seconds):
    """An invalid number of seconds is rejected before anything is done."""
    result = tokenkeeper(*command, seconds)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Invalid value for" in result.stderr
