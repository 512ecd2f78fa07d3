"""Device codes and CIBA at oidc-provider, which states no interval, while the clock is stepped."""

from dataclasses import replace
from functools import partial

import jwt
import pytest
from kit.polling import PersonsClock

from tokenkeeper import (
    AuthorizationRequiredError,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.providers.grants.ciba import Ciba
from tokenkeeper.providers.grants.device_code import DeviceCode

INVOICES, STOCK = "https://invoices.example.com/", "https://stock.example.com"
SCOPE = "openid offline_access"


class Sign:
    """A client, a keeper with its provider "tv", and the person."""

    def __init__(self, server, grant, client_id, registration, options):
        server.add_client(
            client_id,
            grant_types=[grant.grant_type, "refresh_token"],
            scope=f"{SCOPE} read",
            backchannel_token_delivery_mode="poll",
            **registration,
        )
        endpoints = {
            "device_authorization_endpoint": f"{server.issuer}/device/auth",
            "backchannel_authentication_endpoint": f"{server.issuer}/backchannel",
        }
        self.server, self.client_id = server, client_id
        self.clock = PersonsClock()
        self.config = server.config("tv", client_id, endpoints=endpoints, scope=SCOPE)
        self.keeper = TokenKeeper(clock=self.clock)
        self.keeper.add_provider(
            GenericOAuth2Provider(self.config, grant=grant, clock=self.clock, **options)
        )

    @property
    def polls(self):
        """How often the token endpoint was asked."""
        return self.server.stats(self.client_id)["arrivals"]


@pytest.fixture
def sign(server, request):
    """Return a function that makes a client with a grant."""
    made = []

    def make(grant, registration=None, **options):
        client_id = f"{request.node.name.replace('[', '-').rstrip(']')}-{len(made)}"
        made.append(Sign(server, grant, client_id, registration or {}, options))
        return made[-1]

    yield make
    for each in made:
        each.keeper.close()


def test_a_device_code(server, sign):
    """A person approves after seven seconds; the second poll brings tokens, and a refresh more."""
    sign = sign(DeviceCode())
    authorization = sign.keeper.authorize("tv")
    assert authorization.url == f"{server.issuer}/device?user_code={authorization.user_code}"
    approve = partial(server.decide, True, account="ann", user_code=authorization.user_code)
    sign.clock.at(7, approve)
    token = authorization.wait()
    assert sign.clock.passed == 10
    assert server.call(token.access_token)[0] == 200
    assert sign.polls == 2
    claims = jwt.decode(token.extra["id_token"], options={"verify_signature": False})
    assert claims["sub"] == "ann"
    sign.clock.step(4000)
    assert sign.keeper.get_token("tv") != token.access_token
    assert server.stats(sign.client_id)["families_revoked"] == 0


def test_resources(server, sign):
    """Resources that are authorized on the other device get a token each, another one none."""
    sign = sign(DeviceCode())
    authorization = sign.keeper.authorize("tv", scope=f"{SCOPE} read", resource=[INVOICES, STOCK])
    approve = partial(server.decide, True, account="ann", user_code=authorization.user_code)
    sign.clock.at(2, approve)
    authorization.wait()
    for resource in (INVOICES, STOCK, INVOICES):
        token = sign.keeper.source("tv", resource=resource)()
        assert jwt.decode(token, options={"verify_signature": False})["aud"] == resource
    with pytest.raises(InvalidConfigurationError, match="was not authorized"):
        sign.keeper.source("tv", resource="https://mixed-1.example.com/")()
    assert sign.polls == 3
    assert server.stats(sign.client_id)["families_revoked"] == 0


@pytest.mark.parametrize("with_nonces", [False, True], ids=["plain", "nonces"])
def test_a_public_client_with_bound_tokens(server, sign, with_nonces):
    """Without a secret, the first token and the refreshed one are bound to one key (RFC 9449)."""
    method = "none"
    sign = sign(
        DeviceCode(),
        {"token_endpoint_auth_method": method, "dpop_bound_access_tokens": True},
        token_endpoint_auth_method=method,
        dpop=True,
    )
    server.require_nonces(with_nonces)
    try:
        authorization = sign.keeper.authorize("tv")
        approve = partial(server.decide, True, account="ann", user_code=authorization.user_code)
        sign.clock.at(7, approve)
        assert authorization.wait().token_type == "DPoP"
        sign.clock.step(4000)
        assert sign.keeper.get_oauth2_token("tv").token_type == "DPoP"
    finally:
        server.require_nonces(False)


@pytest.mark.parametrize("hint", ["login_hint", "login_hint_token", "account"])
def test_ciba(server, sign, hint):
    """The server asks the person whom a hint names; the second poll brings the token."""
    person = f"ann-{hint}"
    hints = {"login_hint": person, "login_hint_token": f"person:{person}"}
    options = {hint: hints[hint]} if hint in hints else {}
    sign = sign(Ciba(**options, binding_message="W4SCT", requested_expiry_seconds=60))
    account = person if hint == "account" else None
    authorization = sign.keeper.authorize("tv", account=account)
    sign.clock.at(6, partial(server.decide, True, account=person))
    token = authorization.wait()
    assert sign.polls == 2
    claims = jwt.decode(token.extra["id_token"], options={"verify_signature": False})
    assert claims["sub"] == person
    assert sign.keeper.source("tv", account=account)() == token.access_token


def test_ciba_by_an_id_token(server, sign):
    """An ID token of an earlier sign-in names the person, for the client that it was issued to."""
    first = sign(Ciba(login_hint="cy"))
    authorization = first.keeper.authorize("tv")
    server.decide(True, account="cy")
    id_token = authorization.wait().extra["id_token"]
    again = GenericOAuth2Provider(
        replace(first.config, provider_name="again"), grant=Ciba(id_token_hint=lambda: id_token)
    )
    first.keeper.add_provider(again)
    first.keeper.authorize("again")
    second = sign(Ciba(id_token_hint=lambda: id_token))
    with pytest.raises(TokenAcquisitionError, match="invalid_request") as caught:
        second.keeper.authorize("tv")
    assert id_token not in str(caught.value)


GRANTS = {"device": DeviceCode, "ciba": lambda: Ciba(login_hint="bob")}


@pytest.mark.parametrize("grant", GRANTS.values(), ids=GRANTS)
def test_denial(server, sign, grant):
    """A denial is a final error after one more request."""
    sign = sign(grant())
    authorization = sign.keeper.authorize("tv")
    sign.clock.at(
        7, partial(server.decide, False, account="bob", user_code=authorization.user_code)
    )
    with pytest.raises(AuthorizationRequiredError, match="denied the request") as caught:
        authorization.wait()
    assert caught.value.error == "access_denied"
    assert sign.polls == 2


def test_who_is_unknown(sign):
    """A hint that names no person is a final error when the sign-in begins."""
    sign = sign(Ciba())
    with pytest.raises(TokenAcquisitionError, match="does not know the person") as caught:
        sign.keeper.authorize("tv", login_hint="unknown-person")
    assert caught.value.error == "unknown_user_id"
    assert sign.polls == 0


def test_a_binding_message_that_is_refused(sign):
    """A message that the server can't show is a final error that says so."""
    sign = sign(Ciba(login_hint="ann", binding_message="a long message, with spaces in it"))
    with pytest.raises(TokenAcquisitionError, match="Use a short one"):
        sign.keeper.authorize("tv")


def test_without_openid(sign):
    """CIBA needs the scope openid; the server's words are shown."""
    sign = sign(Ciba(login_hint="ann"))
    with pytest.raises(TokenAcquisitionError, match="openid"):
        sign.keeper.authorize("tv", scope="offline_access")
