"""Keepers made from what the environment describes."""

import pytest

from tokenkeeper import InvalidConfigurationError, OAuth2TokenManager, TokenKeeper

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
    """Each family of variables is a provider of its name."""
    set_variables(**variables)
    with TokenKeeper.from_env(max_workers=2) as keeper:
        assert keeper.list_providers() == names
    assert OAuth2TokenManager.from_env().list_providers() == names


def test_what_a_platform_sets_by_itself(set_variables):
    """Some of Azure's variables do not stand in the way of another client that is whole."""
    set_variables(**OAUTH2, AZURE_CLIENT_ID="set", AZURE_TENANT_ID="by the platform")
    with TokenKeeper.from_env() as keeper:
        assert keeper.list_providers() == ["oauth2"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "no client is described by the environment: set OAUTH2_CLIENT_ID"),
        ({"OAUTH2_CLIENT_ID": "worker"}, "OAUTH2_CLIENT_SECRET and OAUTH2_TOKEN_URL are not set"),
        ({**AZURE, "AZURE_TENANT_ID": " "}, "AZURE_TENANT_ID is not set"),
        ({**OAUTH2, "OAUTH2_TOKEN_URL": "http://x.y"}, "it was read from OAUTH2_TOKEN_URL"),
    ],
)
def test_what_is_missing(set_variables, variables, words):
    """What is missing, or wrong, is named."""
    set_variables(**variables)
    with pytest.raises(InvalidConfigurationError, match=words):
        TokenKeeper.from_env()


def test_a_file_counts_alone(set_variables, write):
    """Where ``TOKENKEEPER_CONFIG`` names a file, nothing else counts."""
    set_variables(**OAUTH2, TOKENKEEPER_CONFIG=str(write()))
    with TokenKeeper.from_env() as keeper:
        assert keeper.list_providers() == ["api"]
        assert keeper.reload() == {"added": [], "changed": [], "removed": []}
