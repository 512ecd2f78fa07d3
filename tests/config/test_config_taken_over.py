"""A configuration that changes while requests, reloads and calls by hand are in progress."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from kit import internals
from kit.guards import GUARD_SECONDS

from tokenkeeper import (
    BaseOAuth2Provider,
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2Token,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.config.configuration import Configuration


class Provider(BaseOAuth2Provider):
    """Grants tokens that name the spec it was made from, and waits at a gate."""

    def __init__(self, spec):
        super().__init__(spec.provider_name)
        self.spec = spec
        self.count = 0

    def acquire_token(self):
        self.spec.entered.set()
        assert self.spec.gate.wait(GUARD_SECONDS)
        if self.spec.error is not None:
            raise self.spec.error
        self.count += 1
        ends = datetime.now(UTC) + timedelta(hours=1)
        return OAuth2Token(f"{self.spec.secret}-{self.count}", "Bearer", ends)


@dataclass(frozen=True)
class Spec:
    """A provider spec that decides where requests stop, and how they end."""

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
    """Returns specs, or raises an error."""

    def __init__(self, *specs):
        self.says(*specs)
        self.readings = 0

    def says(self, *specs):
        self.specs = {each.provider_name: each for each in specs}
        self.problem = None

    def read(self):
        self.readings += 1
        if self.problem is not None:
            raise self.problem
        return self.specs


@pytest.fixture
def source():
    return Source(Spec("api"))


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
    """Every final rejection checks whether the configuration was corrected."""
    source.says(Spec("api", "wrong", error))
    keeper.reload()
    source.says(Spec("api", "right"))
    assert keeper.get_token("api") == "right-1"
    assert keeper.reload() == {"added": [], "changed": [], "removed": []}


def test_what_may_pass_is_no_refusal(source, keeper):
    """A server that is down does not make the configuration be read again."""
    source.says(Spec("api", "down", refusal(status_code=503)))
    keeper.reload()
    readings = source.readings
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api", timeout=0.1)
    assert source.readings == readings


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (InvalidConfigurationError("line 5"), "could not be read again: line 5"),
        (RuntimeError("hunter2"), "could not be read again: RuntimeError"),
    ],
)
def test_a_refusal_is_told_whatever_is_wrong_beside(source, keeper, problem, words, caplog):
    """Callers see the server's error, not the reason why the file could not be read."""
    source.says(Spec("api", "wrong", refusal(error="invalid_scope")))
    keeper.reload()
    source.problem = problem
    with pytest.raises(TokenAcquisitionError) as raised:
        keeper.get_token("api")
    assert raised.value.error == "invalid_scope"
    assert words in caplog.text
    assert "hunter2" not in caplog.text


def test_a_refusal_of_a_provider_that_is_gone(source, keeper, caplog):
    """A provider that is no longer described keeps its error."""
    source.says(Spec("api", "wrong", refusal(error="invalid_client")))
    keeper.reload()
    source.says()
    with pytest.raises(TokenAcquisitionError, match="no"):
        keeper.get_token("api")
    assert "not read again" not in caplog.text


@pytest.mark.parametrize("is_held", [False, True])
def test_a_request_under_way(source, keeper, is_held):
    """A token that was requested before a reload serves its waiters, and no later caller."""
    spec = source.specs["api"]
    if is_held:
        assert keeper.get_token("api") == "first-1"
        spec.entered.clear()
    spec.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(keeper.get_token, "api", force_refresh=is_held)
        assert spec.entered.wait(GUARD_SECONDS)
        later = Spec("api", "second")
        source.says(later)
        assert keeper.reload()["changed"] == ["api"]
        spec.gate.set()
        assert waiting.result(GUARD_SECONDS) == ("first-2" if is_held else "first-1")
    if is_held:
        assert later.entered.wait(GUARD_SECONDS)  # it is renewed without being asked
    while keeper.get_token("api") == "first-1":
        threading.Event().wait(0.01)
    assert keeper.get_token("api") == "second-1"


def test_a_provider_removed_by_hand(source, keeper):
    """A configured provider that was removed comes back with the next reload."""
    keeper.remove_provider("api")
    source.says(Spec("api", "second"), Spec("other"))
    assert keeper.reload() == {"added": ["api", "other"], "changed": ["api"], "removed": []}
    assert keeper.get_token("api") == "second-1"


def test_a_provider_that_is_no_longer_described(source, keeper):
    """A provider that is gone from the configuration is removed with its token."""
    keeper.get_token("api")
    source.says(Spec("other"))
    assert keeper.reload() == {"added": ["other"], "changed": [], "removed": ["api"]}
    assert keeper.list_providers() == ["other"]
    assert internals.cached(keeper) is None


def test_a_provider_removed_during_a_reload(source, keeper, monkeypatch):
    """A reload succeeds although another thread removes a changed provider meanwhile."""
    upkeep = internals.coordinator(keeper).upkeep
    reconsider = upkeep.reconsider

    def reconsider_too_late(name):
        keeper.remove_provider(name)
        reconsider(name)

    monkeypatch.setattr(upkeep, "reconsider", reconsider_too_late)
    source.says(Spec("api", "second"))
    assert keeper.reload() == {"added": [], "changed": ["api"], "removed": []}


def test_a_name_taken_by_hand(source, keeper):
    """Nothing changes while a new name is taken; once it is free, everything does."""
    keeper.add_provider(Provider(Spec("other", "by hand")))
    source.says(Spec("api", "second"), Spec("other"))
    for _ in range(2):
        with pytest.raises(InvalidConfigurationError, match="duplicate provider name 'other'"):
            keeper.reload()
        assert keeper.get_token("api") == "first-1"
        assert keeper.get_token("other") == "by hand-1"
    keeper.remove_provider("other")
    assert keeper.reload() == {"added": ["other"], "changed": ["api"], "removed": []}
    assert keeper.get_token("other") == "first-1"


def test_what_was_added_by_hand_stays(source, keeper):
    """A provider that was added by hand is not changed by a reload, even in another's place."""
    keeper.add_provider(Provider(Spec("mine")))
    keeper.remove_provider("api")
    keeper.add_provider(Provider(Spec("api", "by hand")))
    source.says()
    assert keeper.reload() == {"added": [], "changed": [], "removed": []}
    assert keeper.list_providers() == ["mine", "api"]


def test_a_reload_that_broke_off(source):
    """The next reload completes an interrupted one."""

    class Interrupted(TokenKeeper):
        is_interrupted = False

        def add_provider(self, provider):
            if self.is_interrupted:
                raise KeyboardInterrupt
            super().add_provider(provider)

    with Interrupted._configured(Configuration(source.read), {}) as keeper:
        source.says(Spec("one"), Spec("two"))
        keeper.is_interrupted = True
        with pytest.raises(KeyboardInterrupt):
            keeper.reload()
        keeper.is_interrupted = False
        assert keeper.reload() == {"added": ["one", "two"], "changed": [], "removed": []}
        assert keeper.list_providers() == ["one", "two"]


def test_a_closed_keeper(source, keeper):
    """A closed keeper does not read its configuration, and raises ``KeeperClosedError``."""
    source.says(Spec("other"))
    keeper.close()
    with pytest.raises(KeeperClosedError):
        keeper.reload()


def test_reloads_take_turns(source):
    """A reload waits for another one, and finds nothing left to do."""
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
        source.says(Spec("api"), Spec("other"))
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
    """Switch between threads as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_many_reloads_at_once(source, keeper, busy):
    """Readers always get a token, whatever is reloaded, added and removed at the same time."""
    keeper.get_token("api")
    stop, begin = threading.Event(), threading.Barrier(5)

    def read():
        begin.wait(GUARD_SECONDS)
        while not stop.is_set():
            assert keeper.get_token("api")

    def reload(number):
        begin.wait(GUARD_SECONDS)
        for turn in range(20):
            others = [Spec(f"{number}-{turn % 3}"), Spec(f"shared {turn % 2}")]
            source.says(Spec("api", f"{number} {turn}"), *others)
            keeper.reload()

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        reloads = [pool.submit(reload, number) for number in range(3)]
        errors = [each.exception(GUARD_SECONDS) for each in reloads]
        stop.set()
        errors += [each.exception(GUARD_SECONDS) for each in readers]
    assert errors == [None] * 5
    source.says(Spec("api", "last"), Spec("other"))
    keeper.reload()
    assert keeper.list_providers() == ["api", "other"]
    assert keeper.get_token("api", force_refresh=True).startswith("last")
