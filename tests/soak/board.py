"""What the callers of a process know about the tokens, and how they judge what they get."""

import math
from typing import NamedTuple

from soak.clock import SteppedWall
from soak.truth import boot, truth_of
from soak.watch import SLACK_SECONDS, use_seconds
from tokenkeeper import OAuth2Error


class Known(NamedTuple):
    """A token that a caller got.

    :ivar usable_until: until then the keeper has no reason to make a caller wait, unless the wall
        clock is set forward after the token's request was sent.
    :ivar sent: not later than the library's reading of the clock before that request.
    """

    token: str
    ends: float
    usable_until: float
    sent: float
    clock: SteppedWall

    def was_usable(self, moment):
        """Return whether the keeper had no reason to make a caller wait up to *moment*."""
        return moment < self.usable_until and not self.clock.was_set_forward(self.sent, moment)


class Board:
    """The tokens that were seen, and those that must not be seen again. One for each process.

    Everything is published in single assignments, because the process may fork at any moment.

    :param watches: by provider name.
    :param present: called with a token and the time when it was handed out, to have the server
        validate it.
    """

    def __init__(self, watches, present):
        self.watches = watches
        self.present = present
        self.known = {}  # provider name -> Known
        self.banned = {}  # token -> when it was refused or forgotten

    def ban(self, token):
        """Expect that no call that begins from now on returns *token*."""
        self.banned[token] = boot()

    def learn(self, name, token, truth):
        """Note that the keeper has *token*."""
        watch, usable = self.watches[name], -math.inf
        sent = watch.stalls.earlier(watch.sent.get(token, -math.inf), SLACK_SECONDS)
        if watch.steady and token in watch.sent:
            # To the keeper, its lifetime begins when its request was sent.
            usable = sent + use_seconds(watch.lifetime)
        known = self.known.get(name)
        if known is None or known.usable_until < usable or known.ends < truth.ends:
            self.known[name] = Known(token, truth.ends, usable, sent, watch.clock)


class Judge:
    """Judges each call of one thread, the only one that writes to *tally*.

    :param sample: how many calls there are for each token that is presented to the server. New
        tokens are always presented.
    """

    def __init__(self, board, tally, sample):
        self._board = board
        self.tally = tally
        self._sample = sample
        self._calls = 0

    def knows(self, name):
        """Return the token of *name* that is known before a call."""
        return self._board.known.get(name)

    def took(self, known, began, ended):
        """Note how long a call took; return whether a valid token existed all the time."""
        tally = self.tally
        tally.waits.note(ended - began)
        if known is None or not known.was_usable(ended):
            return False
        tally.served.note(ended - began)
        return True

    def got(self, name, known, token, began, ended):
        """Judge a call that returned *token*."""
        self.took(known, began, ended)
        self._calls += 1
        is_news = known is None or token != known.token
        if is_news:
            truth = truth_of(token)
            if truth is None or truth.provider_name != name:
                self.tally.accuse("an unknown token", f"{name} got {token}")
                return
            ends = truth.ends
            self._board.learn(name, token, truth)
        else:
            ends = known.ends
        if ends < began:
            self.tally.accuse("an expired token", f"{token}, {began - ends:.3f} s after its expiry")
        elif ends < ended:
            self.tally.counts["in doubt"] += 1
        if self._board.banned and self._board.banned.get(token, began) < began:
            self.tally.accuse("a refused token", token)
        if is_news or self._calls % self._sample == 0:
            self._board.present(token, ended if ended < ends else began)

    def failed(self, name, known, error, began, ended):
        """Judge a call that raised *error*."""
        could = self.took(known, began, ended)
        words = _class_of(error)
        if not isinstance(error, OAuth2Error):
            self.tally.accuse("a foreign error", f"{name}: {error!r}")
        elif could:
            left = known.usable_until - ended
            self.tally.accuse("an error with a valid token", f"{left:.3f} s left, {error}")
        else:
            self.tally.errors[words] += 1


def _class_of(error):
    status = getattr(error, "status_code", None)
    root = type(error.__cause__).__name__ if error.__cause__ is not None else None
    detail = f"HTTP {status}" + ", garbage" * (status == 200) if status else root or "no answer"
    return f"{type(error).__name__}: {detail}"
