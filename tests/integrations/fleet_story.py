"""Two keepers that share a store, and all that may happen to them there."""

from contextlib import ExitStack

from tokenkeeper import TokenKeeper
from tokenkeeper.stores import StoreUnavailableError
from tokenkeeper.testing import SteppedClock
from tokenkeeper.testing.stores import MemoryTokenStore

STEP = 4000.0
"""More than the lifetime of a token."""


class FaultyStore(MemoryTokenStore):
    """A store with a clock of its own, which may be away.

    :ivar is_away: whether it can't be used.
    :ivar takes: how long a read takes on the keepers' clock.
    """

    label = "redis://cache.example:6379/0"

    def __init__(self, keepers_clock):
        self.own_clock = SteppedClock()
        super().__init__(self.own_clock)
        self._keepers_clock = keepers_clock
        self.is_away, self.takes = False, 0.0

    def read(self, key):
        self._keepers_clock.step(self.takes)
        if self.is_away:
            raise StoreUnavailableError("the store does not answer. Check that it runs.")
        return super().read(key)


class FleetStory:
    """A fleet of two on a stepped clock, in a ``with`` block.

    :param provider: returns a provider with the name "api", for each keeper a new one.
    :ivar here: the keeper with the hooks.
    :ivar there: the keeper of another process, without hooks.
    """

    def __init__(self, clock, provider, hooks):
        self.clock = clock
        self.store = FaultyStore(clock)
        self._opened = ExitStack()
        options = {"store": self.store, "clock": clock, "background": False}
        self.here = self._opened.enter_context(TokenKeeper(hooks=hooks, **options))
        self.there = self._opened.enter_context(TokenKeeper(**options))
        for keeper in (self.here, self.there):
            keeper.add_provider(provider())

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._opened.close()

    def step(self, seconds):
        """Let time pass for the keepers and the store."""
        self.clock.step(seconds)
        self.store.own_clock.step(seconds)

    def adopt(self):
        """Have ``here`` take over a token that ``there`` requested 10 s ago."""
        self.there.get_token("api", force_refresh=True)
        self.step(10)
        self.here.get_token("api")

    def take_over(self, ghost="ghost:1"):
        """Have ``here`` take over a claim that a process made and did not finish."""
        self.step(STEP)
        (key,) = self.store.keys()
        generation = self.store.read(key).generation
        intent = f"{ghost} is about to request a token"
        self.store.claim(
            key, owner="0" * 32, generation=generation, older_than_seconds=0, intent=intent
        )
        self.step(40)
        self.here.get_token("api")

    def replace(self):
        """Have ``here`` replace a record that it can't read."""
        self.step(STEP)
        (key,) = self.store.keys()
        generation = self.store.read(key).generation
        content = {"sealed": b"garbage", "lifetime_seconds": 3600.0, "age_seconds": 0.0}
        self.store.publish(
            key, owner="", replaces=generation, generation=generation + 1, keep=False, **content
        )
        self.here.get_token("api")

    def disagree(self):
        """Have ``here`` read a record while the store's clock is a minute ahead."""
        self.step(STEP)
        self.there.get_token("api")
        self.store.own_clock.step(60)
        self.here.get_token("api")

    def lose_store(self):
        """Take the store away as ``here`` needs it, until :meth:`find_store`."""
        self.step(STEP)
        self.store.is_away = True
        self.here.get_token("api")

    def find_store(self):
        """Bring the store back as ``here`` needs it."""
        self.step(STEP)
        self.store.is_away = False
        self.here.get_token("api")
