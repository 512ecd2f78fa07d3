"""The README's Python runs as it is printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tokenkeeper import TokenKeeper

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


def test_there_are_examples():
    """The README has its examples: blocking, Azure, async, a custom provider, requests, Celery."""
    assert len(BLOCKS) == 6


@pytest.mark.parametrize("number", range(6))
def test_example_runs(number):
    """Each example runs as printed, and prints no warning."""
    # The async example asks for what the Azure example before it registered.
    before = BLOCKS[1] if "get_default_manager" in BLOCKS[number] else ""
    done = run(SERVERS + before + "\n" + BLOCKS[number])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


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
