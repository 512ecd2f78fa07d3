"""Forks at any moment: children read, force, renew in their own background, and report."""

import asyncio
import faulthandler
import json
import os
import random
import select
import signal
import sys
import threading
import time
import traceback
from collections import Counter

from kit import internals

from soak.api import IN_ORDER, Api
from soak.board import Judge
from soak.mischief import Loop
from soak.tally import Tally
from soak.truth import boot, truth_of
from tokenkeeper import OAuth2TokenManager

GUARD_SECONDS = 45.0
"""A child that lives longer is taken to hang."""

THREADS, TASKS = 3, 20
PAUSE_SECONDS = 0.02
PRESENTED = 40
"""How many tokens a child presents to the server at most."""


class Nursery(Loop):
    """Forks a child now and then, and collects the reports of earlier ones.

    :param life_seconds: how long a child reads.
    """

    def __init__(self, keeper, board, names, about, clock, stalls, *, every, life_seconds, seed):
        super().__init__("nursery", every)
        self._keeper, self._board, self._names = keeper, board, names
        self._about, self._clock, self._stalls = about, clock, stalls
        self._life_seconds = life_seconds
        self._seed = seed
        self._alive = []  # (number, pid, pipe)
        self.tally = Tally()
        self.books = Counter()  # of all watches of all children
        self.forked = self.reported = 0
        self.done = Counter()
        self.failures = []
        self.examples = []

    def act(self):
        reader, writer = os.pipe()
        self.forked += 1
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            self._live(writer)
        os.close(writer)
        self._alive.append((self.forked, pid, reader))
        self._listen(0.0)

    def finish(self):
        """Wait for all children. A child that hangs kills itself."""
        while self._alive:
            self._listen(GUARD_SECONDS)

    def _listen(self, timeout):
        """Read the reports of the children that have finished."""
        ready, _, _ = select.select([reader for *_, reader in self._alive], [], [], timeout)
        for child in [child for child in self._alive if child[2] in ready]:
            self._alive.remove(child)
            number, pid, reader = child
            with os.fdopen(reader, "rb") as pipe:
                report = pipe.read()
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            try:
                outcome = json.loads(report)
            except ValueError:
                outcome = {"problem": f"it wrote {report[-2000:]!r}"}
            if code != 0 or "problem" in outcome:
                self.failures.append(f"child {number} exited with {code}: {outcome.get('problem')}")
                continue
            self.reported += 1
            self.tally.add(outcome["tally"])
            self.books.update(outcome["books"])
            self.done.update(outcome["done"])
            self.examples += [f"child {number}: {example}" for example in outcome["examples"]]

    # ---- in the child

    def _live(self, writer):
        code = 70
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(GUARD_SECONDS) + 10)
            # Shows where the child hangs, in whatever state its locks are.
            faulthandler.dump_traceback_later(GUARD_SECONDS, exit=True, file=sys.__stderr__)
            try:
                outcome = _Child(self).life()
            except Exception:  # noqa: BLE001 - whatever it is, it is reported to the parent
                outcome = {"problem": traceback.format_exc()}
            report = json.dumps(outcome).encode()
            while report:
                report = report[os.write(writer, report) :]
            code = 0
        finally:
            os._exit(code)


class _Child:
    """The life of one child."""

    def __init__(self, nursery):
        self._nursery = nursery
        self._keeper = nursery._keeper
        self._board = nursery._board
        self._number = nursery.forked
        self._chance = random.Random(f"{nursery._seed} child {self._number}")
        self._until = boot() + nursery._life_seconds * self._chance.uniform(0.5, 1.5)
        self._to_present = []
        self._board.present = self._keep
        for name, watch in self._board.watches.items():
            held = internals.cached(self._keeper, name)
            watch.inherit(held and held.access_token)
        self._tallies = []
        self._done = Counter()

    def _keep(self, token, handed_out):
        if len(self._to_present) < PRESENTED:
            self._to_present.append((token, handed_out))

    def _judge(self):
        self._tallies.append(Tally())
        return Judge(self._board, self._tallies[-1], sample=50)

    def life(self):
        """Do everything that a child does, and return the report for the parent."""
        self._nursery._stalls.start()
        if self._number % 4 == 0:
            self._nursery._clock.step(-7200.0)
        self._read_all()
        self._force()
        threads = [
            threading.Thread(target=self._read, args=(self._judge(),), daemon=True)
            for _ in range(THREADS)
        ]
        if self._number % 3 == 0:
            threads.append(threading.Thread(target=self._loop, args=(self._judge(),), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(GUARD_SECONDS - 10)
        hanging = [thread.name for thread in threads if thread.is_alive()]
        if hanging:
            faulthandler.dump_traceback(file=sys.__stderr__)
            return {"problem": f"{hanging} hang"}
        self._present()
        if self._number % 2:
            self._keeper.close()
            self._done["closed its keeper"] += 1
        tally = Tally()
        for each in self._tallies:
            tally.add(each.as_dict())
        books = self._books()
        examples = [
            f"{name}, {example}"
            for name, watch in self._board.watches.items()
            for example in watch.examples
        ]
        outcome = {"tally": tally.as_dict(), "books": books, "done": self._done}
        return {**outcome, "examples": examples}

    def _books(self):
        books = Counter()
        for watch in self._board.watches.values():
            watch.seal()
        for name, watch in self._board.watches.items():
            kind = "" if name in self._nursery._names else "disturbed "
            books.update({kind + what: count for what, count in watch.books.items()})
        return books

    def _read_all(self):
        """Read every token that the parent had, before anything else."""
        judge = self._judge()
        for name in self._nursery._names:
            known, began = judge.knows(name), boot()
            if known is None or began >= known.usable_until:
                continue  # it would have to be requested
            try:
                token = self._keeper.get_token(name)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
                judge.failed(name, known, error, began, boot())
            else:
                judge.got(name, known, token, began, boot())
                self._done["warm tokens read"] += 1

    def _force(self):
        judge, name = self._judge(), self._chance.choice(self._nursery._names)
        watches = self._board.watches
        self._done["forced"] += 1
        began = boot()
        try:
            watches[name].ask()
            token = self._keeper.get_token(name, force_refresh=True, timeout=10.0)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
            judge.failed(name, None, error, began, boot())
            return
        judge.got(name, None, token, began, boot())
        if truth_of(token).granted < began:
            judge.tally.accuse("a forced token older than the call", token)

    def _read(self, judge):
        chance = random.Random(f"{self._number} {threading.current_thread().name}")
        while boot() < self._until:
            name = chance.choice(self._nursery._names)
            known, began = judge.knows(name), boot()
            try:
                token = self._keeper.get_token(name)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
                judge.failed(name, known, error, began, boot())
            else:
                judge.got(name, known, token, began, boot())
            time.sleep(chance.uniform(0, 2 * PAUSE_SECONDS))

    def _loop(self, judge):
        manager = OAuth2TokenManager(self._keeper)
        chance = random.Random(f"{self._number} loop")

        async def read():
            while boot() < self._until:
                name = chance.choice(self._nursery._names)
                known, began = judge.knows(name), boot()
                try:
                    token = await manager.get_token(name)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
                    judge.failed(name, known, error, began, boot())
                else:
                    judge.got(name, known, token, began, boot())
                await asyncio.sleep(chance.uniform(0, 20 * PAUSE_SECONDS))

        async def main():
            async with asyncio.TaskGroup() as group:
                for _ in range(TASKS):
                    group.create_task(read())

        asyncio.run(main())
        self._done["ran an event loop"] += 1

    def _present(self):
        api, tally = Api(self._nursery._about), self._judge().tally
        for token, handed_out in self._to_present:
            verdict = api.verdict(token, handed_out)
            self._done["presented"] += 1
            if verdict not in IN_ORDER:
                tally.accuse("a token that the server refuses", f"{verdict}: {token}")
        api.close()
