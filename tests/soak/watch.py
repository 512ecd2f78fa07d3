"""Watches the token requests of one provider in one process: at most one, and none without need."""

import math
import threading
from contextlib import contextmanager

from soak.tally import EXAMPLES
from soak.truth import boot
from tokenkeeper._runtime.fork import renew_after_fork


def use_seconds(lifetime):
    """Return how long a token is handed out, at most (``tokenkeeper/schedule.py``)."""
    return lifetime - lifetime / 20 - 1.0


EARLIEST = 0.5
"""No token is renewed by schedule before this share of its use."""

SLACK_SECONDS = 0.25
"""On a busy machine so much time may pass between the library's look at the clock and ours."""

REMEMBERED = 16

NO_NEED = (-math.inf, -math.inf)

BOOKS = ("requests", "grants", "in time", "asked", "early", "overlapping", "needless")
"""What is counted. A grant is in time if the token before it can still be used, and early if that
one was not due; it takes somebody who asks for each early grant."""


class Watch:
    """The books of one provider. The keeper makes one request at a time, so there is no lock.

    A request is *early* if it leaves before a token granted earlier is due by schedule. It is
    *needless* if nobody asked for it either, by force, by a refusal, or by forgetting the token.

    :param steady: whether nobody has the token forgotten: what was handed out once is then held
        for as long as it can be used.
    :param clock: it says when somebody stepped the wall clock: a keeper may throw away the token
        that was under way then, and after a step forward renews those that it holds.
    :ivar examples: the first few requests that were not in order, in words.
    """

    def __init__(self, lifetime, clock, *, steady=True):
        self.lifetime = lifetime
        self.steady = steady
        self.clock = clock
        self.sent = {}  # token -> when its request left, of the latest few
        # The request that fulfilled the last need: when it left, and when it was back.
        self._need = NO_NEED
        self._asked_at = -math.inf
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self):
        """Begin new books; what was granted before still counts."""
        self._busy = threading.Lock()
        self._sealed = False
        self.books = dict.fromkeys(BOOKS, 0)
        self.examples = []

    def inherit(self, token):
        """Say what a forked child holds: perhaps not yet what its parent was granted last."""
        if token not in self.sent or self.sent[token] != self._need[0]:
            self._need = NO_NEED

    def ask(self):
        """Say that somebody is about to ask for a new token, or to have the old one forgotten."""
        self._asked_at = boot()
        self.books["asked"] += 1

    def seal(self):
        """Let no further request through, so that the books are complete."""
        self._sealed = True

    @contextmanager
    def request(self, began=None):
        """Watch one request; yields what takes down the token that it brought.

        :param began: when its attempt did, if that made another request before.
        """
        self.books["requests"] += 1
        if self._sealed:
            raise ConnectionError("the books are closed")
        alone = self._busy.acquire(blocking=False)
        sent = boot()
        self.books["overlapping"] += not alone
        left, back = self._need
        early = sent - left < EARLIEST * use_seconds(self.lifetime) - SLACK_SECONDS
        if early and (
            self.clock.was_stepped(left - SLACK_SECONDS, back + SLACK_SECONDS)
            or self.clock.was_set_forward(left - SLACK_SECONDS, sent)
        ):
            early = False  # that token was perhaps thrown away, or is no longer trusted
        needless = early and self._asked_at < left - SLACK_SECONDS
        self.books["needless"] += needless
        if (needless or not alone) and len(self.examples) < EXAMPLES:
            kind = "needless" if alone else "overlapping"
            self.examples.append(
                f"{kind}: sent {sent - left:.3f} s after the one before, "
                f"which took {back - left:.3f} s; asked for {sent - self._asked_at:.3f} s ago"
            )

        def granted(token):
            back = boot()
            self.books["grants"] += 1
            self.books["early"] += early
            self.books["in time"] += back < left + use_seconds(self.lifetime)
            since = sent if began is None else began
            self.sent[token] = since
            if len(self.sent) > REMEMBERED:
                self.sent.pop(next(iter(self.sent)), None)
            self._need = (since, back)

        try:
            yield granted
        finally:
            if alone:
                self._busy.release()
