"""Tokens for several resources from one grant, whose refresh tokens work once."""

import threading
import time
from collections import defaultdict

import pytest
from kit.families import TOTAL_SECONDS
from kit.guards import GUARD_SECONDS
from kit.processes import Child

from tokenkeeper import GenericOAuth2Provider, InvalidConfigurationError, TokenKeeper
from tokenkeeper.oauth.jwt_claims import jwt_claims
from tokenkeeper.providers.grants.refresh_token import RefreshToken

RESOURCES = ("urn:orders", "https://invoices.example.com/", "https://stock.example.com")


@pytest.fixture
def client_id(request):
    """Return a client of the test's own: the server counts by client."""
    return request.node.name


@pytest.fixture
def make(oidc, tmp_path, client_id):
    """Return a function that returns a keeper of one client, whose first refresh token is given."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    oidc.add_client(
        client_id,
        grant_types=["authorization_code", "refresh_token"],
        redirect_uris=["https://client.example.com/"],
        response_types=["code"],
        scope="openid offline_access read",
        lifetime_seconds=4,
    )
    first = oidc.sign_in(client_id, resources=RESOURCES)

    def make(store=True, **options):
        config = oidc.config("api", client_id, scope=None)
        keeper = TokenKeeper(store=f"sqlite:///{folder / 'store.db'}" if store else None)
        grant = RefreshToken(first, resources=RESOURCES, **options)
        keeper.add_provider(GenericOAuth2Provider(config, grant=grant, total_timeout=TOTAL_SECONDS))
        return keeper

    return make


def crowd(keeper, seconds, threads=30):
    """Read tokens for all resources on many threads; return those that were read, by resource."""
    seen, errors = defaultdict(set), []
    ends_at = time.monotonic() + seconds

    def read(resource):
        source = keeper.source("api", resource=resource)
        try:
            while time.monotonic() < ends_at:
                seen[resource].add(source.get_token(timeout=GUARD_SECONDS))
                time.sleep(0.02)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test fails
            errors.append(str(error))

    pool = [threading.Thread(target=read, args=(RESOURCES[i % 3],)) for i in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert errors == []
    return {resource: sorted(tokens) for resource, tokens in seen.items()}


def test_processes_threads_and_resources(oidc, make, client_id):
    """Four processes with thirty threads and three resources never spend a refresh token twice."""

    def job():
        with make() as keeper:
            return crowd(keeper, 6.0)

    children = [Child(job) for _ in range(4)]
    by_resource = defaultdict(set)
    for child in children:
        for resource, tokens in child.result().items():
            by_resource[resource].update(tokens)
    stats = oidc.stats(client_id)
    assert "families_revoked" not in stats
    granted = sum(len(tokens) for tokens in by_resource.values())
    assert granted <= stats["arrivals"] <= granted + 3
    for resource in RESOURCES[1:]:
        assert {jwt_claims(token)["aud"] for token in by_resource[resource]} == {resource}
    with make() as keeper:
        token = keeper.source("api", resource=RESOURCES[0]).get_token(force_refresh=True)
    assert oidc.call(token)[1]["aud"] == RESOURCES[0]


def test_in_one_process_without_a_store(oidc, make, client_id):
    """In the memory of a process, the tokens of a grant share its refresh token as well."""
    rotated = []
    with make(store=False, on_rotated=rotated.append) as keeper:
        crowd(keeper, 3.0, threads=9)
    stats = oidc.stats(client_id)
    assert "families_revoked" not in stats
    assert len(set(rotated)) == len(rotated) == stats["arrivals"]


def test_a_resource_that_was_not_authorized(make):
    """It is refused here: the server would burn the refresh token for a trailing slash."""
    with make(store=False) as keeper:
        before = keeper.source("api", resource=RESOURCES[2]).get_token()
        with pytest.raises(InvalidConfigurationError, match="was not authorized"):
            keeper.source("api", resource=RESOURCES[2] + "/")
        assert keeper.source("api", resource=RESOURCES[2]).get_token(force_refresh=True) != before
