"""The device flow at authgent-server, which says that a sign-in is pending in its own way."""

from functools import partial

import jwt
import pytest
from kit.polling import PersonsClock

from tokenkeeper import (
    AuthorizationRequiredError,
    GenericOAuth2Provider,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.providers.grants.device_code import DeviceCode


class Device:
    """A client of the device flow, and the person.

    :ivar tokens: the statuses and the bodies of the answers to polls, as they arrive.
    """

    def __init__(self, server):
        self.server = server
        endpoints = {"device_authorization_endpoint": f"{server.issuer}/device/authorize"}
        self.config = server.register("tv", grants=[DeviceCode.grant_type], endpoints=endpoints)
        self.clock = PersonsClock()
        self.keeper = TokenKeeper(clock=self.clock)
        self.keeper.add_provider(
            GenericOAuth2Provider(
                self.config,
                grant=DeviceCode(),
                clock=self.clock,
                token_endpoint_auth_method="client_secret_post",
            )
        )

    def decide(self, user_code, action):
        """Approve or deny."""
        decision = {"user_code": user_code, "subject": "ann", "action": action}
        url = f"{self.server.issuer}/device/complete"
        answer = self.server.http.request("POST", url, json=decision)
        assert answer.status == 200, answer.data


@pytest.fixture
def device(server):
    """Return a client."""
    device = Device(server)
    with device.keeper:
        yield device


def test_approval(device):
    """``invalid_grant`` with ``authorization_pending`` in its description means to wait."""
    authorization = device.keeper.authorize("tv", scope="read")
    assert authorization.url.endswith(f"/device?user_code={authorization.user_code}")
    device.clock.at(12, partial(device.decide, authorization.user_code, "approve"))
    token = authorization.wait()
    assert device.clock.passed == 15
    claims = jwt.decode(token.access_token, options={"verify_signature": False})
    assert claims["client_id"] == device.config.client_id
    assert device.keeper.get_token("tv") == token.access_token


def test_denial(device):
    """A denial comes as ``invalid_grant`` as well, and is final."""
    authorization = device.keeper.authorize("tv")
    device.clock.at(7, partial(device.decide, authorization.user_code, "deny"))
    with pytest.raises(AuthorizationRequiredError, match="was denied") as caught:
        authorization.wait()
    assert (caught.value.error, device.clock.passed) == ("invalid_grant", 10)


def test_a_code_works_once(device):
    """A code that was redeemed brings no second token; this server says that it is pending."""
    authorization = device.keeper.authorize("tv")
    device.decide(authorization.user_code, "approve")
    authorization.wait()
    with pytest.raises(TokenAcquisitionError, match="authorization_pending"):
        authorization.poll()
