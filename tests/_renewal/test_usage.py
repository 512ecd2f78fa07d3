"""Tokens that callers choose: bounded in number, and renewed only while they are used."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from kit import internals

from tokenkeeper import (
    BaseOAuth2Provider,
    OAuth2Token,
    TokenAcquisitionError,
    TokenKeeper,
    UnknownProviderError,
)


class Customers(BaseOAuth2Provider):
    """Grants a token for each account, and notes for which."""

    takes = frozenset({"account"})

    def __init__(self, clock):
        super().__init__("api")
        self.clock = clock
        self.requests = []  # shared with the variants, which are shallow copies
        self.error = []

    def acquire_token(self):
        self.requests.append(self.parameters.account)
        if self.error:
            raise self.error[0]
        ends = datetime.fromtimestamp(self.clock.time(), UTC) + timedelta(hours=1)
        return OAuth2Token(f"{self.parameters.account}-{len(self.requests)}", "Bearer", ends)


@pytest.fixture
def customers(clock):
    """Return a provider with a token for each account."""
    return Customers(clock)


@pytest.fixture
def make_keeper(clock, customers):
    """Return a function that makes a keeper of them, whose scheduler the test plays."""
    keepers = []

    def make(**options):
        keeper = TokenKeeper(clock=clock, jitter=lambda: 0.0, **options)
        internals.take_over_scheduler(keeper)
        keeper.add_provider(customers)
        keepers.append(keeper)
        return keeper

    yield make
    for keeper in keepers:
        internals.release_scheduler(keeper)
        keeper.close()


def live(keeper, look, clock, seconds, every=60.0, then=lambda: None):
    """Let *seconds* pass, in which the scheduler does its work, and *then* is called each time."""
    for _ in range(round(seconds / every)):
        clock.step(every)
        look(keeper)
        then()


def test_ten_thousand_subjects_stay_bounded(make_keeper, customers, clock, look):
    """Only ``max_tokens`` are kept, and one that is read all the time is never waited for."""
    keeper = make_keeper(max_tokens=1000)
    busy = keeper.source("api", account="busy")
    first = busy()
    for number in range(10_000):
        keeper.source("api", account=f"customer-{number}")()
        assert busy() == first
        assert len(internals.cache(keeper)) <= 1000
    assert len(keeper.health()["providers"]["api"]["tokens"]) == 1000
    assert len(internals.variants(keeper)) == 1000


def test_unread_tokens_cost_nothing_in_the_background(make_keeper, customers, clock, look):
    """Tokens that were asked for once are not renewed, and are forgotten once they expired."""
    keeper = make_keeper()
    for number in range(100):
        keeper.source("api", account=f"customer-{number}")()
    live(keeper, look, clock, 4 * 3600)
    assert len(customers.requests) == 100
    assert internals.cache(keeper) == {}
    assert internals.variants(keeper) == []


def test_one_request_at_most_after_the_last_use(make_keeper, customers, clock, look):
    """A token that was read after its grant is renewed once more, and then left to lapse."""
    keeper = make_keeper()
    source = keeper.source("api", account="alice")
    source()
    clock.step(1200)
    source()
    live(keeper, look, clock, 10 * 3600)
    assert len(customers.requests) == 2
    assert internals.cache(keeper) == {}


def test_a_token_in_use_is_never_waited_for(make_keeper, customers, clock, look):
    """A token that is read now and then is renewed ahead of time, for as long as that goes on."""
    keeper = make_keeper()
    source = keeper.source("api", account="alice")
    source()
    waits = []

    def read():
        info = keeper.get_cached_token_info(source.name)
        waits.append(info is None or info["state"] == "expired")
        source()

    live(keeper, look, clock, 24 * 3600, every=600, then=read)
    assert not any(waits)
    assert 24 <= len(customers.requests) <= 32


@pytest.mark.parametrize(
    ("timeout", "requests"),
    [
        (0, 2),  # the read in the first hour, and then none
        (2 * 3600, 4),
        (math.inf, 12),
    ],
)
def test_the_timeout_is_the_users(make_keeper, customers, clock, look, timeout, requests):
    """``idle_timeout_seconds`` says for how long an unread token is renewed."""
    keeper = make_keeper(idle_timeout_seconds=timeout)
    source = keeper.source("api", account="alice")
    source()
    clock.step(60)
    source()
    live(keeper, look, clock, 10 * 3600)
    assert len(customers.requests) == requests


def test_a_token_of_a_registration_is_kept_for_a_day(make_keeper, customers, clock, look):
    """A provider's own token is renewed for a day without a read, and then no more."""
    keeper = make_keeper()
    keeper.get_token("api")
    live(keeper, look, clock, 86400)
    after_a_day = len(customers.requests)
    assert 24 <= after_a_day <= 28
    live(keeper, look, clock, 5 * 3600)
    assert len(customers.requests) <= after_a_day + 1
    assert keeper.health()["providers"]["api"]["status"] == "idle"
    keeper.get_token("api")
    live(keeper, look, clock, 3600)
    assert keeper.get_cached_token_info("api")["state"] == "fresh"


def test_a_token_that_lapses_is_renewed_when_it_is_read(make_keeper, customers, clock, look):
    """A read of a token that is still valid, and was left to lapse, renews it in the background."""
    keeper = make_keeper()
    source = keeper.source("api", account="alice")
    first = source()
    live(keeper, look, clock, 3500)
    assert source() == first
    look(keeper)
    assert source() == "alice-2"


def test_accounts_that_fail_are_bounded_too(make_keeper, customers, clock, look):
    """What is remembered of failures is bounded like the tokens."""
    customers.error.append(TokenAcquisitionError("no", provider_name="api", transient=False))
    keeper = make_keeper(max_tokens=10)
    for number in range(100):
        with pytest.raises(TokenAcquisitionError):
            keeper.source("api", account=f"customer-{number}")()
    assert len(keeper.health()["providers"]["api"]["tokens"]) == 10
    assert len(internals.variants(keeper)) == 10


def test_tokens_of_a_removed_provider_are_gone(make_keeper, customers):
    """Removing a provider forgets all of its tokens, and its sources say so."""
    keeper = make_keeper()
    source = keeper.source("api", account="alice")
    source()
    keeper.remove_provider("api")
    assert internals.cache(keeper) == {}
    with pytest.raises(UnknownProviderError):
        source()


def test_a_provider_that_replaces_another_gets_its_own_variants(make_keeper, customers, clock):
    """After a provider was replaced under its name, no variant of the old one is asked."""
    keeper = make_keeper()
    source = keeper.source("api", account="alice")
    source()
    keeper.remove_provider("api")
    other = Customers(clock)
    keeper.add_provider(other)
    assert source() == "alice-1"
    assert (customers.requests, other.requests) == (["alice"], ["alice"])
