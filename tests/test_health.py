"""The report for readiness probes."""

import json

import pytest

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


def test_closed(keeper):
    """A closed keeper reports that instead of raising, because a probe may be late."""
    keeper.close()
    assert keeper.health() == {"status": "closed", "providers": {}}


def test_through_the_facade(keeper):
    """Both fronts report the same, and the report is JSON-serializable."""
    keeper.get_token("api")
    assert OAuth2TokenManager(keeper).health() == keeper.health()
    assert json.loads(json.dumps(keeper.health())) == keeper.health()
