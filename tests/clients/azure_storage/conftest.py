"""Azurite behind a guard, for the tests of this folder."""

import pytest
from kit.servers import storage as storage_server
from kit.servers.guarded import certificate_in


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return the certificate of Azurite and its guard."""
    return certificate_in(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def emulator(certificate, tmp_path_factory):
    """Return Azurite, which one module's tests share."""
    with storage_server.start(certificate, tmp_path_factory.mktemp("azurite")) as program:
        yield program


@pytest.fixture
def storage(server, certificate, emulator):
    """Return the guard of the container "invoices"."""
    with storage_server.Storage(server.is_alive, certificate, emulator) as storage:
        storage.create_container("invoices")
        yield storage
