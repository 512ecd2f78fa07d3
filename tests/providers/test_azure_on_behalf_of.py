"""Tokens of Entra ID on behalf of users: each subject has its own, and no other one's."""

import json
import pickle
from functools import partial

import pytest
import requests
from kit import internals
from kit.crowds import at_once
from kit.servers.base import Answer
from kit.servers.entra import CLIENT_ID, ON_BEHALF_OF, SECRET, TENANT, refusal
from kit.servers.entra_in_memory import EntraInMemory

from tokenkeeper import AzureADProvider, TokenAcquisitionError, TokenKeeper
from tokenkeeper.clock import SYSTEM_CLOCK

READ, WRITE = "https://graph.microsoft.com/User.Read", "https://graph.microsoft.com/Mail.Send"


@pytest.fixture
def make_keeper(entra):
    """Return a function that makes keepers of one application."""
    keepers = []

    def make(session=None, **options):
        keepers.append(TokenKeeper(**options))
        keepers[-1].add_provider(
            AzureADProvider(
                "graph",
                CLIENT_ID,
                SECRET,
                TENANT,
                authority=entra.authority,
                verify=entra.ca_file,
                session=session,
                clock=options.get("clock", SYSTEM_CLOCK),
            )
        )
        return keepers[-1]

    yield make
    for keeper in keepers:
        keeper.close()


@pytest.fixture
def keeper(make_keeper):
    return make_keeper()


def test_a_token_of_a_user(keeper, entra):
    """The request has the user's token and the delegated scopes, and asks for no refresh token."""
    entra.users["user-token"] = "alice"
    token = keeper.source("graph", subject="user-token", scope=[READ, WRITE]).token()
    assert entra.granted_for == {token.access_token: "alice"}
    [request] = entra.requests
    assert request.form["grant_type"] == ON_BEHALF_OF
    assert request.form["assertion"] == "user-token"
    assert request.form["requested_token_use"] == "on_behalf_of"
    requested = set(request.form["scope"].split())
    assert {READ, WRITE} <= requested
    assert "offline_access" not in requested
    assert token.refresh_token is None


def test_the_default_scope(keeper, entra):
    """Without a scope, the permissions that were consented to for the API are asked for."""
    entra.users["user-token"] = "alice"
    keeper.source("graph", subject="user-token")()
    assert "https://graph.microsoft.com/.default" in entra.requests[0].form["scope"]


def test_each_subject_has_its_own(keeper, entra):
    """Subjects, the application itself, and scopes never get each other's tokens."""
    for number in range(8):
        entra.users[f"user-token-{number}"] = f"user-{number}"
    sources = {
        (number, scope): keeper.source("graph", subject=f"user-token-{number}", scope=scope)
        for number in range(8)
        for scope in (READ, WRITE)
    }
    tokens = dict(zip(sources, at_once(*sources.values()), strict=True))
    own = keeper.get_token("graph")
    assert len({own, *tokens.values()}) == 17
    assert own not in entra.granted_for
    for (number, _), token in tokens.items():
        assert entra.granted_for[token] == f"user-{number}"
    assert [source() for source in sources.values()] == [*tokens.values()]
    assert len(entra.requests) == 17


def test_a_subject_that_is_refused(keeper, entra, caplog):
    """The error is final and does not show the user's token, even if the server repeats it."""
    source = keeper.source("graph", subject="eyJ0eXAi.secret-of-a-user")
    with pytest.raises(TokenAcquisitionError) as caught:
        source()
    error = caught.value
    assert (error.error, error.transient, error.claims) == ("invalid_grant", False, None)
    assert "AADSTS500131" in str(error)
    shown = str(error) + repr(vars(error)) + caplog.text + repr(source) + repr(source.name)
    assert "secret-of-a-user" not in shown


CLAIMS = '{"access_token":{"polids":{"essential":true,"values":["9ab03e19"]}}}'


@pytest.mark.parametrize("code", ["interaction_required", "invalid_grant"])
def test_a_user_who_must_sign_in_again(keeper, entra, code):
    """The error has the claims that the user's next sign-in must satisfy, after one request."""
    entra.users["user-token"] = "alice"
    answer = refusal(400, code, 50076, "You must use multi-factor authentication.")
    entra.outage = Answer(400, answer.body | {"claims": CLAIMS, "suberror": "basic_action"})
    source = keeper.source("graph", subject="user-token")
    for _ in range(3):
        with pytest.raises(TokenAcquisitionError) as caught:
            source()
        assert json.loads(caught.value.claims) == json.loads(CLAIMS)
        assert (caught.value.error, caught.value.transient) == (code, False)
        assert pickle.loads(pickle.dumps(caught.value)).claims == CLAIMS
    assert len(entra.requests) == 1


@pytest.mark.parametrize("claims", [None, 5, "no JSON", "[]", "{" * 5000])
def test_claims_that_can_not_be_read(keeper, entra, claims):
    """Claims that are not a JSON object are left out of the error."""
    answer = refusal(400, "interaction_required", 50076, "You must use another factor.")
    entra.outage = Answer(400, answer.body | {"claims": claims})
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.source("graph", subject="user-token")()
    assert caught.value.claims is None


def test_tokens_that_nobody_reads(make_keeper, entra, clock, look):
    """A token of a subject that is no longer read lapses, and is not renewed."""
    keeper = make_keeper(clock=clock, idle_timeout_seconds=0)
    internals.take_over_scheduler(keeper)
    for number in range(20):
        entra.users[f"user-token-{number}"] = f"user-{number}"
        keeper.source("graph", subject=f"user-token-{number}")()
    for _ in range(10):
        clock.step(1000)
        look(keeper)
    internals.release_scheduler(keeper)
    assert len(entra.requests) == 20


@pytest.mark.slow
def test_ten_thousand_subjects(make_keeper):
    """Ten thousand subjects take the room of ``max_tokens``, and none gets another's token."""
    session, server = requests.Session(), EntraInMemory()
    session.mount("https://", server)
    keeper = make_keeper(session, max_tokens=500)

    def of_every_eighth(first):
        for number in range(first, 10_000, 8):
            token = keeper.source("graph", subject=f"user-{number}")()
            assert token == f"for-user-{number}"

    assert at_once(*[partial(of_every_eighth, first) for first in range(8)]) == [None] * 8
    assert len(server.requests) == 10_000
    assert len(internals.cache(keeper)) <= 500
    assert len(internals.variants(keeper)) <= 500
    assert set(internals.msal_applications(internals.provider(keeper, "graph"))) == {TENANT}
