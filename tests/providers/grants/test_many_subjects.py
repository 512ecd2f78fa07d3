"""An API that acts for its callers: as many subjects as there are callers, in limited memory."""

import gc
import threading
from itertools import count

import pytest
from kit import internals
from kit.crowds import at_once
from kit.guards import until
from kit.servers.exchange import EXCHANGE, claims_in, token_of

from tokenkeeper import TokenKeeper
from tokenkeeper.providers.grants.token_exchange import TokenExchange

SUBJECTS = 10_000
THREADS = 16
KEPT = 200
COMES_AGAIN = 10
"""Of so many subjects, one asks twice."""


@pytest.fixture
def keeper(clock, service):
    """Return a keeper for exchanges, whose scheduler has no thread."""
    with TokenKeeper(clock=clock, max_tokens=KEPT, jitter=lambda: 0.0) as keeper:
        internals.take_over_scheduler(keeper)
        keeper.add_provider(service.provider("api", TokenExchange(), clock=clock))
        yield keeper
        internals.release_scheduler(keeper)


def exchange_for(keeper, subject):
    """Return whether the token for a subject is that of the subject."""
    token = keeper.source("api", subject=token_of(subject))()
    return claims_in(token)["sub"] == subject


def renewed_subjects(service, before):
    """Return the subjects of the requests after the first *before*."""
    return [claims_in(form["subject_token"][0])["sub"] for form in service.forms(EXCHANGE)[before:]]


@pytest.mark.slow
def test_ten_thousand_subjects(service, keeper, clock, look):
    """Each gets its own token, few are kept, and none is renewed that was not used again."""
    numbers, taking = count(), threading.Lock()
    wrong = []

    def work():
        while True:
            with taking:
                number = next(numbers)
            if number >= SUBJECTS:
                return
            if not exchange_for(keeper, f"subject-{number}"):
                wrong.append(number)
            # a caller that comes again at once
            if number % COMES_AGAIN == 0 and not exchange_for(keeper, f"subject-{number}"):
                wrong.append(number)

    assert at_once(*[work] * THREADS, limit=600) == [None] * THREADS
    assert not wrong
    assert len(service.received) == SUBJECTS
    gc.collect()
    sizes = internals.sizes(keeper)
    assert max(sizes.values()) <= KEPT + THREADS, sizes
    assert len(internals.variants(keeper)) <= KEPT + THREADS

    clock.step(3400)  # a token is due, and valid
    look(keeper)
    until(lambda: not internals.flights(keeper))
    renewed = renewed_subjects(service, SUBJECTS)
    assert 0 < len(set(renewed)) == len(renewed) <= KEPT
    assert {int(subject.rpartition("-")[2]) % COMES_AGAIN for subject in renewed} == {0}
    for _ in range(3):  # the new ones are not used at all
        clock.step(3400)
        look(keeper)
        until(lambda: not internals.flights(keeper))
    assert len(service.received) == SUBJECTS + len(renewed)
    assert [name for name in internals.cache(keeper) if name != "api"] == []


def test_unused_tokens_lapse(service, keeper, clock, look):
    """A token for a subject is renewed if it was used since, and otherwise expires."""
    service.lifetime = 1200
    for subject in ("once", "often"):
        assert exchange_for(keeper, subject)
    assert exchange_for(keeper, "often")  # noted as its first use since it was granted
    clock.step(1100)
    look(keeper)
    until(lambda: not internals.flights(keeper))
    assert renewed_subjects(service, 2) == ["often"]
    clock.step(150)
    look(keeper)
    assert [name for name in internals.cache(keeper) if name != "api"] == [
        keeper.source("api", subject=token_of("often")).name
    ]


def test_a_crowd_of_one_subject(service, keeper):
    """Callers of one subject at once cause one request; those of another wait for nothing."""
    sources = [keeper.source("api", subject=token_of(subject)) for subject in ("ann", "bob")] * 12
    tokens = [claims_in(token)["sub"] for token in at_once(*sources)]
    assert tokens == ["ann", "bob"] * 12
    assert len(service.received) == 2
