"""Client libraries against their real servers, where those run on loopback: `tox -e clients`.

Each library has a folder, and its page and its example are in ``docs/cookbook``. The tokens are
those of the loopback authorization server, which the other server asks, or whose tokens it checks.
"""

import os
import subprocess
import sys
from importlib import metadata

import pytest
from kit.cookbook import COOKBOOK
from kit.guards import OF_THE_LIBRARY, PROGRAM_SECONDS
from packaging.requirements import Requirement

from tokenkeeper import TokenKeeper
from tokenkeeper.testing import LoopbackAuthorizationServer


def missing_libraries():
    """Return the names of the libraries of the extra `clients` that are not installed."""
    extra = {"extra": "clients"}
    wanted = map(Requirement, metadata.requires("tokenkeeper-oauth2"))
    names = [each.name for each in wanted if each.marker and each.marker.evaluate(extra)]
    installed = {each.name.lower().replace("_", "-") for each in metadata.distributions()}
    return sorted({name for name in names if name.lower().replace("_", "-") not in installed})


MISSING = missing_libraries()
collect_ignore_glob = ["*/*"] if MISSING else []


@pytest.fixture
def server():
    """Return the authorization server."""
    with LoopbackAuthorizationServer() as server:
        yield server


@pytest.fixture
def keeper(server):
    """Return a keeper with the provider "api" of the server."""
    with TokenKeeper() as keeper:
        keeper.add_provider(server.provider("api"))
        yield keeper


@pytest.fixture
def source(keeper):
    """Return the source of the provider's token."""
    return keeper.source("api")


@pytest.fixture
def requests_of(server):
    """Return a function that returns how many tokens were requested so far."""
    return lambda: server.stats().token_requests


@pytest.fixture
def run_example(server, tmp_path):
    """Return a function that runs an example of the cookbook and returns what it prints.

    The example gets its tokens from the server, and warnings are errors. Its keyword arguments are
    further variables of the environment.
    """

    def run(name, *options, **variables):
        prefixes = (*OF_THE_LIBRARY, "PYTEST_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}
        client = {
            "OAUTH2_CLIENT_ID": server.client_id,
            "OAUTH2_CLIENT_SECRET": server.client_secret,
            "OAUTH2_TOKEN_URL": server.token_url,
        }
        done = subprocess.run(
            [sys.executable, "-W", "error", *options, COOKBOOK / f"{name}_example.py"],
            cwd=tmp_path,
            env={**kept, **client, **{key: str(value) for key, value in variables.items()}},
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
