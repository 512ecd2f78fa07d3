"""Tokens from developers' tools: what is run, and what is read."""

import base64
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from tokenkeeper import TokenAcquisitionError, TokenKeeper
from tokenkeeper.providers import azure_tools
from tokenkeeper.providers.azure_tools import (
    AZURE_CLI,
    AZURE_DEVELOPER_CLI,
    AZURE_POWERSHELL,
    ToolProvider,
)

SCOPE = "https://vault.azure.net/.default"
EXPIRY = int(time.time()) + 3600
TOKEN = "eyJ0eXAiOiJKV1QiLCJh.tool-token"


@pytest.fixture
def run(monkeypatch):
    """Return a function that sets what the tool prints; it has the commands that were run."""
    commands = []

    def run(stdout="", stderr="", code=0, installed=("az", "pwsh", "azd"), fails=None):
        def which(name):
            return f"/usr/bin/{name}" if name in installed else None

        def runs(command, **options):
            commands.append((command, options))
            if fails is not None:
                raise fails
            return subprocess.CompletedProcess(command, code, stdout.encode(), stderr.encode())

        monkeypatch.setattr(azure_tools.shutil, "which", which)
        monkeypatch.setattr(azure_tools.subprocess, "run", runs)
        return commands

    return run


UTC_TEXT = datetime.fromtimestamp(EXPIRY, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
LOCAL_TEXT = datetime.fromtimestamp(EXPIRY, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")
PRINTED = {
    "az": (AZURE_CLI, {"accessToken": TOKEN, "expires_on": EXPIRY, "expiresOn": LOCAL_TEXT}),
    "an old az": (AZURE_CLI, {"accessToken": TOKEN, "expiresOn": LOCAL_TEXT}),
    "PowerShell": (AZURE_POWERSHELL, {"token": TOKEN, "expires_on": EXPIRY}),
    "azd": (AZURE_DEVELOPER_CLI, {"token": TOKEN, "expiresOn": UTC_TEXT}),
}
TOOLS = pytest.mark.parametrize("tool", [AZURE_CLI, AZURE_POWERSHELL, AZURE_DEVELOPER_CLI])


@pytest.mark.parametrize(("tool", "printed"), PRINTED.values(), ids=PRINTED)
def test_a_token(run, tool, printed):
    """The token and its expiry are read; the tool has no input, and runs outside our directory."""
    commands = run(json.dumps(printed))
    token = ToolProvider("azure", tool, SCOPE, process_timeout=7).acquire_token()
    assert (token.access_token, token.scope) == (TOKEN, SCOPE)
    assert token.expires_at.timestamp() == EXPIRY
    [(_, options)] = commands
    assert options["stdin"] == subprocess.DEVNULL
    assert (options["timeout"], options["cwd"]) == (7, "/")


def test_commands(run):
    """The tools are asked for the API, and for the tenant if there is one."""
    commands = run(code=1)
    for tool in (AZURE_CLI, AZURE_DEVELOPER_CLI, AZURE_POWERSHELL):
        for tenant in (None, "contoso.example"):
            with pytest.raises(TokenAcquisitionError, match="it says nothing"):
                ToolProvider("azure", tool, SCOPE, tenant_id=tenant).acquire_token()
    lines = [" ".join(command) for command, _ in commands]
    az = "/usr/bin/az account get-access-token --output json --resource https://vault.azure.net"
    azd = f"/usr/bin/azd auth token --output json --no-prompt --scope {SCOPE}"
    assert lines[:4] == [
        az,
        f"{az} --tenant contoso.example",
        azd,
        f"{azd} --tenant-id contoso.example",
    ]
    without, with_tenant = (
        base64.b64decode(each.split()[-1]).decode("utf-16") for each in lines[4:]
    )
    assert "ResourceUrl = 'https://vault.azure.net';" in without
    assert "TenantId = 'contoso.example'" in with_tenant


@TOOLS
@pytest.mark.parametrize("printed", ["", "[]", "{}", '{"accessToken": 5}', "[" * 10_000, "null"])
def test_odd_output(run, tool, printed):
    """Output that is not a token is an error, and is not shown."""
    run(printed)
    with pytest.raises(TokenAcquisitionError, match=f"{tool.title} printed no token"):
        ToolProvider("azure", tool, SCOPE).acquire_token()


@pytest.mark.parametrize(
    "odd",
    [
        {"expires_on": 253402300800},
        {"expires_on": 10**400},
        {"accessToken": "two words\n"},
        {"accessToken": ""},
        {"expires_on": None},
        {"expires_on": "soon"},
    ],
    ids=["year 10000", "no float", "no header", "empty", "none", "a word"],
)
def test_odd_members(run, odd):
    """A token that does not fit into a header, or an expiry that is not a time, is not believed."""
    run(json.dumps({"accessToken": TOKEN, "expires_on": EXPIRY} | odd))
    with pytest.raises(TokenAcquisitionError, match="Azure CLI printed no token") as caught:
        ToolProvider("azure", AZURE_CLI, SCOPE).acquire_token()
    assert caught.value.provider_name == "azure"


@TOOLS
def test_no_user_is_signed_in(run, tool):
    """The error names the command that signs in."""
    run(stderr=f"ERROR: Please run {tool.sign_in} to set up an account.", code=1)
    with pytest.raises(TokenAcquisitionError, match=f"Run '{tool.sign_in}'") as caught:
        ToolProvider("azure", tool, SCOPE).acquire_token()
    assert not caught.value.transient


def test_failures(run):
    """A tool that is missing, slow, broken or refused says so in one line, without a token."""
    cases = [
        ({"installed": ()}, "Azure CLI is not installed: az is not on PATH"),
        ({"fails": subprocess.TimeoutExpired("az", 10)}, "took longer than 10 s"),
        ({"fails": PermissionError(13, "Permission denied")}, "can't be started: Permission"),
        ({"code": 1, "stderr": f"\nAADSTS50020 {TOKEN}.\nmore"}, "AADSTS50020"),
    ]
    for options, message in cases:
        run(**options)
        with pytest.raises(TokenAcquisitionError, match=message) as caught:
            ToolProvider("azure", AZURE_CLI, SCOPE).acquire_token()
        assert TOKEN not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scope", ["https://x/'; rm -rf /'/.default", "a b", "$(x)"])
def test_what_no_tool_is_asked(run, scope):
    """A scope that could be read as a command is not passed on."""
    commands = run(json.dumps({"token": TOKEN, "expires_on": EXPIRY}))
    with pytest.raises(TokenAcquisitionError, match="can't be asked for this scope"):
        ToolProvider("azure", AZURE_POWERSHELL, scope).acquire_token()
    assert commands == []


def test_another_api(run):
    """A source's scope takes the place of the provider's."""
    commands = run(json.dumps({"accessToken": TOKEN, "expires_on": EXPIRY}))
    with TokenKeeper() as keeper:
        keeper.add_provider(ToolProvider("azure", AZURE_CLI, SCOPE))
        keeper.source("azure", scope="https://storage.azure.com/.default")()
    assert commands[0][0][-1] == "https://storage.azure.com"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the programs are shell scripts")
def test_real_programs(tmp_path, monkeypatch):
    """A program on PATH is started, and its output is read."""
    az = tmp_path / "az"
    az.write_text(f"""#!/bin/sh
test "$*" = "account get-access-token --output json --resource https://vault.azure.net" || exit 3
echo '{{"accessToken": "{TOKEN}", "expires_on": {EXPIRY}}}'
""")
    az.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert ToolProvider("azure", AZURE_CLI, SCOPE).acquire_token().access_token == TOKEN
    az.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(TokenAcquisitionError, match=r"took longer than 0\.2 s"):
        ToolProvider("azure", AZURE_CLI, SCOPE, process_timeout=0.2).acquire_token()
