"""64 threads need a first token at once: what each library sends, and how long they wait."""

import statistics
from collections import defaultdict

from crowd import call_at_once, percentile
from endpoint import token_endpoint
from peers import BLOCKING, INLINE, absent, installed
from report import Bars, Section, Table, ahead, short

CALLERS = 64
TAKES = 0.05

REASON = (
    "it makes its one request on the first caller's thread, under a lock. Tokenkeeper makes it on "
    "a worker, so that a caller can give up at its deadline while the request continues; the row "
    "with `background=False` has no such hop"
)

HERD_REASON = (
    "each of its callers makes its own request, and late callers found the token of early ones"
)


def run(quick):
    rounds = 2 if quick else 7
    fleet = installed((*BLOCKING, INLINE))
    halves, tails, requests, others = (defaultdict(list) for _ in range(4))
    errors = defaultdict(int)
    section = Section("Peers: 64 threads, no token", "", [])
    with token_endpoint() as endpoint:
        for number in range(rounds):
            first = number % len(fleet)
            for peer in fleet[first:] + fleet[:first]:
                endpoint.play(TAKES, 3600)
                subject = peer.build(endpoint.client)
                took, failed = call_at_once(CALLERS, lambda p=peer, s=subject: p.token(s))
                peer.close(subject)
                sent, asked = endpoint.arrivals()
                halves[peer.name].append(percentile(took, 50))
                tails[peer.name].append(percentile(took, 99))
                requests[peer.name].append(len(sent))
                others[peer.name].append(asked)
                errors[peer.name] += len(failed)
    table = Table(
        (
            "64 callers",
            "token requests",
            "other requests",
            "errors",
            "p50, best",
            "median",
            "p99, best",
            "median",
            "p99, x the endpoint",
        )
    )
    for peer in sorted(fleet, key=lambda peer: statistics.median(tails[peer.name])):
        p50, p99 = halves[peer.name], tails[peer.name]
        table.add(
            peer.name,
            max(requests[peer.name]),
            max(others[peer.name]),
            errors[peer.name],
            short(min(p50)),
            short(statistics.median(p50)),
            short(min(p99)),
            short(statistics.median(p99)),
            f"{statistics.median(p99) / TAKES:.2f}",
        )
    section.tables.append(table)
    ours = fleet[0].name
    section.claim(max(requests[ours]) == 1, f"{ours}: {max(requests[ours])} requests for one token")
    section.claim(not errors[ours], f"{ours}: {errors[ours]} callers failed")

    def reason(name):
        return REASON if max(requests[name]) == 1 else HERD_REASON

    middle = {name: statistics.median(p50) for name, p50 in halves.items()}
    tail = {name: statistics.median(p99) for name, p99 in tails.items()}
    section.says = (
        f"The endpoint takes {short(TAKES)}, speaks TLS, and runs in a separate process. All "
        "callers wait at a barrier, and each is timed from the moment when it opens. "
        f"{rounds} rounds in turn, each with an object without token or connection; the highest "
        "number of requests counts. Other requests are the discovery of msal and azure-identity. "
        "Every request after the first is unnecessary: here it costs time in the handshake, at a "
        "real server it counts against a limit."
        + ahead("p50", middle, ours, reason)
        + ahead("p99", tail, ours, reason)
        + absent()
    )
    section.bars.append(
        Bars(
            "stampede",
            f"64 threads, no token, endpoint of {short(TAKES)}",
            "p99, milliseconds",
            {name: value * 1e3 for name, value in tail.items()},
            ours=(ours, INLINE.name),
        )
    )
    return section
