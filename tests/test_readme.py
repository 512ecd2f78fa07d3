"""The README's Python runs as it is printed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tokenkeeper import TokenKeeper
from tokenkeeper.cli.group import cli

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)

# Stands in for the two servers that the examples name, whose addresses no test may reach.
SERVERS = """
import json
import responses

def grant(request):
    token = {"access_token": "abcd1234", "token_type": "Bearer", "expires_in": 3600}
    return 200, {}, json.dumps(token)

mock = responses.RequestsMock(assert_all_requests_are_fired=False)
mock.add_passthru("http://127.0.0.1")
mock.start()
mock.add_callback("POST", "https://id.example.com/oauth2/token", grant)
tenant = "https://login.microsoftonline.com/contoso.onmicrosoft.com"
mock.add("GET", tenant + "/v2.0/.well-known/openid-configuration", json={
    "issuer": tenant + "/v2.0",
    "authorization_endpoint": tenant + "/oauth2/v2.0/authorize",
    "token_endpoint": tenant + "/oauth2/v2.0/token",
})
mock.add_callback("POST", tenant + "/oauth2/v2.0/token", grant)
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )


EXAMPLES = [block for block in BLOCKS if "def test_" not in block]
(TEST,) = [block for block in BLOCKS if "def test_" in block]


def test_there_are_examples():
    """The README has its examples.

    A first token, metrics, blocking, Azure, async, a custom provider, requests and Celery.
    """
    assert len(EXAMPLES) == 8


@pytest.mark.parametrize("number", range(8))
def test_example_runs(number):
    """Each example runs as printed, and prints no warning."""
    # The async example asks for what the Azure example before it registered.
    azure = next(block for block in EXAMPLES if "AzureADProvider" in block)
    before = azure if "get_default_manager" in EXAMPLES[number] else ""
    done = run(SERVERS + before + "\n" + EXAMPLES[number])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if "PrometheusHook" in EXAMPLES[number]:
        assert (
            'tokenkeeper_tokens_granted_total{kind="acquired",provider="billing"} 1' in done.stdout
        )


def test_the_test_runs(tmp_path):
    """The README's test passes as it is printed."""
    (tmp_path / "test_mine.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tokenkeeper.testing.plugin"]
    done = subprocess.run(
        [*command, "test_mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    "line", re.findall(r"^tokenkeeper [a-z].*", README.read_text(), re.MULTILINE)
)
def test_commands_are_there(line):
    """Each command of the README exists, with its options."""
    command, arguments = cli, shlex.split(line)[1:]
    while isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    command.make_parser(click.Context(command)).parse_args(arguments)


def test_the_configuration_file(tmp_path, monkeypatch):
    """The YAML block is a configuration as it is printed."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    secret = tmp_path / "billing"
    secret.write_text("mounted")
    secret.chmod(0o600)
    monkeypatch.setenv("AZURE_CLIENT_ID", "11111111-2222-3333-4444-555555555555")
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "from the environment")
    assert "/run/secrets/billing" in block
    file = tmp_path / "tokens.yaml"
    file.write_text(block.replace("/run/secrets/billing", str(secret)))
    with TokenKeeper.from_config(file) as keeper:
        assert keeper.list_providers() == ["graph", "billing"]
