"""A file with one invalid provider: the others work, and the mistake is reported."""

import json

import pytest
from click.shell_completion import ShellComplete

from tokenkeeper.cli.group import cli
from tokenkeeper.cli.source import Source
from tokenkeeper.config import document
from tokenkeeper.exceptions import ConfigurationWarning

UNSET = "needs the environment variable UNSET_SECRET, which is not set"

INVALID = """\
  - provider_name: invalid
    provider_type: generic
    client_id: an-id
    client_secret: ${{UNSET_SECRET}}
    token_url: {server.token_url}
"""


@pytest.fixture
def partly_invalid(environment, config, server):
    """Add a provider whose variable is not set on this machine."""
    environment.delenv("UNSET_SECRET", raising=False)
    config.write_text(config.read_text() + INVALID.format(server=server))
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
def test_another_one_is_named(partly_invalid, tokenkeeper, command):
    """An invalid provider does not affect commands that name another one."""
    result = tokenkeeper(*command)
    assert result.exit_code == 0
    assert "UNSET_SECRET" not in result.output


@pytest.mark.parametrize("command", ["get", "status", "clear", "watch"])
def test_it_is_named_itself(partly_invalid, tokenkeeper, command):
    """A command that names it reports its mistake, and no others."""
    partly_invalid.write_text(partly_invalid.read_text() + "  - nonsense\n")
    result = tokenkeeper(command, "invalid")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: tokens.yaml, line 16: oauth2[2].client_secret {UNSET}\n"


@pytest.mark.parametrize("command", ["list", "status"])
def test_all_are_asked_for(partly_invalid, tokenkeeper, command):
    """Valid providers are printed, the mistake is on standard error, and the exit code is 2."""
    result = tokenkeeper(command, "--json")
    assert result.exit_code == 2
    names = [each["provider_name"] for each in json.loads(result.stdout)]
    assert names == ["billing", "wrong"]
    assert result.stderr == tokenkeeper("get", "invalid").stderr
    assert "billing" in tokenkeeper(command).stdout


def test_watch(partly_invalid, tokenkeeper, server):
    """The valid ones are watched after a message; a file without any ends at once."""
    result = tokenkeeper("watch", "--json", "--seconds", "0.6")
    assert result.exit_code == 2
    assert "TokenAcquired" in result.stdout
    assert UNSET in result.stderr
    partly_invalid.write_text("oauth2:\n" + INVALID.format(server=server))
    result = tokenkeeper("watch")
    assert (result.exit_code, result.stdout) == (2, "")
    assert UNSET in result.stderr


def test_a_name_that_is_taken(partly_invalid, tokenkeeper):
    """Of two providers with the same name, neither is used."""
    text = partly_invalid.read_text().replace("provider_name: invalid", "provider_name: billing")
    partly_invalid.write_text(text.replace("UNSET_SECRET", "BILLING_SECRET"))
    result = tokenkeeper("get", "billing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "duplicate provider_name 'billing'" in result.stderr
    assert tokenkeeper("list").stdout == "wrong  generic\n"


def test_an_unknown_name(partly_invalid, tokenkeeper):
    """The message about an unknown name includes the invalid provider."""
    assert "It has billing, wrong, invalid" in tokenkeeper("get", "biling").stderr


def test_config_check(partly_invalid, tokenkeeper):
    """`config check` checks the whole file."""
    result = tokenkeeper("config", "check")
    assert (result.exit_code, result.stdout) == (2, "")
    assert UNSET in result.stderr


def test_doctor(partly_invalid, tokenkeeper):
    """The doctor examines the others, and shows which variables of the invalid one are set."""
    partly_invalid.write_text(partly_invalid.read_text().replace("an-id", "${BILLING_SECRET}"))
    report = json.loads(tokenkeeper("doctor", "--json").stdout)
    assert [each["exit_code"] for each in report["providers"]] == [0, 17, 2]
    invalid = report["providers"][2]
    assert (invalid["provider"], invalid["type"]) == ("invalid", None)
    findings = {each["text"]: each["status"] for each in invalid["steps"][0]["findings"]}
    assert findings == {
        f"tokens.yaml, line 16: oauth2[2].client_secret {UNSET}": "failed",
        "BILLING_SECRET is set": "ok",
    }
    assert tokenkeeper("doctor", "invalid").exit_code == 2


def test_completion(partly_invalid, environment):
    """Its name is completed too, so that the doctor can examine it."""
    complete = ShellComplete(cli, {}, "tokenkeeper", "_TOKENKEEPER_COMPLETE")
    assert [each.value for each in complete.get_completions(["doctor"], "inv")] == ["invalid"]


def test_a_file_that_is_no_yaml(partly_invalid, tokenkeeper):
    """A mistake in the whole file affects every command."""
    partly_invalid.write_text(partly_invalid.read_text() + "  - [")
    result = tokenkeeper("get", "billing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not YAML" in result.stderr
    assert tokenkeeper("doctor", "billing").stdout.count("is not YAML") == 1


@pytest.mark.parametrize("command", ["list", "status", "doctor"])
def test_one_reading(partly_invalid, tokenkeeper, environment, command):
    """The file is read once, so that all output is consistent."""
    environment.delenv("TOKENKEEPER_CACHE_DIR")
    readings = []
    read_file = document.read_file

    def read(path):
        readings.append(path)
        return read_file(path)

    environment.setattr(document, "read_file", read)
    tokenkeeper(command)
    assert readings == [partly_invalid]


def test_a_rotated_secret(partly_invalid, environment, server):
    """After a rejection, the file is read again for the valid providers."""
    billing = Source().select().providers[0]
    server.add_client(server.client_id, "rotated")
    environment.setenv("BILLING_SECRET", "rotated")
    assert billing.acquire_token().access_token
    partly_invalid.write_text(partly_invalid.read_text().replace("${BILLING_SECRET}", "again"))
    server.add_client(server.client_id, "again")
    with pytest.warns(ConfigurationWarning, match="written in clear"):
        assert billing.acquire_token().access_token


def test_a_warning(partly_invalid, tokenkeeper):
    """Warnings about the others are shown beside the mistake, also by the doctor."""
    partly_invalid.write_text(partly_invalid.read_text().replace("${BILLING_SECRET}", "clear"))
    assert "written in clear" in tokenkeeper("list").stderr
    assert (
        "written in clear"
        in json.loads(tokenkeeper("config", "check", "--json").stdout)["warnings"][0]
    )
    assert "written in clear" in tokenkeeper("doctor").stdout


def test_a_file_in_the_home(tokenkeeper, environment, config):
    """The variable that names the file can contain ``~``."""
    environment.setenv("HOME", str(config.parent))
    environment.setenv("USERPROFILE", str(config.parent))
    environment.setenv("TOKENKEEPER_CONFIG", "~/tokens.yaml")
    assert tokenkeeper("list").exit_code == 0
    assert tokenkeeper("doctor", "billing").exit_code == 0
