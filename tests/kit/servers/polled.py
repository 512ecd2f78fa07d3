"""An authorization server on loopback whose sign-ins are polled for, with scripted answers."""

from functools import partial

from kit.oauth_client import oauth_client
from kit.servers.base import Answer, LoopbackServer
from tokenkeeper import OAuth2Config
from tokenkeeper._renewal.polling import Polling
from tokenkeeper._runtime.open_waits import OpenWaits
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.oauth.client import OAuthClient
from tokenkeeper.oauth.token_request import request_token
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.providers.grants.sign_in import Asked

DEVICE_CODE = "device-code-which-is-never-shown"
AUTH_REQ_ID = "auth-req-id-which-is-never-shown"
PENDING = Answer(400, {"error": "authorization_pending"})
SLOW_DOWN = Answer(400, {"error": "slow_down"})
GRANTED = Answer(200, {"access_token": "t-1", "token_type": "Bearer", "expires_in": 3600})


class PolledServer(LoopbackServer):
    """Begins sign-ins, and answers polls as scripted.

    :param clock: the clock whose time is noted when a poll arrives.
    :ivar begun: the response to a device authorization request.
    :ivar asked: the response to a backchannel authentication request.
    :ivar script: the answers to polls, in order: ``None`` closes the connection; then a token.
    :ivar polls: when each poll arrived, on the monotonic clock.
    """

    def __init__(self, clock=SYSTEM_CLOCK, *script):
        self.clock = clock
        self.begun = {
            "device_code": DEVICE_CODE,
            "user_code": "WDJB-MJHT",
            "verification_uri": "https://id.example.com/device",
            "verification_uri_complete": "https://id.example.com/device?user_code=WDJB-MJHT",
            "expires_in": 600,
            "interval": 5,
        }
        self.asked = {"auth_req_id": AUTH_REQ_ID, "expires_in": 120, "interval": 2}
        self.script = [*script]
        self.polls = []
        super().__init__()

    def answer(self, request):
        if request.path == "/device":
            return Answer(200, self.begun) if isinstance(self.begun, dict) else self.begun
        if request.path == "/backchannel":
            return Answer(200, self.asked) if isinstance(self.asked, dict) else self.asked
        self.polls.append(self.clock.monotonic())
        return self.script.pop(0) if self.script else GRANTED

    def config(self, name="tv", **options):
        """Return the registration of a client, which knows all endpoints."""
        endpoints = {
            "device_authorization_endpoint": f"{self.origin}/device",
            "backchannel_authentication_endpoint": f"{self.origin}/backchannel",
        }
        url = f"{self.origin}/token"
        return OAuth2Config(name, "client-1", "client-secret", url, endpoints=endpoints, **options)

    def client(self, **options):
        """Return the client."""
        return oauth_client(self.config(**options), HttpTransport())

    def begin(self, grant, asked=None, **options):
        """Begin a sign-in with *grant*."""
        asked = asked or Asked("tv", scope="read", now=self.clock.time())
        return grant.begin(self.client(**options), asked)


def redeem(client: OAuthClient, grant, pending):
    """Make one poll, and return the token."""
    return request_token(
        client,
        lambda _: grant.answer(client, pending, None),
        scope=None,
        requested_scope=None,
        warned=set(),
        omitted=set(),
    )


class PolledSignIns:
    """A sign-in that is polled for, without a keeper.

    :ivar poll: makes one request.
    """

    def __init__(self, server, grant, **options):
        pending = server.begin(grant)
        self.failures = []
        self.polling = Polling(
            "tv",
            interval_seconds=pending.interval_seconds,
            expires_at=server.clock.time() + pending.expires_at - SYSTEM_CLOCK.time(),
            next_interval=grant.wait_seconds,
            failed=self.failures.append,
            open_waits=OpenWaits(),
            clock=server.clock,
            **options,
        )
        self.poll = partial(redeem, server.client(), grant, pending)

    def wait(self, timeout=None):
        """Wait for the token."""
        return self.polling.wait(self.poll, timeout)
