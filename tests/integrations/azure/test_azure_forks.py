"""Credentials of Azure in forked children."""

import os
import time

import pytest
from azure.core.credentials import AccessToken
from azure.identity import ClientSecretCredential
from azure.identity.aio import ClientSecretCredential as AsyncClientSecretCredential
from kit.servers.entra import CLIENT_ID, SECRET, TENANT, Entra

from tokenkeeper import InvalidConfigurationError, TokenKeeper
from tokenkeeper._runtime import provider_loop
from tokenkeeper.integrations.azure import CredentialProvider

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

SCOPE = "https://storage.azure.com/.default"


class Credential:
    """A credential that is made by calling its class."""

    made = closed = children = 0

    def __init__(self):
        type(self).made += 1

    def get_token(self, *scopes, **options):
        return AccessToken(f"token of {os.getpid()}", int(time.time()) + 3600)

    def after_fork_in_child(self):
        type(self).children += 1

    def close(self):
        type(self).closed += 1


class AsyncCredential(Credential):
    """An async one."""

    async def get_token(self, *scopes, **options):
        return super().get_token(*scopes, **options)

    async def close(self):
        super().close()


@pytest.fixture(autouse=True)
def counts():
    for kind in (Credential, AsyncCredential):
        kind.made = kind.closed = kind.children = 0


@pytest.mark.parametrize("kind", [Credential, AsyncCredential])
@pytest.mark.parametrize("wrap", [lambda kind: kind, lambda kind: lambda: kind()])
def test_a_function_that_makes_one(exit_code_of, kind, wrap):
    """The function is called at first use and again in a child; its credentials are closed."""
    with TokenKeeper() as keeper:
        keeper.add_provider(CredentialProvider("storage", wrap(kind), SCOPE))
        assert kind.made == 0
        keeper.get_token("storage")
        keeper.get_token("storage", force_refresh=True)
        assert kind.made == 1

        def live():
            good = keeper.get_token("storage", force_refresh=True) == f"token of {os.getpid()}"
            return 0 if good and kind.made == 2 else 1

        assert exit_code_of(live) == 0
        keeper.get_token("storage", force_refresh=True)
    assert (kind.made, kind.closed, kind.children) == (1, 1, 0)


def test_a_credential_of_ones_own_is_renewed(exit_code_of):
    """A credential with ``after_fork_in_child()`` has it called in a child, and is never closed."""
    credential = Credential()
    with TokenKeeper() as keeper:
        keeper.add_provider(CredentialProvider("storage", credential, SCOPE))
        keeper.get_token("storage")

        def live():
            keeper.get_token("storage", force_refresh=True)
            return Credential.children

        assert exit_code_of(live) == 1
    assert Credential.children == Credential.closed == 0


@pytest.mark.parametrize("kind", [ClientSecretCredential, AsyncClientSecretCredential])
def test_a_credential_of_azure_identity(tmp_path, exit_code_of, kind):
    """A credential from a function works in a child; one that was used before the fork fails."""
    with Entra(tmp_path) as entra, TokenKeeper() as keeper:

        def make():
            return kind(
                TENANT,
                CLIENT_ID,
                SECRET,
                authority=entra.authority,
                disable_instance_discovery=True,
                connection_verify=entra.ca_file,
                retry_total=0,
            )

        keeper.add_provider(CredentialProvider("made", make, SCOPE))
        keeper.add_provider(CredentialProvider("used", shared := make(), SCOPE))
        keeper.add_provider(CredentialProvider("unused", unused := make(), SCOPE))
        for name in ("made", "used"):
            assert keeper.get_token(name).startswith("entra-")

        def live():
            for name in ("made", "unused"):
                assert keeper.get_token(name, force_refresh=True).startswith("entra-")
            assert keeper.get_token("used").startswith("entra-")  # from the keeper
            with pytest.raises(InvalidConfigurationError, match="a function that makes"):
                keeper.get_token("used", force_refresh=True)
            return 0

        assert exit_code_of(live) == 0
        for name in ("made", "used"):
            assert keeper.get_token(name, force_refresh=True).startswith("entra-")
        provider_loop.call(shared.close)
        provider_loop.call(unused.close)


@pytest.mark.parametrize("odd", [None, "credential", 5, object()])
def test_not_a_credential(odd):
    """Any other object is rejected at once."""
    with pytest.raises(InvalidConfigurationError, match="credential must be") as raised:
        CredentialProvider("storage", odd, SCOPE)
    assert raised.value.field == "credential"
