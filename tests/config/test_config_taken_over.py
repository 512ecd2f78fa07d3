"""What a keeper makes of a configuration that changes, whatever else happens to it meanwhile."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from kit import internals

from tokenkeeper import (
    BaseOAuth2Provider,
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2Token,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.config.configuration import Configuration

GUARD_SECONDS = 30


class Provider(BaseOAuth2Provider):
    """Grants tokens that say what it was made from, and can be held up at a gate."""

    def __init__(self, recipe):
        super().__init__(recipe.provider_name)
        self.recipe = recipe
        self.count = 0

    def acquire_token(self):
        self.recipe.entered.set()
        assert self.recipe.gate.wait(GUARD_SECONDS)
        if self.recipe.error is not None:
            raise self.recipe.error
        self.count += 1
        ends = datetime.now(UTC) + timedelta(hours=1)
        return OAuth2Token(f"{self.recipe.secret}-{self.count}", "Bearer", ends)


@dataclass(frozen=True)
class Recipe:
    """What a provider is made from: where the requests stop, and what they end with."""

    provider_name: str
    secret: str = "first"
    error: Exception | None = field(default=None, compare=False)
    entered: threading.Event = field(default_factory=threading.Event, compare=False)
    gate: threading.Event = field(default_factory=threading.Event, compare=False)

    def __post_init__(self):
        self.gate.set()

    def make_provider(self):
        return Provider(self)


class Source:
    """What is read: recipes, or what is raised instead."""

    def __init__(self, *recipes):
        self.says(*recipes)
        self.readings = 0

    def says(self, *recipes):
        self.recipes = {each.provider_name: each for each in recipes}
        self.problem = None

    def read(self):
        self.readings += 1
        if self.problem is not None:
            raise self.problem
        return self.recipes


@pytest.fixture
def source():
    return Source(Recipe("api"))


@pytest.fixture
def keeper(source):
    with TokenKeeper._configured(Configuration(source.read), {}) as keeper:
        yield keeper


def refusal(**attributes):
    return TokenAcquisitionError("no", **{"status_code": 400, **attributes})


@pytest.mark.parametrize(
    "error",
    [
        refusal(error="invalid_client", status_code=401),
        refusal(error="invalid_client", status_code=503, retry_after=1.0),
        refusal(error="invalid_scope"),
        refusal(error="invalid_target"),
        refusal(error="invalid_request"),
        refusal(status_code=403),
        refusal(status_code=404),
        refusal(status_code=200, transient=False),
    ],
    ids=lambda error: error.error or str(error.status_code),
)
def test_whatever_the_server_refuses(source, keeper, error):
    """A refusal of any kind looks whether what is refused was corrected."""
    source.says(Recipe("api", "wrong", error))
    keeper.reload()
    source.says(Recipe("api", "right"))
    assert keeper.get_token("api") == "right-1"
    assert keeper.reload() == {"added": [], "changed": [], "removed": []}


def test_what_may_pass_is_no_refusal(source, keeper):
    """A server that is down says nothing of the configuration, and it is not read again."""
    source.says(Recipe("api", "down", refusal(status_code=503)))
    keeper.reload()
    readings = source.readings
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api", timeout=0.1)
    assert source.readings == readings


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (InvalidConfigurationError("line 5"), "was not read again: line 5"),
        (RuntimeError("hunter2"), "was not read again: RuntimeError"),
    ],
)
def test_a_refusal_is_told_whatever_is_wrong_beside(source, keeper, problem, words, caplog):
    """Callers see why the server refused them, and not what kept the file from being read."""
    source.says(Recipe("api", "wrong", refusal(error="invalid_scope")))
    keeper.reload()
    source.problem = problem
    with pytest.raises(TokenAcquisitionError) as raised:
        keeper.get_token("api")
    assert raised.value.error == "invalid_scope"
    assert words in caplog.text
    assert "hunter2" not in caplog.text


def test_a_refusal_of_a_provider_that_is_gone(source, keeper, caplog):
    """A provider that is described no more is refused as before."""
    source.says(Recipe("api", "wrong", refusal(error="invalid_client")))
    keeper.reload()
    source.says()
    with pytest.raises(TokenAcquisitionError, match="no"):
        keeper.get_token("api")
    assert "not read again" not in caplog.text


@pytest.mark.parametrize("is_held", [False, True])
def test_a_request_under_way(source, keeper, is_held):
    """A token that was asked for before a reload serves who waited for it, and nobody after."""
    recipe = source.recipes["api"]
    if is_held:
        assert keeper.get_token("api") == "first-1"
        recipe.entered.clear()
    recipe.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(keeper.get_token, "api", force_refresh=is_held)
        assert recipe.entered.wait(GUARD_SECONDS)
        later = Recipe("api", "second")
        source.says(later)
        assert keeper.reload()["changed"] == ["api"]
        recipe.gate.set()
        assert waiting.result(GUARD_SECONDS) == ("first-2" if is_held else "first-1")
    if is_held:
        assert later.entered.wait(GUARD_SECONDS)  # it is renewed without being asked
    while keeper.get_token("api") == "first-1":
        threading.Event().wait(0.01)
    assert keeper.get_token("api") == "second-1"


def test_a_provider_removed_by_hand(source, keeper):
    """It comes back with the next reload, as what is described is what is registered."""
    keeper.remove_provider("api")
    source.says(Recipe("api", "second"), Recipe("other"))
    assert keeper.reload() == {"added": ["api", "other"], "changed": ["api"], "removed": []}
    assert keeper.get_token("api") == "second-1"


def test_a_name_taken_by_hand(source, keeper):
    """Nothing is taken over while a new name is taken; once it is free, all of it is."""
    keeper.add_provider(Provider(Recipe("other", "by hand")))
    source.says(Recipe("api", "second"), Recipe("other"))
    for _ in range(2):
        with pytest.raises(InvalidConfigurationError, match="duplicate provider name 'other'"):
            keeper.reload()
        assert keeper.get_token("api") == "first-1"
        assert keeper.get_token("other") == "by hand-1"
    keeper.remove_provider("other")
    assert keeper.reload() == {"added": ["other"], "changed": ["api"], "removed": []}
    assert keeper.get_token("other") == "first-1"


def test_what_was_added_by_hand_stays(source, keeper):
    """A provider that no configuration described is not touched, nor one in another's place."""
    keeper.add_provider(Provider(Recipe("mine")))
    keeper.remove_provider("api")
    keeper.add_provider(Provider(Recipe("api", "by hand")))
    source.says()
    assert keeper.reload() == {"added": [], "changed": [], "removed": []}
    assert keeper.list_providers() == ["mine", "api"]


def test_a_reload_that_broke_off(source):
    """What an interrupted reload left undone is done by the next one."""

    class Interrupted(TokenKeeper):
        is_interrupted = False

        def add_provider(self, provider):
            if self.is_interrupted:
                raise KeyboardInterrupt
            super().add_provider(provider)

    with Interrupted._configured(Configuration(source.read), {}) as keeper:
        source.says(Recipe("one"), Recipe("two"))
        keeper.is_interrupted = True
        with pytest.raises(KeyboardInterrupt):
            keeper.reload()
        keeper.is_interrupted = False
        assert keeper.reload() == {"added": ["one", "two"], "changed": [], "removed": []}
        assert keeper.list_providers() == ["one", "two"]


def test_a_closed_keeper(source, keeper):
    """It reads nothing again, and says that it is closed."""
    source.says(Recipe("other"))
    keeper.close()
    with pytest.raises(KeeperClosedError):
        keeper.reload()


def test_reloads_take_turns(source):
    """A reload that meets another one waits, and finds nothing left to do."""
    came, entered, gate = threading.Semaphore(0), threading.Event(), threading.Event()

    class Turn:
        lock = threading.Lock()

        def __enter__(self):
            came.release()
            self.lock.acquire()

        def __exit__(self, *_):
            self.lock.release()

    class Held(TokenKeeper):
        def add_provider(self, provider):
            if provider.provider_name == "other":
                entered.set()
                assert gate.wait(GUARD_SECONDS)
            super().add_provider(provider)

    with Held._configured(Configuration(source.read), {}) as keeper, ThreadPoolExecutor(2) as pool:
        internals.configuration(keeper).turn = Turn()
        source.says(Recipe("api"), Recipe("other"))
        first = pool.submit(keeper.reload)
        assert entered.wait(GUARD_SECONDS)
        second = pool.submit(keeper.reload)
        assert came.acquire(timeout=GUARD_SECONDS)
        assert came.acquire(timeout=GUARD_SECONDS)
        gate.set()
        assert first.result(GUARD_SECONDS)["added"] == ["other"]
        assert second.result(GUARD_SECONDS)["added"] == []


@pytest.fixture
def busy():
    """Switch between threads as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_many_reloads_at_once(source, keeper, busy):
    """Whoever reloads, and whatever comes and goes meanwhile, readers are served throughout."""
    keeper.get_token("api")
    stop, begin = threading.Event(), threading.Barrier(5)

    def read():
        begin.wait(GUARD_SECONDS)
        while not stop.is_set():
            assert keeper.get_token("api")

    def reload(number):
        begin.wait(GUARD_SECONDS)
        for turn in range(20):
            others = [Recipe(f"{number}-{turn % 3}"), Recipe(f"shared {turn % 2}")]
            source.says(Recipe("api", f"{number} {turn}"), *others)
            keeper.reload()

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        reloads = [pool.submit(reload, number) for number in range(3)]
        errors = [each.exception(GUARD_SECONDS) for each in reloads]
        stop.set()
        errors += [each.exception(GUARD_SECONDS) for each in readers]
    assert errors == [None] * 5
    source.says(Recipe("api", "last"), Recipe("other"))
    keeper.reload()
    assert keeper.list_providers() == ["api", "other"]
    assert keeper.get_token("api", force_refresh=True).startswith("last")
