"""The queue of each hook: who delivers, what is dropped, and what is logged of it."""

from datetime import UTC, datetime

import pytest

from tokenkeeper._renewal import delivery
from tokenkeeper._renewal.notifier import Notifier
from tokenkeeper.events import TokenCleared, TokenRejected

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CLEARED = TokenCleared("api", NOW)


class StopError(BaseException):
    """An exception by which a host stops a thread."""


def no_thread(call):
    """Hand nothing over, as on a host without threads."""
    return False


class Slow:
    """A hook that is an object without a name."""

    def __call__(self, event):
        """Do nothing."""


def slow(event):
    """Do nothing."""


@pytest.fixture
def most(monkeypatch):
    """Return a function that limits how many events wait for a hook."""
    return lambda number: monkeypatch.setattr(delivery, "MAX_PENDING", number)


def test_log_lines_are_handed_over(caplog):
    """A caller's thread writes no log line itself if another thread takes it over."""
    calls = []
    notifier = Notifier([], lambda call: not calls.append(call))
    notifier.enqueue(TokenRejected("api", NOW, 4, 30.0))
    notifier.deliver()
    assert not caplog.records
    (write,) = calls
    write()
    (record,) = caplog.records
    assert record.event_name == "TokenRejected"


def test_a_second_deliverer_leaves_it_to_the_first():
    """While a thread delivers to a hook, another one that is just as far does not call it."""
    reported = []

    def hook(event):
        reported.append("begins")
        if len(reported) == 1:
            notifier.enqueue(CLEARED)
            queue.deliver()
        reported.append("ends")

    notifier = Notifier([hook], no_thread)
    ((_, queue),) = notifier._hooks
    notifier.enqueue(CLEARED)
    notifier.deliver()
    assert reported == ["begins", "ends", "begins", "ends"]


def test_the_exception_that_a_caller_is_handling(caplog):
    """A hook that fails while its caller handles the host's exception is not that exception."""

    def hook(event):
        raise ValueError

    notifier = Notifier([hook], no_thread)
    notifier.enqueue(CLEARED)
    try:
        raise StopError
    except StopError:
        notifier.deliver()
    (record,) = caplog.records
    assert record.getMessage().endswith(".hook failed at TokenCleared")


def test_a_queue_that_was_emptied_meanwhile(most):
    """An event that a deliverer took just before it would be dropped does not count as dropped."""
    most(0)
    notifier = Notifier([slow], no_thread)
    notifier.enqueue(CLEARED)
    assert notifier.dropped == 0


@pytest.mark.parametrize(("hook", "name"), [(slow, "slow"), (Slow(), "Slow")])
def test_warnings_of_dropped_events(most, hook, name, caplog):
    """The warning names the hook; it comes at the first dropped event, the tenth, and so on."""
    most(1)
    notifier = Notifier([hook], no_thread)
    warned_at = []
    for number in range(120):
        notifier.enqueue(CLEARED)
        warn = notifier._hooks[0][1].take_warning()
        if warn is not None:
            warn()
            warned_at.append(number)
    assert warned_at == [1, 10, 100]
    assert caplog.messages == [
        f"the hook {name} is too slow or hangs: {dropped} events were dropped, the oldest first"
        for dropped in warned_at
    ]
