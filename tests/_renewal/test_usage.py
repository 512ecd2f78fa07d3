"""Tokens that callers choose: bounded in number, and renewed only while they are used."""

import gc
import math

import pytest
from kit import internals
from kit.guards import until
from kit.providers import ManyTokens

from tokenkeeper import TokenAcquisitionError, TokenKeeper, UnknownProviderError
from tokenkeeper._renewal.renewal import Renewal


@pytest.fixture
def customers(clock):
    """Return a provider with a token for each account."""
    return ManyTokens(clock=clock)


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


def bounded_sizes(keeper, limit):
    """Return the sizes of all private collections, and check that each is bounded."""
    gc.collect()  # sources that are dropped are in no cycle, but their keeper's may be
    sizes = internals.sizes(keeper)
    assert internals.scheduled_entries(keeper) <= 2 * limit + 100  # removed ones leave later
    assert all(size <= limit + 2 for size in sizes.values()), sizes
    return sizes


@pytest.mark.parametrize(
    ("limit", "subjects"), [(100, 1000), pytest.param(1000, 10_000, marks=pytest.mark.slow)]
)
def test_many_subjects_stay_bounded(make_keeper, customers, clock, look, limit, subjects):
    """Whatever is kept of tokens is bounded, and one that is read all the time is never waited for.

    Some subjects fail, some tokens are rejected, and some have a subscriber that is soon gone.
    """
    keeper = make_keeper(max_tokens=limit)
    busy = keeper.source("api", account="busy")
    first = busy()
    for number in range(subjects):
        source = keeper.source("api", account=str(number), subject=f"token {number}")
        if number % 5 == 0:
            customers.failing.add(str(number))
            with pytest.raises(TokenAcquisitionError):
                source()
        else:
            token = source()
        if number % 5 == 1:
            source.renew_refused(token)
        if number % 5 == 2:
            source.subscribe(print)()
        assert busy() == first
    del source
    sizes = bounded_sizes(keeper, limit)
    assert len(customers.requests) == 1 + 1.2 * subjects
    assert sizes["cached"] > 0.7 * limit
    assert sizes["variants"] == sizes["uses"] == limit
    assert sizes["sources"] == sizes["cells"] == 1
    assert len(keeper.health()["providers"]["api"]["tokens"]) == limit
    # None is renewed in the background, for none but the busy one is read again.
    before = len(customers.requests)
    live(keeper, look, clock, 4 * 3600, every=600, then=busy)
    assert {each.account for each in customers.requests[before:]} == {"busy"}
    assert bounded_sizes(keeper, limit)["cached"] == 1


def test_tokens_with_subscribers_make_no_room(make_keeper, customers):
    """A token that has a subscriber stays, even beyond ``max_tokens``, until that is gone."""
    keeper = make_keeper(max_tokens=2)
    sources = [keeper.source("api", account=str(number)) for number in range(4)]
    ends = []
    for source in sources:
        ends.append(source.subscribe(print))
        source()
    assert internals.sizes(keeper)["cached"] == 4
    for end in ends:
        end()
    keeper.source("api", account="one more")()
    sizes = internals.sizes(keeper)
    assert sizes["cached"] == 2
    assert sizes["subscriptions"] == 0


def test_an_interruption_leaves_no_token_uncounted(make_keeper, customers, monkeypatch):
    """An exception that strikes a caller in the middle leaves no token that nothing counts."""
    keeper = make_keeper(max_tokens=2)
    join = Renewal.join
    monkeypatch.setattr(Renewal, "join", lambda self, deadline: 1 / 0)
    for number in range(5):
        with pytest.raises(ZeroDivisionError):
            keeper.source("api", account=str(number))()
    monkeypatch.setattr(Renewal, "join", join)
    until(lambda: not internals.flights(keeper))
    keeper.source("api", account="one more")()
    sizes = internals.sizes(keeper)
    assert (sizes["cached"], sizes["uses"], sizes["variants"]) == (2, 2, 2)


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


def test_short_tokens_end_with_the_timeout(make_keeper, customers, clock, look):
    """A token that lives shorter than the timeout is renewed until that has passed, and no more."""
    customers.lifetime = 600.0
    keeper = make_keeper(idle_timeout_seconds=3600)
    source = keeper.source("api", account="alice")
    source()
    clock.step(60)
    source()
    live(keeper, look, clock, 3600)
    in_an_hour = len(customers.requests)
    assert 5 <= in_an_hour <= 13
    live(keeper, look, clock, 10 * 3600)
    assert len(customers.requests) <= in_an_hour + 1
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
    keeper = make_keeper(max_tokens=10)
    for number in range(100):
        customers.failing.add(f"customer-{number}")
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
    other = ManyTokens(clock=clock)
    keeper.add_provider(other)
    assert source() == "alice-1"
    assert [each.account for each in customers.requests + other.requests] == ["alice", "alice"]
