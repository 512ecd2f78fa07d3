"""The callers: threads and tasks that get a token, check it, pause, and start again."""

import asyncio
import random
import threading
import time

import trio

from soak.board import Judge
from soak.tally import Tally
from soak.truth import boot
from tokenkeeper import OAuth2TokenManager

HASTY = 0.01
"""The share of calls with a timeout that is shorter than a request may take."""

HASTY_SECONDS = 0.1


class Readers:
    """Callers of all kinds, which run until they are stopped.

    :param names: the providers whose tokens they get.
    :param sizes: how many: ``threads``, ``tasks`` on ``loops`` asyncio loops, ``trio_tasks``.
    :param pauses: the mean pause of a thread and of a task, in seconds.
    """

    def __init__(self, keeper, board, names, sizes, pauses, *, seed, sample):
        self._keeper = keeper
        self._manager = OAuth2TokenManager(keeper)
        self._board = board
        self._names = names
        self._thread_pause, self._task_pause = pauses
        self._seed = seed
        self._sample = sample
        self._stop = threading.Event()
        self.tallies = []
        self._threads = [self._thread(f"reader-{n}", self._block) for n in range(sizes.threads)]
        for number in range(sizes.loops if sizes.tasks else 0):
            share = sizes.tasks // sizes.loops
            self._threads.append(self._thread(f"loop-{number}", self._run_asyncio, share))
        if sizes.trio_tasks:
            self._threads.append(self._thread("trio", self._run_trio, sizes.trio_tasks))

    def _thread(self, name, target, *arguments):
        tally = Tally()
        self.tallies.append(tally)
        chance = random.Random(f"{self._seed} {name}")
        judge = Judge(self._board, tally, self._sample)
        return threading.Thread(
            target=target, name=name, args=(judge, chance, *arguments), daemon=True
        )

    def start(self):
        for thread in self._threads:
            thread.start()

    def stop(self, guard_seconds):
        """Let each finish its call; return the names of the threads that hang."""
        self._stop.set()
        ends = time.monotonic() + guard_seconds
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        return [thread.name for thread in self._threads if thread.is_alive()]

    @staticmethod
    def _timeout(chance):
        return HASTY_SECONDS if chance.random() < HASTY else None

    def _block(self, judge, chance):
        get_token, note_nothing = self._keeper.get_token, judge.tally.nothing.note
        while not self._stop.wait(chance.uniform(0, 2 * self._thread_pause)):
            name, timeout = chance.choice(self._names), self._timeout(chance)
            known = judge.knows(name)
            before = boot()
            began = boot()
            try:
                token = get_token(name, timeout=timeout)
                ended = boot()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
                judge.failed(name, known, error, began, boot())
            else:
                judge.got(name, known, token, began, ended)
            note_nothing(began - before)

    def _run_asyncio(self, judge, chance, tasks):
        async def main():
            async with asyncio.TaskGroup() as group:
                for _ in range(tasks):
                    group.create_task(self._task(judge, chance, asyncio.sleep))

        asyncio.run(main())

    def _run_trio(self, judge, chance, tasks):
        async def main():
            async with trio.open_nursery() as nursery:
                for _ in range(tasks):
                    nursery.start_soon(self._task, judge, chance, trio.sleep)

        trio.run(main)

    async def _task(self, judge, chance, sleep):
        get_token, note_nothing = self._manager.get_token, judge.tally.nothing.note
        await sleep(chance.uniform(0, self._task_pause))
        while not self._stop.is_set():
            name, timeout = chance.choice(self._names), self._timeout(chance)
            known = judge.knows(name)
            before = boot()
            began = boot()
            try:
                token = await get_token(name, timeout=timeout)
                ended = boot()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
                judge.failed(name, known, error, began, boot())
            else:
                judge.got(name, known, token, began, ended)
            note_nothing(began - before)
            await sleep(chance.uniform(0, 2 * self._task_pause))
