"""Keepers that are configured by the environment."""

import os
import subprocess
import sys

import pytest
from kit import internals

from tokenkeeper import (
    ConfigurationWarning,
    InvalidConfigurationError,
    OAuth2TokenManager,
    TokenKeeper,
)
from tokenkeeper.config.discovery import Discovery
from tokenkeeper.testing import LoopbackAuthorizationServer

OAUTH2 = {
    "OAUTH2_CLIENT_ID": "worker",
    "OAUTH2_CLIENT_SECRET": "secret",
    "OAUTH2_TOKEN_URL": "https://id.example.com/token",
}
AZURE = {
    "AZURE_CLIENT_ID": "11111111-2222-3333-4444-555555555555",
    "AZURE_CLIENT_SECRET": "secret",
    "AZURE_TENANT_ID": "contoso.onmicrosoft.com",
}


@pytest.fixture
def set_variables(environment):
    """Set variables for this test."""

    def set_variables(**variables):
        for name, value in variables.items():
            environment.setenv(name, value)

    return set_variables


@pytest.mark.parametrize(
    ("variables", "names"),
    [(OAUTH2, ["oauth2"]), (AZURE, ["azure"]), ({**OAUTH2, **AZURE}, ["azure", "oauth2"])],
)
def test_families(set_variables, variables, names):
    """Each family of variables makes the provider of its name."""
    set_variables(**variables)
    with TokenKeeper.from_env(max_workers=2) as keeper:
        assert keeper.list_providers() == names
    assert OAuth2TokenManager.from_env().list_providers() == names


def test_what_a_platform_sets_by_itself(set_variables):
    """Some of Azure's variables do not prevent a complete other client."""
    set_variables(**OAUTH2, AZURE_CLIENT_ID="set", AZURE_TENANT_ID="by the platform")
    with TokenKeeper.from_env() as keeper:
        assert keeper.list_providers() == ["oauth2"]


@pytest.mark.parametrize("family", [OAUTH2, AZURE])
def test_a_secret_file(set_variables, open_directory, family):
    """A variable that ends in _FILE names a file that contains the secret."""
    variables = {**family}
    (name,) = [each for each in variables if "SECRET" in each]
    secret = open_directory / "secret"
    secret.write_text("mounted\n")
    secret.chmod(0o644)
    variables[f"{name}_FILE"] = str(secret)
    variables[name] = " "  # as good as not set
    set_variables(**variables)
    with pytest.warns(ConfigurationWarning, match="every user"):
        keeper = TokenKeeper.from_env()
    with keeper:
        (only,) = keeper.list_providers()
        assert internals.provider(keeper, only).spec.secret == "mounted"


@pytest.mark.parametrize(("family", "kind"), [(OAUTH2, "OAUTH2"), (AZURE, "AZURE")])
@pytest.mark.parametrize("end", ["SCOPE", "SCOPES"])
def test_what_to_ask_for(set_variables, family, kind, end):
    """Each family accepts a scope, under either spelling."""
    set_variables(**family, **{f"{kind}_{end}": "api://one/.default"})
    (spec,) = Discovery.from_env().specs().values()
    provider = spec.make_provider()
    asked = provider._scope if kind == "AZURE" else provider._config.scope
    assert asked == "api://one/.default"


def test_a_rotated_secret_file(set_variables, environment, tmp_path):
    """A rejection reads the file again; ``reload()`` also reads the variables again."""
    secret = tmp_path / "secret"
    with LoopbackAuthorizationServer() as server:
        secret.write_text(server.client_secret)
        secret.chmod(0o600)
        set_variables(
            OAUTH2_CLIENT_ID=server.client_id,
            OAUTH2_CLIENT_SECRET_FILE="secret",
            OAUTH2_TOKEN_URL=server.token_url,
        )
        environment.chdir(tmp_path)
        with TokenKeeper.from_env() as keeper:
            environment.chdir("/")
            server.add_client(server.client_id, "rotated", ["read", "write"])
            secret.write_text("rotated")
            token = keeper.get_token("oauth2")
            set_variables(OAUTH2_SCOPE="write")
            assert keeper.reload() == {"added": [], "changed": ["oauth2"], "removed": []}
            assert keeper.get_token("oauth2", force_refresh=True) != token
            assert keeper.get_cached_token_info("oauth2")["scope"] == "write"
            secret.unlink()
            with pytest.raises(InvalidConfigurationError, match=r"SECRET_FILE can't be read: No"):
                keeper.reload()


def test_the_environment_needs_no_extra():
    """Neither PyYAML nor pydantic is loaded for the environment."""
    code = (
        "import sys; sys.modules['yaml'] = sys.modules['pydantic'] = None\n"
        "from tokenkeeper import TokenKeeper\n"
        "print(TokenKeeper.from_env().reload())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **OAUTH2}, capture_output=True, text=True
    )
    assert done.stdout == "{'added': [], 'changed': [], 'removed': []}\n", done.stderr


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {**OAUTH2, "OAUTH2_CLIENT_SECRET_FILE": "/nowhere"},
            "OAUTH2_CLIENT_SECRET and OAUTH2_CLIENT_SECRET_FILE are both set. Unset one of them",
        ),
        (
            {**OAUTH2, "OAUTH2_SCOPE": "a", "OAUTH2_SCOPES": "a b"},
            "OAUTH2_SCOPE and OAUTH2_SCOPES are both set. Unset one of them",
        ),
        ({**AZURE, "AZURE_SCOPES": "a\\b"}, "read from AZURE_SCOPES"),
        ({**OAUTH2, "OAUTH2_SCOPES": "a\\b"}, "read from OAUTH2_SCOPES"),
        ({**AZURE, "AZURE_AUTHORITY_HOST": "a/b"}, "read from AZURE_AUTHORITY_HOST"),
        ({**AZURE, "AZURE_ALLOWED_TENANTS": "a, b/c"}, "read from AZURE_ALLOWED_TENANTS"),
        ({**OAUTH2, "OAUTH2_CLIENT_SECRET": "a\nb"}, "read from OAUTH2_CLIENT_SECRET"),
        (
            {**AZURE, "AZURE_CLIENT_SECRET": "", "AZURE_CLIENT_SECRET_FILE": "/nowhere"},
            "AZURE_CLIENT_SECRET_FILE can't be read: No such file or directory",
        ),
        ({"OAUTH2_CLIENT_SECRET_FILE": "/nowhere"}, "CLIENT_ID and OAUTH2_TOKEN_URL are not set"),
        ({}, "the environment does not describe a client. Set OAUTH2_CLIENT_ID"),
        ({"OAUTH2_CLIENT_ID": "worker"}, "OAUTH2_CLIENT_SECRET and OAUTH2_TOKEN_URL are not set"),
        ({**AZURE, "AZURE_TENANT_ID": " "}, "AZURE_TENANT_ID is not set"),
        ({**OAUTH2, "OAUTH2_TOKEN_URL": "http://x.y"}, "read from OAUTH2_TOKEN_URL"),
    ],
)
def test_what_is_missing(set_variables, variables, words):
    """The error names the variable that is missing or invalid."""
    set_variables(**variables)
    with pytest.raises(InvalidConfigurationError, match=words):
        TokenKeeper.from_env()


@pytest.mark.parametrize("text", ["a.example b.example", "A.example,b.example", "*"])
def test_allowed_tenants(set_variables, text):
    """AZURE_ALLOWED_TENANTS lists the tenants that a source may name, or is an asterisk."""
    set_variables(**AZURE, AZURE_ALLOWED_TENANTS=text)
    with TokenKeeper.from_env() as keeper:
        for tenant in ("a.example", "b.example", AZURE["AZURE_TENANT_ID"]):
            assert keeper.source("azure", tenant=tenant)
        if text != "*":
            with pytest.raises(InvalidConfigurationError, match="not allowed"):
                keeper.source("azure", tenant="c.example")


def test_tenants_of_another_client(set_variables):
    """Azure's variable means nothing for the client of OAUTH2_*."""
    set_variables(**OAUTH2, AZURE_ALLOWED_TENANTS="a.example")
    with (
        TokenKeeper.from_env() as keeper,
        pytest.raises(InvalidConfigurationError, match="does not take tenant"),
    ):
        keeper.source("oauth2", tenant="a.example")


def test_a_file_counts_alone(set_variables, write):
    """If ``TOKENKEEPER_CONFIG`` names a file, other variables are ignored."""
    set_variables(**OAUTH2, TOKENKEEPER_CONFIG=str(write()))
    with TokenKeeper.from_env() as keeper:
        assert keeper.list_providers() == ["api"]
        assert keeper.reload() == {"added": [], "changed": [], "removed": []}
