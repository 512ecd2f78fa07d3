"""The three promises, checked after every step of random histories."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from kit import internals

from tokenkeeper import (
    BaseOAuth2Provider,
    OAuth2Token,
    TokenAcquisitionError,
    TokenKeeper,
    TokenRejectedError,
)
from tokenkeeper.schedule import MARGIN_SECONDS
from tokenkeeper.testing import SteppedClock

MOODS = ["grants", "is down", "refuses", "is slow", "is slow while the wall clock is stepped"]
LONG_REQUEST_SECONDS = 1.5


class Server(BaseOAuth2Provider):
    """Grants tokens and knows their real expiry, on a clock that can't be set."""

    def __init__(self, clock):
        super().__init__("api")
        self.clock = clock
        self.mood = "grants"
        self.lifetime = 3600.0
        self.requests = 0
        self.granted = {}  # token -> (real expiry, lifetime, real time of the grant)
        self.revoked = set()

    def acquire_token(self):
        self.requests += 1
        wall = self.clock.time()
        if self.mood.startswith("is slow"):
            self.clock.step(LONG_REQUEST_SECONDS)
            if self.mood != "is slow":
                self.clock.step_wall(-3600.0 if self.requests % 2 else 3600.0)
        if self.mood == "is down":
            raise TokenAcquisitionError("503", status_code=503)
        if self.mood == "refuses":
            raise TokenAcquisitionError("401", status_code=401, error="invalid_client")
        token = f"token-{self.requests}"
        # The lifetime begins when the request was sent, which is the least that a server can mean.
        sent = self.clock.monotonic() - (LONG_REQUEST_SECONDS if "slow" in self.mood else 0.0)
        self.granted[token] = (sent + self.lifetime, self.lifetime, self.clock.monotonic())
        ends = datetime.fromtimestamp(wall, UTC) + timedelta(seconds=self.lifetime)
        return OAuth2Token(token, "Bearer", ends)

    def margin(self, token):
        """Return the real remaining lifetime of *token* beyond the margin that it must have."""
        end, lifetime, _ = self.granted[token]
        return end - self.clock.monotonic() - min(MARGIN_SECONDS, lifetime / 20)

    def works(self, token):
        return token not in self.revoked and self.margin(token) > 0


class Promises(RuleBasedStateMachine):
    """A keeper, a server in changing states, a clock that jumps, and callers of all kinds."""

    background = True

    @initialize(lifetime=st.sampled_from([4.0, 60.0, 900.0, 3600.0]))
    def begin(self, lifetime):
        self.clock = SteppedClock(auto_step=True)
        self.server = Server(self.clock)
        self.server.lifetime = lifetime
        self.keeper = TokenKeeper(background=self.background, clock=self.clock)
        self.keeper.add_provider(self.server)
        self.pin_threads()

    def pin_threads(self):
        """Let the rules act as the scheduler's thread."""
        if self.background:
            internals.run_jobs_inline(self.keeper)
            internals.take_over_scheduler(self.keeper)

    def teardown(self):
        if hasattr(self, "keeper"):
            internals.release_scheduler(self.keeper)
            self.keeper.close()

    # ---- events

    @rule(seconds=st.sampled_from([0.001, 0.5, 1.0, 10.0, 60.0, 299.0, 900.0, 3600.0, 86400.0]))
    def time_passes(self, seconds):
        self.clock.step(seconds)

    @rule(seconds=st.sampled_from([-1e7, -3600.0, -1.0, 1.0, 3600.0, 1e7]))
    def somebody_steps_the_wall_clock(self, seconds):
        self.clock.step_wall(seconds)

    @rule(mood=st.sampled_from(MOODS))
    def the_server_s_mood_changes(self, mood):
        self.server.mood = mood

    @rule(lifetime=st.sampled_from([2.0, 4.0, 60.0, 300.0, 3600.0, 86400.0]))
    def the_server_grants_other_lifetimes(self, lifetime):
        self.server.lifetime = lifetime

    @rule()
    def the_refresher_looks(self):
        internals.renew_due(self.keeper)

    @rule()
    def the_process_forks(self):
        """Continue as the child, which must not lose a token or a renewal."""
        internals.after_fork_in_child(self.keeper)
        self.pin_threads()

    @rule()
    def somebody_clears(self):
        self.keeper.clear_token()
        assert self.keeper.get_cached_token_info("api") is None

    # ---- calls

    def held(self):
        """Return the cached token if it is valid for the server, and for the keeper.

        A step of the wall clock counts even if the keeper has not noticed it yet: a forked child
        does with its first read.
        """
        held = internals.cached(self.keeper)
        alive = held is not None and held.snapshot(self.clock).state != "expired"
        return held.access_token if alive and self.server.works(held.access_token) else None

    def still(self, had):
        """Return *had* unless it expired during the one request that an inline renewal may cost."""
        return had if self.background or had == self.held() else None

    @rule()
    def somebody_reads(self):
        had, before = self.held(), self.server.requests
        try:
            token = self.keeper.get_token("api")
        except TokenAcquisitionError:
            assert self.still(had) is None, "an error, though a valid token was held"
            assert self.server.mood != "grants" or self.server.requests == before
        else:
            assert self.server.works(token), "an expired token"
            if had is not None and self.background:
                assert self.server.requests == before, "a wait, though a valid token was held"
            if self.server.mood == "grants":
                assert self.server.requests - before <= 1, "two requests for one need"

    @rule()
    def somebody_wants_a_new_one(self):
        came, before = self.clock.monotonic(), self.server.requests
        try:
            token = self.keeper.get_token("api", force_refresh=True)
        except TokenAcquisitionError:
            assert self.server.mood != "grants"
        else:
            assert self.server.works(token)
            assert self.server.granted[token][2] >= came, "granted before the call began"
            if self.server.mood == "grants":
                assert self.server.requests - before == 1

    @rule()
    def somebody_renews_all(self):
        had = internals.cached(self.keeper)
        worked = self.keeper.refresh_all()
        assert worked.keys() == ({"api"} if had is not None else set())
        if self.server.mood == "grants":
            assert all(worked.values())

    @precondition(lambda self: self.held() is not None)
    @rule()
    def an_api_refuses_the_token(self):
        refused, before = self.held(), self.server.requests
        self.server.revoked.add(refused)
        for _ in range(3):  # many callers with the same rejected token
            made = self.server.requests
            try:
                token = self.keeper.renew_refused("api", refused)
            except TokenRejectedError:
                assert self.server.requests == made, "a request within a pause"
                self.server.revoked.discard(refused)  # it is still served to other APIs
                return
            except TokenAcquisitionError:
                assert self.server.mood != "grants"
                if internals.cached(self.keeper).dead_at > self.clock.monotonic():
                    self.server.revoked.discard(refused)
            else:
                assert token != refused
                assert self.server.works(token)
        if self.server.mood == "grants":
            assert self.server.requests - before == 1, "a crowd caused more than one renewal"

    @rule()
    def somebody_will_not_wait(self):
        had = self.held()
        try:
            token = self.keeper.get_token("api", timeout=0)
        except TokenAcquisitionError:
            assert self.still(had) is None
        else:
            assert self.server.works(token)

    # ---- invariants

    @invariant()
    def what_is_held_is_whole(self):
        held = getattr(self, "keeper", None) and internals.cached(self.keeper)
        if held:
            assert held.token.access_token == held.access_token
            assert held.stale_at <= held.dead_at <= held.ends_at
            true_end = self.server.granted[held.access_token][0]
            assert held.ends_at <= true_end + 1e-3, "thought to live longer than it does"

    @invariant()
    def nothing_is_left_in_the_air(self):
        if hasattr(self, "keeper"):
            assert not internals.flights(self.keeper)

    @invariant()
    def a_renewal_is_always_planned(self):
        held = getattr(self, "keeper", None) and internals.cached(self.keeper)
        if held and self.clock.monotonic() < held.dead_at:
            assert internals.is_scheduled(self.keeper)


class PromisesInline(Promises):
    """The same without a background."""

    background = False


TestPromises = pytest.mark.slow(Promises.TestCase)
TestPromisesInline = pytest.mark.slow(PromisesInline.TestCase)
TestPromises.settings = TestPromisesInline.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
