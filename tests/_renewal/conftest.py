"""What the tests of renewals share."""

import signal

import pytest

from tokenkeeper._renewal.rejections import QUICK_RENEWALS


@pytest.fixture
def reject(keeper):
    """Return a function that reports tokens as rejected until only a pause can follow.

    It returns the current token, which no API has rejected yet.
    """

    def reject():
        token = keeper.get_token("api")
        for _ in range(QUICK_RENEWALS):
            token = keeper.renew_refused("api", token)
        return token

    return reject


@pytest.fixture
def interrupt_with():
    """Return a function that returns one which raises an error in the main thread.

    A signal handler raises it, as those of task queues do.
    """
    before = signal.getsignal(signal.SIGINT)

    def interrupt_with(error):
        def handler(number, frame):
            raise error

        signal.signal(signal.SIGINT, handler)
        return lambda *_: signal.raise_signal(signal.SIGINT)

    yield interrupt_with
    signal.signal(signal.SIGINT, before)
