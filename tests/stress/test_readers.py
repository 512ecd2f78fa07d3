"""Many readers while tokens change: no wait, no mixed values, no expired token."""

import sys
import threading

import pytest
from kit import internals

from tokenkeeper import OAuth2TokenManager
from tokenkeeper.schedule import MARGIN_SECONDS
from tokenkeeper.testing import SteppedClock

READERS = 20


@pytest.fixture(params=[None, 1e-6], ids=["usual", "frantic"])
def rounds(request):
    """Switch threads as usual, or as often as the interpreter can.

    Return a number of rounds that don't take long: each switch among busy readers takes time.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(request.param or usual)
    yield 20 if request.param else 6
    sys.setswitchinterval(usual)


def check_snapshot(held, source):
    """Check that a token has its own deadlines."""
    token = held.access_token
    assert token == held.token.access_token
    assert float(token.rsplit("-", 1)[1]) == held.token.expires_at.timestamp()
    assert abs(held.ends_at - source.granted[token][1]) < 0.5
    assert held.renew_at <= held.stale_at <= held.dead_at <= held.ends_at


def read_until(done, keeper, source):
    """Read and check until *done*; return the number of reads."""
    margin = min(MARGIN_SECONDS, source.lifetime / 20)
    snapshots = internals.cache(keeper)
    reads = 0
    while not done.is_set() or not reads:
        for _ in range(50):
            before = source.clock.monotonic()
            token = keeper.get_token("api")
            assert before < source.granted[token][1] - margin / 2
            reads += 1
        held = snapshots.get("api")
        if held is not None:
            check_snapshot(held, source)
    return reads


def test_no_torn_value_under_forced_renewals(kit, make_keeper, rounds):
    """Twenty readers of a token that is renewed continuously get consistent values."""
    source = kit.Source(lifetime=60.0)
    keeper = make_keeper(source)
    keeper.get_token("api")
    done = threading.Event()
    readers = kit.crowd(READERS, lambda: read_until(done, keeper, source))
    try:
        for number in range(rounds):
            source.lifetime = 60.0 + number % 7 * 100
            keeper.get_token("api", force_refresh=True)
    finally:
        done.set()
    assert all(reads > 0 for reads in readers.join())
    assert source.requests == rounds + 1
    assert source.overlaps == 0


def test_no_torn_value_while_tokens_are_cleared(kit, make_keeper, rounds):
    """They also do when tokens are cleared and refused."""
    source = kit.Source(lifetime=60.0)
    keeper = make_keeper(source)
    done = threading.Event()
    readers = kit.crowd(READERS, lambda: read_until(done, keeper, source))
    try:
        for number in range(rounds):
            token = keeper.get_token("api")
            if number % 2:
                assert keeper.renew_refused("api", token) != token
            else:
                keeper.clear_token()
    finally:
        done.set()
    assert all(reads > 0 for reads in readers.join())
    assert source.requests <= rounds + 1


@pytest.mark.usefixtures("rounds")
def test_no_dead_token_as_time_passes(kit, make_keeper):
    """On a real clock with tokens of a second, no reader gets an expired one."""
    source = kit.Source(lifetime=1.0)
    keeper = make_keeper(source)
    keeper.get_token("api")
    done = threading.Event()
    readers = kit.crowd(READERS, lambda: read_until(done, keeper, source))
    try:
        kit.until(lambda: source.requests >= 4, "a third renewal")
    finally:
        done.set()
    assert all(reads > 0 for reads in readers.join())
    assert source.overlaps == 0


def test_no_dead_token_when_the_clock_leaps(kit, make_keeper):
    """However far the clock jumps between two reads, the second gets a valid token."""
    clock = SteppedClock()
    source = kit.Source(clock=clock)
    keeper = make_keeper(source, clock=clock)
    done = threading.Event()
    leaps = [3400.0, 300.0, 5000.0, 100.0, 3589.9, 0.2] * 4

    def read():
        # A token that is read between two readings of the clock was valid at the first of them.
        while not done.is_set():
            before = clock.monotonic()
            token = keeper.get_token("api")
            assert before < source.granted[token][1] - MARGIN_SECONDS

    readers = kit.crowd(READERS, read)
    try:
        for leap in leaps:
            clock.step(leap)
            keeper.get_token("api")
    finally:
        done.set()
    assert readers.join() == [None] * READERS


def test_readers_never_wait_for_a_renewal_that_hangs(kit, make_keeper):
    """While a background renewal hangs, threads and tasks read the valid token."""
    clock = SteppedClock()
    source = kit.Source(clock=clock)
    keeper = make_keeper(source, clock=clock)
    manager = OAuth2TokenManager(keeper)
    token = keeper.get_token("api")
    source.hold()
    clock.step(3580.0)
    assert source.entered.wait(kit.GUARD_SECONDS)

    def read():
        coroutine = manager.get_token("api")
        with pytest.raises(StopIteration) as returned:  # immediately, without an event loop
            coroutine.send(None)
        return {keeper.get_token("api") for _ in range(500)} | {returned.value.value}

    assert kit.crowd(READERS, read).join() == [{token}] * READERS
    assert source.requests == 2


@pytest.mark.parametrize("hanging", [1, 31])
def test_servers_that_hang_delay_no_other_renewal(kit, make_keeper, hanging):
    """With up to 31 servers that hang, another token is still renewed in the background."""
    clock = SteppedClock()
    sources = [kit.Source(f"api {number}", clock=clock) for number in range(hanging + 1)]
    keeper = make_keeper(*sources, clock=clock)
    for source in sources:
        keeper.get_token(source.provider_name)
    *stuck, healthy = sources
    for source in stuck:
        source.hold()
    clock.step(3400.0)
    for source in stuck:
        assert source.entered.wait(kit.GUARD_SECONDS)
    for renewals in (1, 2):
        kit.until(
            lambda count=renewals: (
                (info := keeper.get_cached_token_info(healthy.provider_name)) is not None
                and info["renewals"] == count
            ),
            "a renewal in the background",
        )
        clock.step(3400.0)
    assert all(source.requests == 2 for source in stuck)


def test_more_servers_hang_than_there_are_workers(kit, make_keeper):
    """Renewals beyond the limit wait, and all are made once the servers answer."""
    clock = SteppedClock()
    sources = [kit.Source(f"api {number}", clock=clock) for number in range(12)]
    keeper = make_keeper(*sources, clock=clock, max_workers=4)
    for source in sources:
        keeper.get_token(source.provider_name)
        source.hold()
    clock.step(3400.0)
    kit.until(lambda: sum(source.requests == 2 for source in sources) == 4)
    assert {keeper.get_token(source.provider_name) for source in sources} == {
        token for source in sources for token in source.granted
    }
    for source in sources:
        source.gate.set()
    kit.until(lambda: all(source.requests == 2 for source in sources))
    assert len(internals.worker_threads(keeper)) <= 4
