"""A program that PyInstaller froze, with the hooks of the package."""

import json
import os
import subprocess
import sys

import pytest
import requests
from kit.guards import GUARD_SECONDS, PROGRAM_SECONDS
from kit.processes import PACKAGE
from kit.servers.entra import CLIENT_ID, SECRET, TENANT, Entra
from kit.servers.raw import Scripted
from kit.servers.tunnels import tunnel

from tokenkeeper.testing import Answer, LoopbackAuthorizationServer

pytest.importorskip("PyInstaller")

BUILD_SECONDS = 240
"""A hang. Most builds take a tenth of it."""

UNUSED = ("brotli", "django", "hypothesis", "mypy", "pytest", "trio")
"""What libraries support without needing it, and tests install; left out to build faster."""

PROGRAM = '''
"""Print a token of each provider of the configuration, and of an asynchronous one."""

import asyncio
import json
import sys

import tokenkeeper
import tokenkeeper.testing


class Own(tokenkeeper.BaseOAuth2Provider):
    async def acquire_token(self):
        return tokenkeeper.testing.StaticProvider("own", "static").acquire_token()


async def main(keeper):
    async with tokenkeeper.OAuth2TokenManager(keeper) as manager:
        return {name: await manager.get_token(name) for name in ("api", "graph", "own")}


configuration, config = sys.argv[1], json.loads(sys.argv[2])
retry = tokenkeeper.RetryPolicy(initial_wait_seconds=0.01)

with tokenkeeper.TokenKeeper() as keeper:
    config = tokenkeeper.OAuth2Config("generic", **config)
    keeper.add_provider(tokenkeeper.GenericOAuth2Provider(config, retry=retry))
    tokens = {"generic": keeper.get_token("generic")}
    try:
        keeper.get_token("generis")
    except tokenkeeper.UnknownProviderError as error:
        advice = str(error)

keeper = tokenkeeper.TokenKeeper.from_config(configuration)
keeper.add_provider(Own("own"))
tokens |= asyncio.run(main(keeper))

print(json.dumps({"frozen": sys.frozen, "tokens": tokens, "advice": advice}))
'''


@pytest.fixture
def server():
    """Return a server whose first answer is an outage, so that the program has to retry."""
    with LoopbackAuthorizationServer() as server:
        server.script(Answer(503))
        yield server


@pytest.fixture
def entra(tmp_path):
    with Entra(tmp_path) as entra:
        yield entra


@pytest.fixture
def proxy():
    """Return a SOCKS proxy."""
    with Scripted(always=tunnel) as proxy:
        proxy.clients = []
        yield proxy


@pytest.fixture
def configuration(server, entra, tmp_path):
    """Return a YAML file with a provider of each type."""
    blocks = [
        {
            "provider_name": "api",
            "provider_type": "generic",
            "client_id": server.client_id,
            "client_secret_file": "api.secret",
            "token_url": server.token_url,
        },
        {
            "provider_name": "graph",
            "provider_type": "azure",
            "client_id": CLIENT_ID,
            "client_secret_file": "graph.secret",
            "tenant_id": TENANT,
            "authority": entra.authority,
            "verify": entra.ca_file,
        },
    ]
    for name, secret in [("api", server.client_secret), ("graph", SECRET)]:
        path = tmp_path / f"{name}.secret"
        path.touch(mode=0o600)
        path.write_text(secret, encoding="utf-8")
    path = tmp_path / "tokens.yaml"
    path.write_text(json.dumps({"oauth2": blocks}), encoding="utf-8")  # JSON is YAML
    return path


@pytest.fixture
def frozen(tmp_path):
    """Return the executable of the program, frozen into a directory."""
    source = tmp_path / "program.py"
    source.write_text(PROGRAM, encoding="utf-8")
    options = {"--paths": PACKAGE, "--distpath": "dist", "--workpath": "build", "--specpath": "."}
    built = subprocess.run(
        [
            *(sys.executable, "-m", "PyInstaller", "--onedir", "--log-level", "WARN"),
            *(part for option in options.items() for part in option),
            *(f"--exclude-module={name}" for name in UNUSED),
            str(source),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return tmp_path / "dist" / "program" / "program"


@pytest.mark.timeout(BUILD_SECONDS + 60)
def test_a_frozen_program(server, entra, proxy, configuration, frozen):
    """A frozen program gets tokens, although the package imports its parts by their names."""
    config = {
        "client_id": server.client_id,
        "client_secret": server.client_secret,
        "token_url": server.token_url,
    }
    run = subprocess.run(
        [str(frozen), str(configuration), json.dumps(config)],
        env=os.environ | {"HTTPS_PROXY": f"socks5h://127.0.0.1:{proxy.port}"},
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    printed = json.loads(run.stdout)
    assert printed["frozen"] is True
    tokens = printed["tokens"]
    assert tokens.pop("own") == "static"
    assert entra.call(tokens.pop("graph"))[0] == 200
    assert proxy.connections == 2  # discovery, and the token
    assert set(tokens) == {"generic", "api"}
    for token in tokens.values():
        api = requests.get(
            server.api_url, headers={"Authorization": f"Bearer {token}"}, timeout=GUARD_SECONDS
        )
        assert api.status_code == 200
    assert server.stats().token_requests == 3  # one of them during the outage
    assert "Did you mean 'generic'?" in printed["advice"]
