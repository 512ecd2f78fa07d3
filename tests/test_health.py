"""The report for readiness probes."""

import json
from contextlib import suppress

import pytest
from kit.providers import ManyTokens

from tokenkeeper import OAuth2TokenManager, TokenAcquisitionError

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)
OUTAGE = TokenAcquisitionError("down", status_code=503)

IDLE = {
    "status": "idle",
    "state": None,
    "remaining_seconds": None,
    "renews_in_seconds": None,
    "failures": 0,
    "last_error": None,
    "last_failure_at": None,
}


def test_nobody_asked_yet(keeper, source):
    """A keeper is healthy before its first request, and a probe makes none."""
    assert keeper.health() == {"status": "ok", "providers": {"api": IDLE}}
    assert source.requests == 0


def test_well(keeper):
    """A provider with a valid token is healthy."""
    keeper.get_token("api")
    assert keeper.health() == {
        "status": "ok",
        "providers": {
            "api": {
                **IDLE,
                "status": "ok",
                "state": "fresh",
                "remaining_seconds": 3600.0,
                "renews_in_seconds": 3240.0,
            }
        },
    }


def test_degraded(keeper, source, clock, look):
    """A renewal that fails while a token is valid degrades the status, until one succeeds."""
    keeper.get_token("api")
    source.error = OUTAGE
    clock.step(3241)
    look(keeper)
    health = keeper.health()
    assert health["status"] == health["providers"]["api"]["status"] == "degraded"
    assert health["providers"]["api"]["last_error"] == "down"
    source.error = None
    clock.step(1)
    look(keeper)
    assert keeper.health()["status"] == "ok"


def test_down(keeper, source, clock):
    """A provider that has no token and was refused one is down, also after its cooldown."""
    source.error = WRONG_SECRET
    for failures in (1, 2):
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        clock.step(60)
        api = keeper.health()["providers"]["api"]
        assert (api["status"], api["failures"]) == ("down", failures)
        assert api["last_error"] == "wrong secret"
    failed_at = clock.time() - 60
    assert api["last_failure_at"] == "2030-03-17T17:47:40+00:00"
    assert failed_at == 1_900_000_060.0
    assert keeper.health()["status"] == "down"


def test_ended(keeper, clock):
    """A token that expired unused is not a failure."""
    keeper.get_token("api")
    clock.step(4000)
    api = keeper.health()["providers"]["api"]
    assert (api["status"], api["state"], api["remaining_seconds"]) == ("idle", "expired", 0.0)


def test_refused(keeper, source):
    """A token that an API rejected, and that can't be replaced, has no remaining lifetime."""
    token = keeper.get_token("api")
    source.error = OUTAGE
    with pytest.raises(TokenAcquisitionError):
        keeper.renew_refused("api", token)
    api = keeper.health()["providers"]["api"]
    assert (api["status"], api["state"], api["remaining_seconds"]) == ("down", "expired", 0.0)
    assert keeper.get_cached_token_info("api")["remaining_seconds"] == 0.0


def test_the_worst_counts(keeper, make_source):
    """One provider that is down makes the whole status down; the others have their own."""
    bad = make_source("bad")
    bad.error = WRONG_SECRET
    keeper.add_provider(bad)
    keeper.get_token("api")
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("bad")
    health = keeper.health()
    assert health["status"] == "down"
    assert [each["status"] for each in health["providers"].values()] == ["ok", "down"]


def test_cleared(keeper, source):
    """Clearing forgets failures with the tokens."""
    source.error = WRONG_SECRET
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    keeper.clear_token()
    assert keeper.health() == {"status": "ok", "providers": {"api": IDLE}}


class TestSeveralTokens:
    """A provider with tokens whose parameters callers chose."""

    @pytest.fixture
    def many(self, keeper, clock):
        """Return a provider with many tokens."""
        keeper.add_provider(many := ManyTokens("many", clock=clock))
        return many

    def test_shape(self, keeper, many):
        """Each chosen token has an entry below its provider, by name, beside the provider's own."""
        keeper.get_token("many")
        source = keeper.source("many", scope="read")
        source()
        own = {
            **IDLE,
            "status": "ok",
            "state": "fresh",
            "remaining_seconds": 3600.0,
            "renews_in_seconds": 3240.0,
        }
        health = keeper.health()
        assert health["providers"]["many"] == {**own, "tokens": {source.name: own}}
        assert "tokens" not in health["providers"]["api"]
        assert json.loads(json.dumps(health)) == health
        keeper.clear_token(source.name)
        assert keeper.health()["providers"]["many"] == own

    @pytest.mark.parametrize(
        ("asked", "failing", "status"),
        [
            ([{"scope": "a"}], [], "ok"),
            ([{"scope": "a"}], ["a"], "down"),
            ([{"scope": "a"}, {"scope": "b"}], ["a"], "degraded"),
            ([{"scope": "a"}, {"scope": "b"}], ["a", "b"], "down"),
            ([{}, {"scope": "a"}], ["a"], "degraded"),
            ([{}, {"scope": "a"}], ["own"], "degraded"),
            ([{"account": "a"}], ["a"], "degraded"),
            ([{"account": "a"}, {"account": "b"}], ["a", "b"], "degraded"),
            ([{"tenant": "a"}], ["own"], "degraded"),
            ([{"subject": "a", "audience": '"tenant":'}], ["own"], "degraded"),
            ([{"audience": '"tenant":'}], ["own"], "down"),
            ([{}, {"account": "a"}], ["own", "a"], "degraded"),
            ([], [], "idle"),
        ],
    )
    def test_status(self, keeper, many, asked, failing, status):
        """A provider is down if none of its tokens can be had; a customer's alone degrades it."""
        many.failing |= {*failing}
        for parameters in asked:
            with suppress(TokenAcquisitionError):
                keeper.source("many", **parameters)()
        health = keeper.health()
        assert health["providers"]["many"]["status"] == status
        assert health["status"] == ("ok" if status == "idle" else status)

    def test_a_token_that_expired_unused(self, keeper, many, clock):
        """A token that expired while nothing used it is not a failure of its provider."""
        source = keeper.source("many", scope="a")
        source()
        clock.step(4000)
        entry = keeper.health()["providers"]["many"]
        assert entry["status"] == entry["tokens"][source.name]["status"] == "idle"

    def test_a_token_that_is_down(self, keeper, many):
        """Its own entry says that it is down, and why."""
        many.failing.add("a")
        source = keeper.source("many", account="a")
        with pytest.raises(TokenAcquisitionError):
            source()
        (entry,) = keeper.health()["providers"]["many"]["tokens"].values()
        assert (entry["status"], entry["failures"], entry["last_error"]) == ("down", 1, "no")


def test_closed(keeper):
    """A closed keeper reports that instead of raising, because a probe may be late."""
    keeper.close()
    assert keeper.health() == {"status": "closed", "providers": {}}


def test_through_the_facade(keeper):
    """Both fronts report the same, and the report is JSON-serializable."""
    keeper.get_token("api")
    assert OAuth2TokenManager(keeper).health() == keeper.health()
    assert json.loads(json.dumps(keeper.health())) == keeper.health()
