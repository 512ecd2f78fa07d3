"""The cost of many providers: memory for each token, and the time of a build and of a read."""

import gc
import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from time import process_time

import played_http
from measure import in_fresh_processes
from peers import BLOCKING, absent, installed
from report import Section, Table, ahead, short

SIZES = (10, 1_000, 100_000)
MEASURED_MEMORY = 1_000
READS = 5_000
LONGEST_SECONDS = 90.0
MOST_BYTES = 1.5e9

FLEET = BLOCKING

BUILD_REASON = (
    "it makes the request on the caller's thread, with less in between. Tokenkeeper registers a "
    "provider, uses a worker, keeps a deadline for the whole answer, and plans the renewal"
)
READ_REASON = "it does less for a read"
MEMORY_REASON = (
    "besides the token, Tokenkeeper keeps a schedule of renewals, a checked registration, and what "
    "a fork and a cooldown need"
)


def run(quick):
    fleet = installed(FLEET)
    positions = {peer.name: FLEET.index(peer) for peer in fleet}
    held = {n: in_fresh_processes(_bytes_each, 1, at)[0] for n, at in positions.items()}
    rounds = {name: [] for name in positions}
    for _ in range(1 if quick else 3):
        for name, at in positions.items():
            rounds[name] += in_fresh_processes(_build_and_read, 1, at, SIZES[:-1])
    costs = {}
    for name, launches in rounds.items():
        costs[name] = {
            size: tuple(map(min, zip(*(took[size] for took in launches), strict=True)))
            for size in SIZES[:-1]
        }
    largest = SIZES[-1]
    able = [n for n in positions if not _too_much(largest, costs[n][SIZES[-2]], held[n])]
    if not quick:
        with ThreadPoolExecutor(2) as both:  # CPU time is what counts, and there are two cores
            running = {
                name: both.submit(
                    in_fresh_processes, _build_and_read, 1, positions[name], (largest,)
                )
                for name in able
            }
        for name, launch in running.items():
            costs[name] |= launch.result()[0]
    return _section(fleet, SIZES[:-1] if quick else SIZES, costs, held)


def _section(fleet, sizes, costs, held):
    ours = fleet[0].name
    memory = Table((f"bytes for each of {MEASURED_MEMORY:,} providers", "beside the token's text"))
    for name in sorted(held, key=held.get):
        memory.add(name, f"{held[name]:,.0f}")
    table = Table(
        (
            "providers",
            *(f"first token, {size:,}" for size in sizes),
            *(f"read, {size:,}" for size in sizes),
        )
    )
    last = {name: costs[name][SIZES[1]] for name in costs}
    for name in sorted(costs, key=lambda name: last[name][1]):
        cells = [costs[name].get(size) for size in sizes]
        table.add(
            name,
            *(short(cell[0]) if cell else "too much" for cell in cells),
            *(short(cell[1]) if cell else "too much" for cell in cells),
        )
    left_out = [name for name in costs if sizes[-1] not in costs[name]]
    size = SIZES[1]
    says = (
        "The CPU time for one provider in the best round (of 100,000 there is only one round, and "
        "two run at a time). Each row has its own processes. "
        "A first token includes the creation of the object and the library's own request for its "
        "token, except that `HTTPAdapter.send` of requests is replaced: there is no network. A "
        "read picks one of all providers by name, in random order, from the keeper or from a "
        "dictionary of the peer's objects. Bytes are those that tracemalloc counts for everything "
        "that belongs to an object, except its token's text."
    )
    if left_out:
        says += (
            f" Too much: by its figures at {size:,}, more than {LONGEST_SECONDS:g} s or "
            f"{MOST_BYTES / 1e9:g} GB: {', '.join(left_out)}."
        )
    says += ahead("bytes", held, ours, MEMORY_REASON)
    for what, index, reason in (("first token", 0, BUILD_REASON), ("read", 1, READ_REASON)):
        figures = {name: costs[name][size][index] for name in costs}
        says += ahead(f"{what} at {size:,}", figures, ours, reason)
    return Section("Peers: many providers", says + absent(), [memory, table])


def _too_much(size, cost, held):
    """Return whether *size* providers would take too much, by the figures at a smaller size."""
    return cost[0] * size > LONGEST_SECONDS or (held + played_http.TOKEN_LENGTH) * size > MOST_BYTES


def _names(size):
    return [f"provider-{number}" for number in range(size)]


def _bytes_each(position):
    """Return the bytes of each provider and its token, beside the token's text."""
    peer = FLEET[position]
    peer.close_fleet(peer.fleet(_names(20)))  # so that everything shared exists already
    names = _names(MEASURED_MEMORY)
    gc.collect()
    tracemalloc.start()
    subjects = peer.fleet(names)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    peer.close_fleet(subjects)
    return held / MEASURED_MEMORY - played_http.TOKEN_LENGTH


_LOOP = """
def loop(chosen):
    for name in chosen:
        {statement}
"""


def _build_and_read(position, sizes):
    """Return, by size, the CPU seconds of one first token and of one read."""
    peer = FLEET[position]
    peer.close_fleet(peer.fleet(_names(3)))
    return {size: _at(peer, size) for size in sizes}


def _at(peer, size):
    names = _names(size)
    gc.collect()
    began = process_time()
    subjects = peer.fleet(names)
    built = (process_time() - began) / size
    gc.collect()
    gc.freeze()
    chosen = random.Random(1).choices(names, k=READS)
    space = {"subjects": subjects, **peer.names()}
    exec(_LOOP.format(statement=peer.read_of_fleet(" " * 8)), space)
    loop = space["loop"]
    loop(chosen[: READS // 10])
    took = []
    for _ in range(3):
        began = process_time()
        loop(chosen)
        took.append((process_time() - began) / READS)
    peer.close_fleet(subjects)
    return built, min(took)
