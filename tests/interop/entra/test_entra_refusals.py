"""Refusals of Entra: the right advice, one request per cooldown, no secret, nothing replayed."""

import logging
import pickle
import traceback
from dataclasses import dataclass, field

import pytest
from kit.servers.base import Answer
from kit.servers.entra import CLIENT_ID, SECRET, refusal

from tokenkeeper import OAuth2TokenManager, TokenAcquisitionError, TokenRefreshError

WRONG_SECRET = "wr0ng~Secret/+%41 ä"


@dataclass
class Case:
    """Settings that Entra refuses, and the expected error."""

    error: str
    number: int
    status: int
    advice: str
    changes: dict = field(default_factory=dict)
    requests: int = 1
    script: Answer | None = None


CASES = {
    "wrong secret": Case(
        "invalid_client",
        7000215,
        401,
        "Set the secret's value, not its id",
        {"client_secret": WRONG_SECRET},
    ),
    "expired secret": Case(
        "invalid_client",
        7000222,
        401,
        "Create a new one",
        script=refusal(401, "invalid_client", 7000222, f"The keys of '{SECRET}' are expired."),
    ),
    "unknown tenant": Case(
        "invalid_tenant", 90002, 400, "Check tenant_id", {"tenant_id": "other.example"}, 0
    ),
    "scope that is no URI": Case(
        "invalid_scope", 70011, 400, "it must end in /.default", {"scope": "User.Read"}
    ),
    "scope of a user": Case(
        "invalid_scope",
        1002012,
        400,
        "it must end in /.default",
        {"scope": "https://graph.microsoft.com/User.Read"},
    ),
    "unknown application": Case(
        "unauthorized_client",
        700016,
        400,
        "Check client_id and tenant_id",
        {"client_id": "00000000-aaaa-4000-8000-000000000000"},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_refusal(entra, make_keeper, make_provider, caplog, case):
    """The error names the provider and says what to do, after one request, without a secret."""
    caplog.set_level(logging.DEBUG)
    if case.script:
        entra.script.append(case.script)
    keeper = make_keeper(make_provider(**case.changes), cooldown_seconds=600)
    for _ in range(20):
        with pytest.raises(TokenAcquisitionError) as raised:
            keeper.get_token("graph")
        error = raised.value
        assert (error.error, error.status_code) == (case.error, case.status)
        assert (error.provider_name, error.attempts, error.retry_after) == ("graph", 1, None)
        message = str(error)
        assert message.startswith("provider 'graph': ")
        assert f"AADSTS{case.number}" in message
        assert case.advice in message
        assert "\n" not in message
        assert str(pickle.loads(pickle.dumps(error))) == message
    shown = "".join(traceback.format_exception(error)) + repr(vars(error)) + caplog.text
    assert SECRET not in shown
    assert WRONG_SECRET not in shown
    assert len(entra.requests) == case.requests
    assert entra.discoveries == 1
    assert entra.calls == 0


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_refusal_after_its_cooldown(kit, entra, make_keeper, make_provider, case):
    """After the cooldown the next call asks Entra again; msal replays nothing."""
    if case.script:
        entra.script.extend([case.script] * 2)
    keeper = make_keeper(make_provider(**case.changes), cooldown_seconds=0)
    for _ in range(2):
        with pytest.raises(TokenAcquisitionError, match=str(case.number)):
            keeper.get_token("graph")
    assert len(entra.requests) == 2 * case.requests
    assert entra.discoveries == (1 if case.requests else 2)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_crowd_of_tasks(kit, entra, make_keeper, make_provider, backend):
    """Tasks that are refused, together or one after the other, cause one request."""
    keeper = make_keeper(make_provider(client_secret=WRONG_SECRET), cooldown_seconds=600)
    manager = OAuth2TokenManager(keeper)
    errors = kit.tasks_at_once(backend, 200, lambda: manager.get_token("graph"))
    assert {(type(error), error.error) for error in errors} == {
        (TokenAcquisitionError, "invalid_client")
    }
    assert len(entra.requests) == 1


@pytest.mark.parametrize("status", [400, 401])
def test_a_refusal_that_heals_at_once(entra, keeper, status):
    """A forced renewal gets a token after a 400 that msal would replay for a minute."""
    entra.script.append(refusal(status, "unauthorized_client", 700016, "No such application."))
    with pytest.raises(TokenAcquisitionError, match="700016"):
        keeper.get_token("graph")
    token = keeper.get_token("graph", force_refresh=True)
    assert keeper.get_token("graph") == token
    assert len(entra.requests) == 2


def test_a_refusal_that_heals_after_its_cooldown(entra, make_keeper, make_provider):
    """So does a plain call after the cooldown."""
    entra.script.append(refusal(400, "unauthorized_client", 700016, "No such application."))
    keeper = make_keeper(make_provider(), cooldown_seconds=0)
    with pytest.raises(TokenAcquisitionError, match="700016"):
        keeper.get_token("graph")
    keeper.get_token("graph")
    assert len(entra.requests) == 2


def test_a_secret_that_changes_while_a_token_is_valid(entra, keeper):
    """The current token is still served; a forced renewal raises the refusal."""
    token = keeper.get_token("graph")
    entra.clients[CLIENT_ID] = "another"
    with pytest.raises(TokenRefreshError, match="7000215") as raised:
        keeper.get_token("graph", force_refresh=True)
    assert SECRET not in str(raised.value)
    assert keeper.get_token("graph") == token
    info = keeper.get_cached_token_info("graph")
    assert info["failures"] == 1
    assert "7000215" in info["last_error"]
    assert SECRET not in info["last_error"]
    entra.clients[CLIENT_ID] = SECRET
    assert keeper.get_token("graph", force_refresh=True) != token
