"""Simulate a large fleet: how many operations its store has to bear.

``python tests/benchmarks/fleet_simulation.py [--costs FILE] [--quick]``

Ten thousand processes use a million tokens, with the package's own arithmetic of deadlines and its
own pauses between two looks. Tokens don't affect each other, so they are simulated one after the
other, event by event, and their operations are counted by the second. ``formula`` says the same in
one line; both are compared.
"""

import argparse
import heapq
import json
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path

from report import Section, Table

from tokenkeeper._renewal.looks import (
    LONGEST_POLL_SECONDS,
    POLL_GROWTH,
    SHORTEST_POLL_SECONDS,
)
from tokenkeeper.schedule import deadlines

BUFFER_SECONDS = 300.0
TYPICAL_COSTS = {
    "SQLite": {"read": 1400, "claim": 1477, "publish": 1464},
    "Redis": {"read": 170, "claim": 182, "publish": 174},
    "Valkey": {"read": 155, "claim": 163, "publish": 156},
    "PostgreSQL": {"read": 350, "claim": 420, "publish": 391},
}
"""Microseconds of an operation, if none are given. They were measured once, on another machine."""


LOADS = (
    (1, 10_000, 0.25),
    (1_000, 10_000, 0.25),
    (1_000_000, 10, 0.25),
    (1_000_000, 10, 2.0),
)
"""Tokens, the processes that use each, and how long the server takes. The last but one is ten
thousand processes that use a thousand tokens each."""


@dataclass(frozen=True)
class Load:
    """What a fleet does.

    :ivar tokens: how many tokens there are.
    :ivar sharers: how many processes use each.
    :ivar lifetime: of each token, in seconds.
    :ivar takes: how long a request to the server takes, in seconds.
    :ivar starts_within: the processes start within so many seconds; 0 for a fleet that has long
        been running.
    """

    tokens: int
    sharers: int
    lifetime: float = 3600.0
    takes: float = 0.25
    starts_within: float = 0.0


@dataclass
class Counted:
    """What a simulation counted, apart from the time until it was steady."""

    seconds: float
    requests: int = 0
    generations: int = 0
    operations: dict[str, int] = field(
        default_factory=lambda: {"read": 0, "claim": 0, "publish": 0}
    )
    by_second: list[int] = field(default_factory=list)

    @property
    def mean(self):
        """Operations a second."""
        return sum(self.operations.values()) / self.seconds

    @property
    def peak(self):
        """Operations in the busiest second."""
        return max(self.by_second)

    def utilization(self, costs):
        """Return what part of one core, or of one connection, the operations keep busy."""
        busy = sum(number * costs[kind] for kind, number in self.operations.items())
        return busy / 1e6 / self.seconds


class TokenOfFleet:
    """One token and the processes that use it, from look to look."""

    def __init__(self, load, rng, counted, begin):
        self.load, self.rng, self.counted, self.begin = load, rng, counted, begin
        self.generation, self.requested_at, self.claimed_until = 0, 0.0, 0.0
        members = range(load.sharers)
        if load.starts_within:
            self.known = [0 for _ in members]
            self.queue = [(rng.uniform(0, load.starts_within), member) for member in members]
        else:  # all have the same token, of some age
            age = rng.uniform(0, deadlines(0.0, load.lifetime, BUFFER_SECONDS, 1.0).renew_at)
            self.generation, self.requested_at = 1, -age
            self.known = [1 for _ in members]
            self.queue = [(self.due(-age), member) for member in members]
        heapq.heapify(self.queue)

    def due(self, requested_at):
        """Return when a process that has the token requested then renews it."""
        jitter = self.rng.random()
        return deadlines(requested_at, self.load.lifetime, BUFFER_SECONDS, jitter).renew_at

    def run(self, end):
        """Live until *end*."""
        while self.queue[0][0] < end:
            moment, member = heapq.heappop(self.queue)
            heapq.heappush(self.queue, (self.look(moment, member), member))

    def look(self, moment, member):
        """Let a process look at the store; return when it does so again."""
        self.count("read", moment)
        if moment >= self.claimed_until and self.generation > self.known[member]:
            self.known[member] = self.generation
            return self.due(self.requested_at)
        self.count("claim", moment)
        if moment < self.claimed_until:  # another process is asking
            age = moment - self.requested_at
            wait = min(LONGEST_POLL_SECONDS, max(SHORTEST_POLL_SECONDS, POLL_GROWTH * age))
            return moment + wait * (0.75 + self.rng.random() / 2)
        self.claimed_until = moment + self.load.takes
        self.requested_at = moment
        self.generation += 1
        self.known[member] = self.generation
        self.count("publish", self.claimed_until)
        if moment >= self.begin:
            self.counted.requests += 1
            self.counted.generations += 1
        return self.due(moment)

    def count(self, kind, moment):
        second = int(moment - self.begin)
        if 0 <= second < len(self.counted.by_second):
            self.counted.operations[kind] += 1
            self.counted.by_second[second] += 1


def simulate(load, *, seconds=None, seed=1):
    """Return what the fleet of *load* does to its store."""
    rng = random.Random(seed)
    # Until it is steady: two lives. At a start: everything from the first look on.
    begin = 0.0 if load.starts_within else 2 * load.lifetime
    # One period, so that each token is renewed about once, whatever its age.
    seconds = round(seconds or period(load))
    counted = Counted(seconds, by_second=[0] * seconds)
    for _ in range(load.tokens):
        TokenOfFleet(load, rng, counted, begin).run(begin + seconds)
    return counted


def formula(load):
    """Return the operations a second of a fleet that has long been running.

    One process reads, claims and publishes, and each other one reads. Those whose renewal becomes
    due during the request look again, the later the rarer: two times, and 1.25 times more for each
    second that the server takes. A look that finds a claim is two operations.
    """
    n = load.sharers
    meanwhile = (n - 1) * min(1.0, load.takes / first_of(load))
    looks = 2 * meanwhile * (2 + 1.25 * load.takes)
    return load.tokens * (n + 2 + looks) / period(load)


def first_of(load):
    """Return by how much the first of all sharers comes before the latest moment, on average."""
    latest = deadlines(0.0, load.lifetime, BUFFER_SECONDS, 0.0).renew_at
    spread = latest - deadlines(0.0, load.lifetime, BUFFER_SECONDS, 1.0).renew_at
    return spread * load.sharers / (load.sharers + 1)


def period(load):
    """Return how long it takes from one request for a token to the next, on average."""
    return deadlines(0.0, load.lifetime, BUFFER_SECONDS, 0.0).renew_at - first_of(load)


def run(quick, costs=None):
    """Return the section of the page on sizing."""
    costs = costs or TYPICAL_COSTS
    most = 20_000 if quick else 1_000_000
    section = Section("Ten thousand processes and a million tokens", "", [])
    table = Table(
        (
            "tokens",
            "processes for each",
            "server takes",
            "operations/s",
            "peak/s",
            "by the formula",
            "requests for each token",
        )
    )
    busy = Table(("tokens", "processes for each", *(f"{name}, cores" for name in costs)))
    for tokens, sharers, takes in LOADS:
        # Of many tokens every n-th is simulated: they don't affect each other.
        share = max(1, tokens * sharers // most)
        load = Load(tokens // share, sharers, takes=takes)
        counted = simulate(load)
        planned = formula(load)
        name = (f"{tokens:,}", f"{sharers:,}")
        peak = _peak(counted, share)
        table.add(
            *name,
            f"{takes:g} s",
            f"{counted.mean * share:,.0f}",
            f"{peak:,.0f}",
            f"{planned * share:,.0f}",
            f"{counted.requests / max(1, counted.generations):.2f}",
        )
        busy.add(*name, *(f"{counted.utilization(each) * share:.2f}" for each in costs.values()))
        section.claim(
            abs(counted.mean / planned - 1) < 0.2,
            f"the formula says {planned:.0f}, the simulation {counted.mean:.0f}",
        )
    section.tables = [table, busy]
    section.says = (
        "Hour-long tokens, renewed by the package's own deadlines, jitter and pauses. Of many "
        "tokens a part was simulated, so their peak is an estimate. The second table says how many "
        "cores, or connections that are never idle, the operations keep busy, by the measured cost "
        "of each."
    )
    return section


def _peak(counted, share):
    """Return the busiest second of the whole, of which one part in *share* was simulated.

    Random arrivals: the mean grows by *share*, and what is above it by the square root.
    """
    return counted.mean * share + (counted.peak - counted.mean) * share**0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--costs", type=Path, metavar="FILE", help="JSON: engine -> operation -> us"
    )
    parser.add_argument("--quick", action="store_true", help="simulate fewer of the tokens")
    arguments = parser.parse_args()
    costs = json.loads(arguments.costs.read_text()) if arguments.costs else None
    section = run(arguments.quick, costs)
    sys.stdout.write(section.as_text())
    return 1 if section.broken else 0


if __name__ == "__main__":
    sys.exit(main())
