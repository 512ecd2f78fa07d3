"""The context in which token requests and their events run."""

import contextvars
import queue
import threading

import anyio
import pytest

from tokenkeeper import BaseOAuth2Provider, OAuth2TokenManager
from tokenkeeper.events import TokenAcquired, TokenRenewed
from tokenkeeper.testing import StaticProvider


class TestContext:
    """Whose context variables, and therefore whose trace, a request and its events have."""

    @pytest.fixture
    def request_id(self):
        return contextvars.ContextVar("request_id", default=None)

    @pytest.fixture
    def seen(self, keeper, request_id):
        """Return the events that hooks get, with the context variable's value."""
        seen = queue.SimpleQueue()
        keeper.add_hook(lambda event: seen.put((type(event), request_id.get())))
        return seen

    def test_of_a_caller(self, keeper, source, request_id, seen):
        """The first token belongs to the caller that started the request, also on a worker."""
        acquire, fetched_for = source.acquire_token, []

        def acquire_token():
            fetched_for.append(request_id.get())
            return acquire()

        source.acquire_token = acquire_token
        contextvars.copy_context().run(lambda: (request_id.set("r1"), keeper.get_token("api")))
        assert seen.get(timeout=20) == (TokenAcquired, "r1")
        assert fetched_for == ["r1"]

    def test_of_a_renewal(self, keeper, clock, look, request_id, seen, monkeypatch):
        """A renewal has no caller's context, even if a caller started its thread earlier."""

        class Inheriting(threading.Thread):  # as with OpenTelemetry's instrumentation
            def start(self):
                self.context = contextvars.copy_context()
                super().start()

            def run(self):
                self.context.run(super().run)

        monkeypatch.setattr(threading, "Thread", Inheriting)
        contextvars.copy_context().run(lambda: (request_id.set("r1"), keeper.get_token("api")))
        assert seen.get(timeout=20) == (TokenAcquired, "r1")
        clock.step(3241)
        look(keeper)
        assert seen.get(timeout=20) == (TokenRenewed, None)

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_without_the_event_loop(self, keeper, clock, backend):
        """A provider that runs its own event loop does not see the caller's."""

        class RunsALoop(BaseOAuth2Provider):
            def acquire_token(self):
                anyio.run(anyio.sleep, 0)
                return StaticProvider("static", "a token", clock=clock).acquire_token()

        keeper.add_provider(RunsALoop("looping"))
        assert anyio.run(OAuth2TokenManager(keeper).get_token, "looping", backend=backend)
