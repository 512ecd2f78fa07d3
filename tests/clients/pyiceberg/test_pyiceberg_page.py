"""The cookbook's page on pyiceberg, with a stub of a REST catalog."""

import pytest
from kit.cookbook import example
from kit.servers.base import Answer
from kit.servers.guarded import Guarded
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import UnauthorizedError

from tokenkeeper import TokenAcquisitionError, TokenKeeper, set_default_keeper


class Catalog(Guarded):
    """A stub of a catalog with one namespace."""

    def granted(self, request):
        if request.path == "/v1/config":
            return Answer(body={"defaults": {}, "overrides": {}})
        assert request.path == "/v1/namespaces", request.path
        return Answer(body={"namespaces": [["sales"]]})

    def refused(self, request):
        error = {"message": "no", "type": "NotAuthorizedException", "code": 401}
        return Answer(401, {"error": error})


@pytest.fixture
def catalog_server(server):
    """Return the stub, with a default keeper that has the provider "oauth2"."""
    with Catalog(server.is_alive) as catalog, TokenKeeper() as keeper:
        keeper.add_provider(server.provider("oauth2"))
        before = set_default_keeper(keeper)
        yield catalog
        set_default_keeper(before)


@pytest.fixture
def url(catalog_server):
    """Return the URL of the stub."""
    return catalog_server.origin


def test_a_crowd_recovers_with_one_renewal(server, url, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each gets its answer."""
    shown = example("pyiceberg")
    catalog = shown.KeeperCatalog("prod", uri=url, auth=shown.AUTH)
    assert crowd(8, catalog.list_namespaces) == [[("sales",)]] * 8
    server.revoke_all()
    assert crowd(8, catalog.list_namespaces) == [[("sales",)]] * 8
    assert requests_of() == 2
    catalog.close()


def test_a_catalog_that_refuses_every_token(url, catalog_server):
    """If the catalog refuses the new token too, the caller gets its error."""
    shown = example("pyiceberg")
    catalog = shown.KeeperCatalog("prod", uri=url, auth=shown.AUTH)
    catalog_server.is_alive = lambda token: False
    with pytest.raises(UnauthorizedError):
        catalog.list_namespaces()
    catalog.close()


def test_an_outage(server, url):
    """If the token can't be renewed, the caller gets the keeper's error."""
    shown = example("pyiceberg")
    catalog = shown.KeeperCatalog("prod", uri=url, auth=shown.AUTH)
    server.revoke_all()
    with server.outage(), pytest.raises(TokenAcquisitionError):
        catalog.list_namespaces()
    catalog.close()


def test_the_manager_alone_does_not_recover(server, url, requests_of):
    """Pyiceberg asks the manager again after a 401, which has the same token."""
    shown = example("pyiceberg")
    catalog = RestCatalog("prod", uri=url, auth=shown.AUTH)
    assert catalog.list_namespaces() == [("sales",)]
    server.revoke_all()
    with pytest.raises(UnauthorizedError):
        catalog.list_namespaces()
    assert requests_of() == 1
    catalog.close()


def test_the_example_runs(run_example, url):
    """The example lists the namespaces."""
    assert run_example("pyiceberg", CATALOG_URL=url) == "[('sales',)]\n"
