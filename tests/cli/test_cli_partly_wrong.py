"""A file in which one provider can't be made: the others are served, and the mistake is told."""

import json

import pytest
from click.shell_completion import ShellComplete

from tokenkeeper.cli.group import cli
from tokenkeeper.cli.source import Source
from tokenkeeper.config import document
from tokenkeeper.exceptions import ConfigurationWarning

UNSET = "needs the environment variable UNSET_SECRET, which is not set"

LAME = """\
  - provider_name: lame
    provider_type: generic
    client_id: an-id
    client_secret: ${{UNSET_SECRET}}
    token_url: {server.token_url}
"""


@pytest.fixture
def partly_wrong(environment, config, server):
    """Add a provider to the file, a variable of which is not set on this machine."""
    environment.delenv("UNSET_SECRET", raising=False)
    config.write_text(config.read_text() + LAME.format(server=server))
    return config


@pytest.mark.parametrize(
    "command",
    [
        ("get", "billing"),
        ("status", "billing"),
        ("doctor", "billing"),
        ("clear", "billing"),
        ("watch", "--seconds", "0.1", "billing"),
    ],
    ids=lambda command: command[0],
)
def test_another_one_is_named(partly_wrong, tokenkeeper, command):
    """What one provider lacks is nothing to who asks for another by name."""
    result = tokenkeeper(*command)
    assert result.exit_code == 0
    assert "UNSET_SECRET" not in result.output


@pytest.mark.parametrize("command", ["get", "status", "clear", "watch"])
def test_it_is_named_itself(partly_wrong, tokenkeeper, command):
    """Who asks for it is told its mistake, and nobody else's."""
    partly_wrong.write_text(partly_wrong.read_text() + "  - nonsense\n")
    result = tokenkeeper(command, "lame")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: tokens.yaml, line 16: oauth2[2].client_secret {UNSET}\n"


@pytest.mark.parametrize("command", ["list", "status"])
def test_all_are_asked_for(partly_wrong, tokenkeeper, command):
    """Those that can be made are on standard output, the mistake beside it, and the code is 2."""
    result = tokenkeeper(command, "--json")
    assert result.exit_code == 2
    names = [each["provider_name"] for each in json.loads(result.stdout)]
    assert names == ["billing", "wrong"]
    assert result.stderr == tokenkeeper("get", "lame").stderr
    assert "billing" in tokenkeeper(command).stdout


def test_watch(partly_wrong, tokenkeeper, server):
    """The others are watched, after a word on this one; a file without any other ends at once."""
    result = tokenkeeper("watch", "--json", "--seconds", "0.6")
    assert result.exit_code == 2
    assert "TokenAcquired" in result.stdout
    assert UNSET in result.stderr
    partly_wrong.write_text("oauth2:\n" + LAME.format(server=server))
    result = tokenkeeper("watch")
    assert (result.exit_code, result.stdout) == (2, "")
    assert UNSET in result.stderr


def test_a_name_that_is_taken(partly_wrong, tokenkeeper):
    """Of two providers with one name nobody knows which is meant, so neither is used."""
    text = partly_wrong.read_text().replace("provider_name: lame", "provider_name: billing")
    partly_wrong.write_text(text.replace("UNSET_SECRET", "BILLING_SECRET"))
    result = tokenkeeper("get", "billing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "duplicate provider_name 'billing'" in result.stderr
    assert tokenkeeper("list").stdout == "wrong  generic\n"


def test_an_unknown_name(partly_wrong, tokenkeeper):
    """It is among the names that there are."""
    assert "It has billing, wrong, lame" in tokenkeeper("get", "biling").stderr


def test_config_check(partly_wrong, tokenkeeper):
    """A check is of the whole file."""
    result = tokenkeeper("config", "check")
    assert (result.exit_code, result.stdout) == (2, "")
    assert UNSET in result.stderr


def test_doctor(partly_wrong, tokenkeeper):
    """The doctor looks at the others, and says of this one what is there and what is not."""
    partly_wrong.write_text(partly_wrong.read_text().replace("an-id", "${BILLING_SECRET}"))
    told = json.loads(tokenkeeper("doctor", "--json").stdout)
    assert [each["exit_code"] for each in told["providers"]] == [0, 17, 2]
    lame = told["providers"][2]
    assert (lame["provider"], lame["type"]) == ("lame", None)
    said = {each["text"]: each["status"] for each in lame["steps"][0]["findings"]}
    assert said == {
        f"tokens.yaml, line 16: oauth2[2].client_secret {UNSET}": "failed",
        "BILLING_SECRET is set": "ok",
    }
    assert tokenkeeper("doctor", "lame").exit_code == 2


def test_completion(partly_wrong, environment):
    """A shell completes its name too, so that `doctor` can be asked."""
    complete = ShellComplete(cli, {}, "tokenkeeper", "_TOKENKEEPER_COMPLETE")
    assert [each.value for each in complete.get_completions(["doctor"], "l")] == ["lame"]


def test_a_file_that_is_no_yaml(partly_wrong, tokenkeeper):
    """What is wrong with the whole file is everybody's mistake."""
    partly_wrong.write_text(partly_wrong.read_text() + "  - [")
    result = tokenkeeper("get", "billing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not YAML" in result.stderr
    assert "is not YAML" in tokenkeeper("doctor", "billing").stdout


@pytest.mark.parametrize("command", ["list", "status", "doctor"])
def test_one_reading(partly_wrong, tokenkeeper, environment, command):
    """The file is read once, so that all of what is told is of one and the same file."""
    readings = []
    read_file = document.read_file

    def read(path):
        readings.append(path)
        return read_file(path)

    environment.setattr(document, "read_file", read)
    tokenkeeper(command)
    assert readings == [partly_wrong]


def test_a_rotated_secret(partly_wrong, environment, server):
    """A refusal has the file read again, for those of its providers that can be made."""
    billing = Source().select().providers[0]
    server.add_client(server.client_id, "rotated")
    environment.setenv("BILLING_SECRET", "rotated")
    assert billing.acquire_token().access_token
    partly_wrong.write_text(partly_wrong.read_text().replace("${BILLING_SECRET}", "again"))
    server.add_client(server.client_id, "again")
    with pytest.warns(ConfigurationWarning, match="written in clear"):
        assert billing.acquire_token().access_token


def test_a_warning(partly_wrong, tokenkeeper):
    """Warnings about the others are shown beside the mistake, also by the doctor."""
    partly_wrong.write_text(partly_wrong.read_text().replace("${BILLING_SECRET}", "clear"))
    assert "written in clear" in tokenkeeper("list").stderr
    assert (
        "written in clear"
        in json.loads(tokenkeeper("config", "check", "--json").stdout)["warnings"][0]
    )
    assert "written in clear" in tokenkeeper("doctor").stdout


def test_a_file_in_the_home(tokenkeeper, environment, config):
    """The variable that names the file may have ``~`` in it, for each command."""
    environment.setenv("HOME", str(config.parent))
    environment.setenv("USERPROFILE", str(config.parent))
    environment.setenv("TOKENKEEPER_CONFIG", "~/tokens.yaml")
    assert tokenkeeper("list").exit_code == 0
    assert tokenkeeper("doctor", "billing").exit_code == 0
