"""The cost of ten thousand providers: registration, first token, a day of renewals, memory."""

import gc
import math
import multiprocessing
import statistics
import sys
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from time import process_time

from kit import internals
from played import PlayedServer
from report import Section, Table, short

from tokenkeeper import TokenKeeper
from tokenkeeper.testing import SteppedClock

SIZES = (100, 1_000, 10_000)
HOUR = 3600.0


def run(quick):
    hours = 4 if quick else 24
    fresh = multiprocessing.get_context("spawn")
    with ExitStack() as pools:
        days = {size: _Day(size, pools.enter_context(_one_process(fresh))) for size in SIZES}
        for _ in range(hours):  # in turn, so that noise hits all sizes alike
            for day in days.values():
                day.live_an_hour()

    times = Table(
        ("providers", "registration", "first token", "renewals", "a renewal", "x at 100", "x log n")
    )
    base = days[SIZES[0]].renewal
    for size, day in days.items():
        times.add(
            f"{size:,}",
            short(day.registration),
            short(day.first_fetch),
            f"{day.renewals:,}",
            short(day.renewal),
            f"{day.renewal / base:.2f}",
            f"{day.renewal / base / (math.log2(size) / math.log2(SIZES[0])):.2f}",
        )
    says = (
        f"One-hour tokens on a stepped clock, {hours} simulated hours, without threads: the clock "
        "is stepped to each due time, and the scheduler's round is run there. Each size has its "
        "own process, and the processes run their hours in turn. Times are CPU time for one "
        "provider or one renewal; a renewal is the median over the hours that had any, and "
        f"{short(_own_cost_of_the_played_server())} of it belong to the simulated server. The last "
        "column divides the growth by the growth of log n; the aim is at most 1. Tokens are 1.2 KB "
        "long, and the bytes don't include their text."
    )
    section = Section("Ten thousand providers", says, [times, _memory(SIZES[-1])])
    section.claim(
        all(day.renewals >= size * (hours - 1) for size, day in days.items()),
        "tokens were left without a renewal",
    )
    return section


def _one_process(context):
    return ProcessPoolExecutor(1, mp_context=context)


class _Day:
    """One keeper with *size* providers, in its own process, and the time that its day takes."""

    def __init__(self, size, pool):
        self._pool = pool
        self.registration, self.first_fetch = self._pool.submit(_begin, size).result()
        self._hours = []

    def live_an_hour(self):
        self._hours.append(self._pool.submit(_go_on).result())

    @property
    def renewals(self):
        return sum(renewals for _, renewals in self._hours)

    @property
    def renewal(self):
        return statistics.median(spent / renewals for spent, renewals in self._hours if renewals)


_life = []  # the keeper and its clock, in their process


def _begin(size):
    """Create a keeper; return the time of registration and of a first token, per provider."""
    clock = SteppedClock()
    keeper = TokenKeeper(background=False, clock=clock)
    _life[:] = keeper, clock
    names = [f"provider-{number}" for number in range(size)]
    providers = [PlayedServer(name, lifetime=HOUR, clock=clock) for name in names]
    began = process_time()
    for provider in providers:
        keeper.add_provider(provider)
    registered = process_time()
    for name in names:
        keeper.get_token(name)
    return (registered - began) / size, (process_time() - registered) / size


def _go_on():
    return _renew_for_an_hour(*_life)


def _renew_for_an_hour(keeper, clock):
    """Step from due time to due time; return the seconds of renewing, and the renewals."""
    ends = clock.monotonic() + HOUR
    spent, count = 0.0, 0
    while (due := internals.next_due(keeper)) < ends:
        clock.step(max(0.0, due - clock.monotonic()))
        began = process_time()
        internals.renew_due(keeper)
        spent += process_time() - began
        count += 1
    clock.step(ends - clock.monotonic())
    return spent, count


def _memory(size):
    """Return a table of the bytes for each provider and token."""
    table = Table((f"bytes for each of {size:,}", "held", "after 2 h of renewals"))
    clock = SteppedClock()
    with TokenKeeper(background=False, clock=clock) as keeper:
        names = [f"provider-{number}" for number in range(size)]
        gc.collect()
        tracemalloc.start()
        providers = [_Forgetful(name, lifetime=HOUR, clock=clock) for name in names]
        objects = _traced()
        for provider in providers:
            keeper.add_provider(provider)
        registered = _traced()
        for name in names:
            keeper.get_token(name)
        text = sum(sys.getsizeof(held.access_token) for held in internals.cache(keeper).values())
        fetched = _traced() - text
        for _ in range(2):
            _renew_for_an_hour(keeper, clock)
        renewed = _traced() - text
        tracemalloc.stop()
    table.add("the provider object (of the simulated server)", f"{objects / size:.0f}", "")
    table.add("its registration", f"{(registered - objects) / size:.0f}", "")
    table.add(
        "a token, beside its text",
        f"{(fetched - registered) / size:.0f}",
        f"{(renewed - registered) / size:.0f}",
    )
    return table


class _Forgetful(PlayedServer):
    """A server without a list of its requests, which would count as memory."""

    def acquire_token(self):
        token = super().acquire_token()
        self.requests.clear()
        return token


def _traced():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _own_cost_of_the_played_server():
    provider = PlayedServer(clock=SteppedClock())
    began = process_time()
    for _ in range(20_000):
        provider.acquire_token()
    return (process_time() - began) / 20_000
