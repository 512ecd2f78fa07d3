"""Which machines share tokens in a store: those that ask for the tokens of one identity."""

import json
import socket

import pytest
from kit.servers.managed_identity import VARIABLES

from tokenkeeper.providers import this_machine
from tokenkeeper.providers.azure import AzureADProvider
from tokenkeeper.providers.azure_default import AzureDefaultProvider
from tokenkeeper.providers.google import GoogleProvider
from tokenkeeper.providers.google_impersonation import GoogleImpersonation
from tokenkeeper.providers.managed_identity import ManagedIdentityProvider

SCOPE = "https://storage.azure.com/.default"
OWN = {
    "managed identity": lambda: ManagedIdentityProvider("api", SCOPE),
    "default chain": lambda: AzureDefaultProvider("api", SCOPE),
    "metadata server": lambda: GoogleProvider("api"),
}
NAMED = {
    "managed identity": lambda: ManagedIdentityProvider("api", SCOPE, client_id="an-id"),
    "default chain": lambda: AzureDefaultProvider("api", SCOPE, client_id="an-id"),
    "metadata server": lambda: GoogleProvider("api", service_account="robot@example.com"),
}


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """Take what names an identity out of the environment; return a function to change machines."""
    others = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_TOKEN_CREDENTIALS")
    for name in (*VARIABLES, *others, "GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "boot_id"
    monkeypatch.setattr(this_machine, "_BOOT_ID", file)

    def machine(boot_id):
        if boot_id is not None:
            file.write_bytes(boot_id)
        this_machine.this_machine.cache_clear()

    yield machine
    this_machine.this_machine.cache_clear()


def identities(make, machine):
    """Return the provider's identities on two machines, as a store compares them."""
    found = []
    for boot_id in (b"one\n", b"two\n"):
        machine(boot_id)
        found.append(json.dumps(make().identity(), sort_keys=True))
    return found


@pytest.mark.parametrize("make", OWN.values(), ids=OWN)
def test_own_identities(make, machine):
    """Two machines with identities of their own share no tokens; processes of one machine do."""
    one, two = identities(make, machine)
    assert one != two
    assert json.dumps(make().identity(), sort_keys=True) == two


@pytest.mark.parametrize("make", NAMED.values(), ids=NAMED)
def test_named_identities(make, machine):
    """Machines share the tokens of an identity that is named."""
    one, two = identities(make, machine)
    assert one == two


SETTINGS = {
    "Azure": lambda **options: AzureADProvider("api", "id", "secret", "tenant", **options),
    "Google": lambda **options: GoogleProvider("api", service_account="robot", **options),
    "impersonation": lambda **options: GoogleImpersonation("api", print, "robot", **options),
}


@pytest.mark.parametrize("make", SETTINGS.values(), ids=SETTINGS)
def test_settings_of_one_machine(make):
    """Where a machine has its CA certificates makes no difference to the tokens."""
    assert make(verify="/etc/ca.pem").identity() == make().identity()
    assert make(scope="another/.default").identity() != make().identity()


def test_tenants_that_sources_may_name():
    """Another list of tenants leaves the tokens of an application as they are."""
    make = SETTINGS["Azure"]
    assert make(allowed_tenants="*").identity() == make().identity()


def test_the_application_of_the_environment(machine, monkeypatch):
    """The default chain's tokens are those of the application that the environment names."""
    found = set()
    for client_id in ("one", "two"):
        monkeypatch.setenv("AZURE_CLIENT_ID", client_id)
        first, second = identities(OWN["default chain"], machine)
        assert first == second
        found.add(first)
    assert len(found) == 2


@pytest.mark.parametrize("boot_id", [None, b"", b"\xff"], ids=["no file", "empty", "not text"])
def test_without_a_boot_id(machine, boot_id):
    """On a system without a boot id, machines differ by their host names."""
    machine(boot_id)
    assert this_machine.this_machine() == socket.gethostname()
