"""A sign-out between two sign-ins, in one process and in a fleet."""

import pytest
import responses
from kit.sign_ins import SignInServer

from tokenkeeper import AuthorizationRequiredError
from tokenkeeper.testing import MemoryTokenStore, SteppedClock

A = "https://a.test"


class Server(SignInServer):
    """The server, which revokes tokens as well."""

    def __init__(self):
        super().__init__()
        self.metadata["revocation_endpoint"] = f"{self.issuer}/revoke"

    def __enter__(self):
        super().__enter__()
        self._mock.add_callback(responses.POST, f"{self.issuer}/revoke", self._revoke)
        return self

    def _revoke(self, request):
        self._post(request)
        family = self._family_of.get(self.sent[-1]["token"])
        self._newest.pop(family, None)
        return 200, {}, ""

    def _granted(self, body):
        return (200, {}) if "grant_type" not in body else super()._granted(body)


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def clock():
    return SteppedClock(auto_step=True)


def sign_in(keeper, server, **parameters):
    authorization = keeper.authorize("crm", **parameters)
    return authorization.complete(server.sign_in(authorization.url))


def test_out_and_in(server, clock):
    """After a sign-out no process gets a token, and after a new sign-in all do."""
    store = MemoryTokenStore(clock)
    keepers = [
        server.keeper(server.provider(clock=clock, resources=[A]), clock=clock, store=store)
        for _ in range(2)
    ]
    first, second = keepers
    sign_in(first, server, resource=[A])
    first.source("crm", resource=A)()
    second.get_token("crm")
    found = first.revoke("crm")
    assert (found.token, found.forgotten) == ("refresh_token", 2)
    revoked = server.sent[-1]["token"]
    assert server.sent[-1]["token_type_hint"] == "refresh_token"
    for keeper in keepers:
        with pytest.raises(AuthorizationRequiredError, match="was revoked by"):
            keeper.source("crm", resource=A)()
    before = len(server.sent)
    token = sign_in(second, server, resource=[A])
    assert first.get_token("crm") == second.get_token("crm") == token.access_token
    assert first.source("crm", resource=A)() == second.source("crm", resource=A)()
    assert len(server.sent) == before + 2
    assert all(each.get("refresh_token") != revoked for each in server.sent[before:])
    for keeper in keepers:
        keeper.close()


def test_before_any_sign_in(server, clock):
    """Before any sign-in, a sign-out asks nothing."""
    with server.keeper(server.provider(clock=clock), clock=clock) as keeper:
        assert not keeper.revoke("crm").server_was_asked
        assert server.sent == []
        assert sign_in(keeper, server).access_token == keeper.get_token("crm")


def test_one_account(server, clock):
    """A sign-out of one account leaves the others signed in."""
    with server.keeper(server.provider(clock=clock), clock=clock) as keeper:
        for account in ("ada", "grace"):
            sign_in(keeper, server, account=account)
        keeper.revoke("crm", account="ada")
        with pytest.raises(AuthorizationRequiredError):
            keeper.source("crm", account="ada")()
        assert keeper.source("crm", account="grace")()
        assert sign_in(keeper, server, account="ada").access_token
        assert keeper.source("crm", account="ada")()
