"""The whole soak: server, keeper, callers, disturbances, forks and clock changes, all at once."""

import gc
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from kit.servers.launch import Launched

from soak.api import Api, Presenter
from soak.board import Board
from soak.children import Nursery
from soak.clock import SteppedWall
from soak.mischief import ClockSteps, Control, Mischief
from soak.moods import Moods
from soak.played import played
from soak.providers import make_named, make_provider
from soak.readers import Readers
from soak.resources import Resources, kinds
from soak.stalls import Stalls
from soak.truth import boot
from soak.watch import Watch
from tokenkeeper import TokenKeeper

GUARD_SECONDS = 60.0
"""A thread that does not stop in this time is taken to hang."""

DISTURBED = ("staying-0", "staying-1", "visiting-2", "visiting-3")
"""Providers whose tokens are forced, refused and cleared. The last two are removed and added."""

COOLDOWN_SECONDS = 1.0


@dataclass(frozen=True)
class Sizes:
    """The dimensions of a soak. The defaults are those of the long run.

    :ivar warm_seconds: how long callers run before memory and threads are measured first.
    """

    seconds: float = 600.0
    warm_seconds: float = 20.0
    threads: int = 64
    tasks: int = 500
    loops: int = 2
    trio_tasks: int = 40
    generic: int = 16
    own: int = 4
    lifetime: float = 3.0
    thread_pause: float = 0.05
    task_pause: float = 0.4
    sample: int = 50
    fork_every: float = 1.0
    child_seconds: float = 3.0
    step_every: float = 3.0
    mischief_every: float = 0.3
    moods: Moods = field(default_factory=Moods)

    @classmethod
    def short(cls, seed=1):
        """Return sizes for a run of about 15 seconds."""
        moods = Moods(seed=seed, calm=2.0, short=1.0, long=4.5)
        return cls(seconds=11.0, warm_seconds=3.0, child_seconds=1.5, step_every=1.5, moods=moods)


@dataclass
class Outcome:
    """What happened: the input of the report."""

    sizes: Sizes
    seconds: float
    readers: list  # tallies
    mischief: Mischief
    nursery: Nursery
    watches: dict
    quiet: list  # names of the providers that were not disturbed
    control: Control
    clock: SteppedWall
    presenter: Presenter
    books: dict  # of the server
    resources: dict  # moment -> Resources
    grown: dict  # type -> how many more objects
    hanging: list
    problems: list  # of the threads that disturb and fork


class Play:
    """One soak."""

    def __init__(self, sizes, say=lambda text: None):
        self._sizes = sizes
        self._say = say
        self._resources = {}

    def run(self):
        """Run the soak, and return its :class:`Outcome`."""
        sizes = self._sizes
        program = Path(__file__).with_name("server.py")
        moods = json.dumps(sizes.moods.as_dict())
        self._resources["before all"] = Resources.now()
        with Launched(sys.executable, str(program), moods, str(sizes.lifetime)) as server:
            return self._with(server)

    def _with(self, server):
        sizes, seed = self._sizes, self._sizes.moods.seed
        clock = SteppedWall()
        self._keeper = keeper = TokenKeeper(clock=clock, cooldown_seconds=COOLDOWN_SECONDS)
        stalls = Stalls()
        stalls.start()
        watches = {
            name: Watch(sizes.lifetime, clock, steady=False, stalls=stalls) for name in DISTURBED
        }
        quiet = []
        for number in range(sizes.generic + sizes.own):
            watch = Watch(sizes.lifetime, clock, stalls=stalls)
            own = number >= sizes.generic
            provider = make_provider(number, server, watch, clock, own=own, sites=sizes.moods.sites)
            keeper.add_provider(provider)
            watches[provider.provider_name] = watch
            quiet.append(provider.provider_name)

        def remake(name):
            number = DISTURBED.index(name)
            return make_named(name, number, server, watches[name], clock, sites=sizes.moods.sites)

        for name in DISTURBED:
            keeper.add_provider(remake(name))

        presenter = Presenter(server.about)
        board = Board(watches, presenter.present)
        readers = Readers(
            keeper,
            board,
            # Now and then a disturbed token: it may be missing, but never expired or refused.
            quiet * 5 + list(DISTURBED[:2]),
            sizes,
            (sizes.thread_pause, sizes.task_pause),
            seed=seed,
            sample=sizes.sample,
        )
        api = Api(server.about)
        mischief = Mischief(
            keeper, board, DISTURBED, remake, api, seed=seed, pause=sizes.mischief_every
        )
        steps = ClockSteps(clock, sizes.step_every)
        control = Control()
        nursery = Nursery(
            keeper,
            board,
            quiet,
            server.about,
            clock,
            stalls,
            every=sizes.fork_every,
            life_seconds=sizes.child_seconds,
            seed=seed,
        )
        began = boot()
        presenter.start()
        readers.start()
        loops = [mischief, steps, control, nursery]
        for loop in loops:
            loop.start()
        time.sleep(sizes.warm_seconds)
        kinds_at_first = self._look("warm")
        for quarter in ("a quarter", "half", "three quarters", "the end"):
            time.sleep(sizes.seconds / 4)
            if quarter != "the end":
                self._resources[f"at {quarter}"] = Resources.now()
            self._say(f"{boot() - began:.0f} s: {nursery.forked} children, {_calls(readers)} calls")
        _until_all_is_played(Api(server.about), readers, mischief, nursery, clock)
        kinds_at_last = self._look("at the end")
        seconds = boot() - began

        hanging = readers.stop(GUARD_SECONDS)
        hanging += [type(loop).__name__ for loop in loops if not loop.stop(GUARD_SECONDS)]
        nursery.finish()
        presenter.stop()
        books = api.books()
        api.close()
        keeper.close()
        stalls.stop()
        self._look("closed")
        return Outcome(
            sizes=sizes,
            seconds=seconds,
            readers=readers.tallies,
            mischief=mischief,
            nursery=nursery,
            watches=watches,
            quiet=quiet,
            control=control,
            clock=clock,
            presenter=presenter,
            books=books,
            resources=self._resources,
            grown=dict((kinds_at_last - kinds_at_first).most_common(8)),
            hanging=hanging,
            problems=[loop.problem for loop in loops if loop.problem],
        )

    def _look(self, moment):
        gc.collect()
        self._resources[moment] = Resources.now()
        return kinds()


def _until_all_is_played(api, readers, mischief, nursery, clock):
    """Wait until each fault has occurred and each caller has called, as a busy machine needs."""
    ends = boot() + GUARD_SECONDS
    while boot() < ends:
        all_called = all(tally.waits.count for tally in readers.tallies)
        if all_called and all(played(api.books(), mischief, nursery, clock).values()):
            break
        time.sleep(0.2)
    api.close()


def _calls(readers):
    return sum(tally.waits.count for tally in readers.tallies)
