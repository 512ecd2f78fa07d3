"""The slowest caller while a token is renewed, over five renewals."""

import statistics
import threading
import time
from collections import defaultdict

from endpoint import token_endpoint
from peers import BLOCKING, IN_BACKGROUND, absent, installed
from report import Bars, Section, Table, ahead, short

TAKES = 0.2
CALLERS = 8
PAUSE = 0.002
GUARD_SECONDS = 20.0

REASON = (
    "no caller waits for the network in either, so the rest is the scheduling of threads: the "
    "slowest of thousands of calls is the one that had to wait for the GIL"
)


def run(quick):
    renewals = 1 if quick else 5
    fleet = installed(BLOCKING + IN_BACKGROUND)
    slowest, requests, waiting = (defaultdict(list) for _ in range(3))
    section = Section("Peers: a renewal", "", [])
    with token_endpoint() as endpoint:
        for number in range(renewals):
            first = number % len(fleet)
            for peer in fleet[first:] + fleet[:first]:
                renewal = _Renewal(peer, endpoint)
                slowest[peer.name].append(renewal.slowest)
                requests[peer.name].append(renewal.requests)
                waiting[peer.name].append(renewal.waiting)
                section.claim(renewal.seen, f"{peer.name}: no renewal within {GUARD_SECONDS:g} s")
                section.claim(
                    not (renewal.failed and peer is fleet[0]), f"{peer.name}: a caller failed"
                )
    table = Table(
        (
            "a renewal",
            "slowest caller of all",
            "of a renewal, best",
            "median",
            "callers that waited",
            "token requests",
        )
    )
    worst = {name: max(took) for name, took in slowest.items()}
    for peer in sorted(fleet, key=lambda peer: worst[peer.name]):
        took = slowest[peer.name]
        table.add(
            peer.name,
            short(worst[peer.name]),
            short(min(took)),
            short(statistics.median(took)),
            max(waiting[peer.name]),
            max(requests[peer.name]),
        )
    section.tables.append(table)
    ours = fleet[0].name
    section.claim(max(requests[ours]) == 1, f"{ours}: {max(requests[ours])} requests a renewal")
    section.says = (
        f"{CALLERS} threads read with a pause of {short(PAUSE)}, until the token has been renewed; "
        f"{renewals} renewals each, in turn, on an endpoint that takes {short(TAKES)}. The token "
        "has a lifetime for which each library's own rule starts a renewal about two seconds "
        "after the grant. Callers that waited are those that took more than half of the request's "
        "time. Token requests are the most that one renewal took."
        + ahead("slowest caller", worst, ours, REASON)
    )
    section.says += absent()
    section.bars.append(
        Bars(
            "renewal",
            f"Renewals on an endpoint of {short(TAKES)}: the slowest caller",
            "milliseconds",
            {name: value * 1e3 for name, value in worst.items()},
            ours=(ours,),
        )
    )
    return section


class _Renewal:
    """One object with a token, and the threads that read it while it is renewed."""

    def __init__(self, peer, endpoint):
        endpoint.play(TAKES, peer.lifetime)
        self._peer = peer
        self._subject = peer.build(endpoint.client)
        self._first = peer.token(self._subject)
        endpoint.play(TAKES, peer.lifetime)  # the first request is not a renewal
        self._ends = threading.Event()
        self._took = []
        self.failed = []
        threads = [threading.Thread(target=self._read) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        # Callers that send their own request may finish: a renewal ends with its last answer.
        self.seen = self._ends.wait(GUARD_SECONDS)
        self._ends.set()
        for thread in threads:
            thread.join()
        sent = endpoint.arrivals()[0]
        self.requests = sum(came < sent[0] + TAKES for came in sent) if sent else 0
        self.slowest = max(took for took, _ in self._took)
        self.waiting = sum(waited for _, waited in self._took)
        peer.close(self._subject)

    def _read(self):
        """Read until one of the threads gets a new token; note the slowest call."""
        slowest, new = 0.0, False
        while not new and not self._ends.is_set():
            began = time.perf_counter()
            try:
                token = self._peer.token(self._subject)
            except Exception as error:  # noqa: BLE001 - any one would be an error
                self.failed.append(error)
                break
            slowest = max(slowest, time.perf_counter() - began)
            new = token != self._first
            time.sleep(PAUSE)
        self._ends.set()
        self._took.append((slowest, slowest > TAKES / 2))
