"""Checks the token requests of one provider in one process: one at a time, none without need."""

import math
import threading
from contextlib import contextmanager

from soak.stalls import Stalls
from soak.tally import EXAMPLES
from soak.truth import boot
from tokenkeeper._runtime.fork import renew_after_fork


def use_seconds(lifetime):
    """Return how long a token is handed out at most (``tokenkeeper/schedule.py``)."""
    return lifetime - lifetime / 20 - 1.0


EARLIEST = 0.5
"""No token is renewed by schedule before this share of its use."""

SLACK_SECONDS = 0.25
"""On a busy machine this time may pass between the library's reading of the clock and ours."""

REMEMBERED = 16

NO_NEED = (-math.inf, -math.inf)

BOOKS = ("requests", "grants", "in time", "asked", "early", "overlapping", "needless")
"""The counts. A grant is in time if the previous token is still usable, and early if that token was
not due. Each early grant must have been asked for."""


class Watch:
    """The counts of one provider. The keeper makes one request at a time, so there is no lock.

    A request is *early* if it is sent before the previous token is due by schedule. It is
    *needless* if it was not asked for either: by force, by a refusal, or by clearing the token.

    :param steady: whether tokens are never cleared, so that the keeper has a token that was handed
        out once for as long as it is usable.
    :param clock: says when the wall clock was set. A keeper may drop a token that was being
        requested then, and renews its tokens after the clock was set forward.
    :param stalls: says when the machine stalled this process, perhaps between a reading of the
        clock by the library and ours.
    :ivar examples: the first few violations, in words.
    """

    def __init__(self, lifetime, clock, *, steady=True, stalls=None):
        self.lifetime = lifetime
        self.steady = steady
        self.clock = clock
        self.stalls = stalls or Stalls()
        self.sent = {}  # token -> when its request left, of the latest few
        # The request that fulfilled the last need: when it left, and when it was back.
        self._need = NO_NEED
        self._asked_at = -math.inf
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self):
        """Reset the counts; tokens granted before are remembered."""
        self._busy = threading.Lock()
        self._sealed = False
        self.books = dict.fromkeys(BOOKS, 0)
        self.examples = []

    def inherit(self, token):
        """Note the token of a forked child, which may be older than its parent's latest."""
        if token not in self.sent or self.sent[token] != self._need[0]:
            self._need = NO_NEED

    def ask(self):
        """Note that a caller is about to force a new token, or to clear the old one."""
        self._asked_at = boot()
        self.books["asked"] += 1

    def seal(self):
        """Refuse further requests, so that the counts are complete."""
        self._sealed = True

    @contextmanager
    def request(self, began=None):
        """Watch one request; yields a function that notes the token that it brought.

        :param began: when its attempt began, if that was before this call.
        """
        self.books["requests"] += 1
        if self._sealed:
            raise ConnectionError("the counts are complete")
        alone = self._busy.acquire(blocking=False)
        sent = boot()
        self.books["overlapping"] += not alone
        left, back = self._need
        planned = self.stalls.earlier(left, SLACK_SECONDS)  # not later than the library did
        early = sent - planned < EARLIEST * use_seconds(self.lifetime)
        if early and (
            self.clock.was_stepped(planned, back + SLACK_SECONDS)
            or self.clock.was_set_forward(planned, sent)
        ):
            early = False  # the keeper may have dropped that token, or no longer trusts it
        needless = early and self._asked_at < planned
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
