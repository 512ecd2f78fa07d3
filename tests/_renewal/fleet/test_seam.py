"""The seam: where the store is asked, where it is not, and what names a record."""

import re

import pytest
from kit import internals
from kit.stores import FleetProvider, renew_when_due

from tokenkeeper import GenericOAuth2Provider, OAuth2Config
from tokenkeeper.events import TokenAcquired


class TestReadPath:
    """A store costs readers nothing."""

    def test_fresh(self, fleet, store, clock):
        """A fresh token is read without the slow path, and without the store."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        store.calls.clear()
        with internals.without_slow_path(keeper):
            assert keeper.get_token("api") == "token-1"
        assert not store.calls

    def test_renewing(self, fleet, store, clock):
        """Readers inside the buffer don't wait for the store, not even for one that is down."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        clock.step(internals.cached(keeper).stale_at - clock.monotonic() + 1)
        store.go_down()
        store.calls.clear()
        assert keeper.get_token("api") == "token-1"
        assert not store.calls

    def test_a_first_token_is_three_operations(self, fleet, store):
        """A process that asks looks, claims and publishes; one that adopts only looks."""
        fleet.keeper().get_token("api")
        assert store.calls == ["read", "claim", "publish"]
        fleet.keeper().get_token("api")
        assert store.calls == ["read", "claim", "publish", "read"]

    def test_claim_says_who_and_what(self, fleet, store, server):
        """While the server is asked, the record says who asks, and for what."""
        seen = []
        server.during = lambda: seen.append(store.record)
        fleet.keeper().get_token("api")
        assert seen[0].intent == "host:1 is about to request a token"
        assert re.fullmatch("[0-9a-f]{32}", seen[0].owner)
        assert (store.record.owner, store.record.intent) == ("", "")

    def test_event_of_the_one_who_asked(self, fleet):
        """The process that asked reports an acquired token, as without a store."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        assert [type(event) for event in keeper.events.events] == [TokenAcquired]

    def test_nothing_secret_in_the_record_s_key(self, fleet, store):
        """The key of a record is a digest."""
        fleet.keeper().get_token("api")
        (key,) = store.keys()
        assert re.fullmatch("[0-9a-f]{64}", key)


class TestKeys:
    """Which tokens are one and the same to the fleet."""

    @pytest.fixture
    def key_of(self, fleet):
        """Return a function that returns the key of a client's record."""
        keeper = fleet.keeper()

        def key_of(secret="secret", url="https://idp.example/token", **options):
            config = OAuth2Config("api", "client", secret, url, **options)
            return internals.fleet(keeper).key_of(GenericOAuth2Provider(config), "api")

        return key_of

    def test_secret_is_left_out(self, key_of):
        """A rotated client secret goes on with the same record: it may hold a refresh token."""
        assert key_of("old") == key_of("new")

    def test_other_server_or_scope(self, key_of):
        """Another server, or another scope, is another record."""
        other = key_of(url="https://other.example/token")
        assert len({key_of(), other, key_of(scope="read")}) == 3

    def test_custom_provider(self, fleet, store, server):
        """A custom provider says in identity() what makes its tokens different."""

        class Customer(FleetProvider):
            customer = "a"

            def identity(self):
                return {**super().identity(), "customer": self.customer}

        one, two, three = (Customer(server) for _ in range(3))
        two.customer = "b"
        tokens = [fleet.keeper(provider=each).get_token("api") for each in (one, two, three)]
        assert tokens == ["token-1", "token-2", "token-1"]


def test_renewal_that_goes_well_is_one_claim(fleet, clock, store, server):
    """A renewal is as many operations as a first token, for the one that is due first."""
    keeper = fleet.keeper()
    keeper.get_token("api")
    store.calls.clear()
    renew_when_due(keeper, clock)
    assert store.calls == ["read", "claim", "publish"]
