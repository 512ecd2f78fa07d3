"""Disturbances: tokens are forced, refused and cleared, and the wall clock jumps.

A control thread only sleeps and reads the clock, to measure how late the machine wakes threads.
"""

import random
import threading
import traceback
from collections import Counter, deque

from soak.board import Judge
from soak.tally import Tally, Waits
from soak.truth import boot, truth_of

CALL_SECONDS = 2.5
"""The timeout of a call. An outage may last longer, but the next disturbance should not wait."""

HOUR = 3600.0
BANNED_AT_MOST = 200


class Loop:
    """A thread that calls ``act()`` again and again until it is stopped."""

    def __init__(self, name, pause):
        self.problem = None
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self):
        self._thread.start()

    def _run(self):
        try:
            while not self._stop.wait(self._pause):
                self.act()
        except Exception:  # noqa: BLE001 - whatever it is, the report has it
            self.problem = f"{type(self).__name__}: {traceback.format_exc()}"

    def stop(self, guard_seconds):
        """Let it finish its current action; return whether it did."""
        self._stop.set()
        self._thread.join(guard_seconds)
        return not self._thread.is_alive()


class Mischief(Loop):
    """Disturbs its own providers; other readers use the first two as well.

    :param names: two that stay registered, then two that are removed and added again.
    :param remake: creates the provider of a name again.
    """

    def __init__(self, keeper, board, names, remake, api, *, seed, pause):
        super().__init__("mischief", pause)
        self._keeper = keeper
        self._board = board
        self._staying, self._visiting = names[:2], names[2:]
        self._remake = remake
        self._api = api
        self._chance = random.Random(f"{seed} mischief")
        self.tally = Tally()
        self._judge = Judge(board, self.tally, sample=10)
        self.done = Counter()
        self._name = names[0]
        self._turns = deque((self._force, self._refuse, self._clear, self._replace))

    def act(self):
        what = self._turns.popleft()
        names = self._visiting if what == self._replace else self._staying
        if what != self._clear:
            self._name = self._chance.choice(names)
        # The provider that is cleared is the one whose token was refused last. Otherwise refusals
        # in a row would pause its renewals, and readers would get a revoked token.
        what(self._name)
        self._turns.append(what)
        if len(self._board.banned) > BANNED_AT_MOST:
            latest = list(self._board.banned.items())[-BANNED_AT_MOST // 2 :]
            self._board.banned = dict(latest)

    def _get(self, name, call):
        """Judge the token that *call* returns, and return it; ``None`` for an error."""
        began = boot()
        try:
            token = call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
            self._judge.failed(name, None, error, began, boot())
            return None
        self._judge.got(name, None, token, began, boot())
        return token

    def _current(self, name):
        return self._get(name, lambda: self._keeper.get_token(name, timeout=CALL_SECONDS))

    def _force(self, name):
        self.done["forced"] += 1
        began = boot()
        self._board.watches[name].ask()
        token = self._get(
            name,
            lambda: self._keeper.get_token(name, force_refresh=True, timeout=CALL_SECONDS),
        )
        truth = truth_of(token)
        if truth is not None and truth.granted < began:
            self.tally.accuse("a forced token older than the call", token)

    def _refuse(self, name):
        """Act as an API that rejects a token, and as a caller that reports it to the keeper."""
        token = self._current(name)
        if token is None:
            return
        self._api.revoke(token)
        if self._api.verdict(token, boot()) not in ("revoked", "dead"):
            self.tally.accuse("a revoked token still good", token)
        self.done["refused"] += 1
        self._board.watches[name].ask()
        fresh = self._get(
            name, lambda: self._keeper.renew_refused(name, token, timeout=CALL_SECONDS)
        )
        self._board.ban(token)
        if fresh == token:
            self.tally.accuse("a refused token", token)
        elif fresh is not None and self._api.verdict(fresh, boot()) == "revoked":
            self.tally.accuse("a renewed token that is refused", fresh)

    def _clear(self, name):
        token = self._current(name)
        self.done["cleared"] += 1
        self._board.watches[name].ask()
        self._keeper.clear_token(name)
        if token is not None:
            self._board.ban(token)
        self._current(name)

    def _replace(self, name):
        token = self._current(name)
        self.done["replaced"] += 1
        self._board.watches[name].ask()
        self._keeper.remove_provider(name)
        if token is not None:
            self._board.ban(token)
        self._keeper.add_provider(self._remake(name))
        self._current(name)


class ClockSteps(Loop):
    """Sets the wall clock by an hour: forward, back, back, forward, and so on."""

    def __init__(self, clock, pause):
        super().__init__("clock", pause)
        self._clock = clock

    def act(self):
        self._clock.step(HOUR if self._clock.steps % 4 in (0, 3) else -HOUR)


class Control(Loop):
    """Sleeps, and measures how late it wakes up, which doesn't depend on the library."""

    NAP_SECONDS = 0.002

    def __init__(self):
        super().__init__("control", self.NAP_SECONDS)
        self.waits = Waits()
        self._woke = boot()

    def act(self):
        now = boot()
        self.waits.note(max(0.0, now - self._woke - self.NAP_SECONDS))
        self._woke = boot()
