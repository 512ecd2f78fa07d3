"""DeviceCode: what it sends (RFC 8628 §3), and what becomes of the answers."""

import dataclasses
import pickle
from datetime import UTC, datetime

import pytest
from kit.servers.base import Answer
from kit.servers.polled import DEVICE_CODE, GRANTED, PENDING, SLOW_DOWN, PolledServer, PolledSignIns

from tokenkeeper import (
    AuthorizationRequiredError,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    TokenAcquisitionError,
)
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.names import TokenParameters
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.providers.grants.ciba import Ciba
from tokenkeeper.providers.grants.device_code import DeviceCode
from tokenkeeper.providers.grants.sign_in import Asked, PendingSignIn
from tokenkeeper.testing import SteppedClock


@pytest.fixture
def server():
    """Return a server, on whose stepped clock waits pass at once."""
    with PolledServer(SteppedClock(auto_step=True)) as server:
        yield server


def form(request):
    return {name: [v for n, v in request.form if n == name] for name, _ in request.form}


def test_the_request(server):
    """Client, scope and targets are sent, and what was set for the request; nothing that is empty.

    A source's resource comes first, then the grant's own, then that of the registration.
    """
    grant = DeviceCode(authorize_parameters={"audience": "https://a.test", "prompt": "login"})
    asked = Asked("tv", TokenParameters.of(resource=["urn:b", "urn:a"]), "read write")
    one = server.begin(grant, asked, additional_params={"resource": "urn:c", "tenant": "t"})
    two = server.begin(DeviceCode(), Asked("tv"), additional_params={"resource": "urn:c"})
    assert (one.resource, two.resource) == (("urn:a", "urn:b"), ("urn:c",))
    first, second = map(form, server.received)
    assert first == {
        "client_id": ["client-1"],
        "client_secret": ["client-secret"],
        "scope": ["read write"],
        "resource": ["urn:a", "urn:b"],
        "audience": ["https://a.test"],
        "prompt": ["login"],
    }
    assert second["resource"] == ["urn:c"]
    assert "scope" not in second
    assert server.received[0].path == "/device"


def test_one_resource(server):
    """One resource is sent once."""
    server.begin(DeviceCode(), Asked("tv", TokenParameters.of(resource="urn:a")))
    assert form(server.received[0])["resource"] == ["urn:a"]


def test_what_the_person_sees(server):
    """The page with the code in it is preferred, and the code is there as well."""
    pending = server.begin(DeviceCode())
    assert pending.url == "https://id.example.com/device?user_code=WDJB-MJHT"
    assert pending.user_code == "WDJB-MJHT"
    assert (pending.state, pending.redirect_uri) == ("", None)
    assert pending.interval_seconds == 5
    assert 590 < pending.expires_at - SYSTEM_CLOCK.time() <= 600
    assert DEVICE_CODE not in repr(pending)
    assert PendingSignIn.from_bytes(pending.to_bytes()) == pending


PAGES = {
    "without the code": ({"verification_uri_complete": None}, "https://id.example.com/device"),
    "Google": (
        {
            "verification_uri_complete": None,
            "verification_uri": None,
            "verification_url": "https://www.google.com/device",
        },
        "https://www.google.com/device",
    ),
    "an unsafe complete one": (
        {"verification_uri_complete": "javascript:alert(1)"},
        "https://id.example.com/device",
    ),
    "a fragment": (
        {"verification_uri_complete": "https://id.example.com/#/device"},
        "https://id.example.com/#/device",
    ),
    "loopback": (
        {"verification_uri_complete": "http://127.0.0.1:8080/device"},
        "http://127.0.0.1:8080/device",
    ),
}


@pytest.mark.parametrize(("members", "url"), PAGES.values(), ids=PAGES)
def test_pages(server, members, url):
    """The page is the best one that the server names, in each spelling."""
    server.begun.update(members)
    assert server.begin(DeviceCode()).url == url


UNUSABLE = {
    "no device_code": ({"device_code": None}, "has no device_code"),
    "an empty one": ({"device_code": " "}, "has no device_code"),
    "no user_code": ({"user_code": 7}, "has no user_code"),
    "an odd user_code": ({"user_code": "A\x1b[2J"}, "user_code that can't be shown"),
    "a long user_code": ({"user_code": "A" * 101}, "user_code that can't be shown"),
    "no page": ({"verification_uri": None}, "no verification_uri"),
    "plain http": ({"verification_uri": "http://id.example.com/"}, "https://"),
    "credentials": ({"verification_uri": "https://a:b@id.example.com/"}, "https://"),
    "no host": ({"verification_uri": "https:///device"}, "https://"),
    "no URL": ({"verification_uri": "https://[::1/device"}, "https://"),
    "white space": ({"verification_uri": "https://id.example.com/ x"}, "https://"),
    "no expires_in": ({"expires_in": None}, "no usable expires_in"),
    "an odd one": ({"expires_in": "soon"}, "no usable expires_in"),
    "a negative one": ({"expires_in": -1}, "no usable expires_in"),
    "an endless one": ({"expires_in": 1e400}, "no usable expires_in"),
}


@pytest.mark.parametrize(("members", "problem"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_responses(server, members, problem):
    """A response without what §3.2 requires is a final error that names what is wrong."""
    server.begun.update({"verification_uri_complete": None, **members})
    with pytest.raises(TokenAcquisitionError, match=problem) as caught:
        server.begin(DeviceCode())
    assert not caught.value.transient
    assert "device authorization request failed (HTTP 200)" in str(caught.value)
    assert DEVICE_CODE not in str(caught.value)


REFUSALS = {
    "unknown client": (Answer(401, {"error": "invalid_client"}), False, "client_id"),
    "not allowed": (Answer(400, {"error": "unauthorized_client"}), False, "grant type"),
    "down": (Answer(503, b""), True, "503"),
    "a web page": (Answer(200, b"<html></html>"), False, "not JSON"),
}


@pytest.mark.parametrize(("answer", "transient", "words"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(server, answer, transient, words):
    """A refusal says what to do, and whether to try again."""
    server.begun = answer
    with pytest.raises(TokenAcquisitionError, match=words) as caught:
        server.begin(DeviceCode())
    assert caught.value.transient is transient
    assert "device authorization request failed" in str(caught.value)


def test_no_endpoint(server):
    """Without a device authorization endpoint, the error says what to set."""
    client = server.client()
    client = dataclasses.replace(client, config=dataclasses.replace(client.config, endpoints=None))
    object.__setattr__(client.server, "_config", client.config)
    with pytest.raises(TokenAcquisitionError, match="device_authorization_endpoint"):
        DeviceCode().begin(client, Asked("tv"))
    assert server.received == []


def test_the_token_request(server):
    """A poll sends the code and the grant type (§3.4), and its token is an ordinary one."""
    sign_in = PolledSignIns(server, DeviceCode())
    assert sign_in.wait().access_token == "t-1"
    assert form(server.received[-1]) == {
        "grant_type": [DeviceCode.grant_type],
        "device_code": [DEVICE_CODE],
        "client_id": ["client-1"],
        "client_secret": ["client-secret"],
    }


FAULT = Answer(500, b"")
BUSY = Answer(503, b"", {"Retry-After": "40"})
STORIES = {
    "pending": ([PENDING, PENDING], [5, 10, 15]),
    "slow_down": ([SLOW_DOWN, PENDING], [5, 15, 25]),
    "a dropped connection": ([PENDING, None, PENDING], [5, 10, 20, 25]),
    "an answer that breaks off": ([Answer(400, PENDING.body, cut_after=30)], [5, 15]),
    "500": ([FAULT, FAULT, PENDING], [5, 15, 35, 40]),
    "503": ([BUSY, PENDING], [5, 45, 50]),
}


@pytest.mark.parametrize(("script", "polls"), STORIES.values(), ids=STORIES)
def test_polls(server, script, polls):
    """What the server answers decides when the next poll is made; it ends with the token."""
    began = server.clock.monotonic()
    server.script[:] = script
    sign_in = PolledSignIns(server, DeviceCode())
    assert sign_in.wait().access_token == "t-1"
    assert [at - began for at in server.polls] == polls


def test_a_token_that_was_lost(server):
    """If the answer with the token is lost, the error after it says so, without the code."""
    used = {"error": "invalid_grant", "error_description": f"{DEVICE_CODE} was used"}
    server.script[:] = [dataclasses.replace(GRANTED, cut_after=60), Answer(400, used)]
    with pytest.raises(AuthorizationRequiredError, match="it is lost") as caught:
        PolledSignIns(server, DeviceCode()).wait()
    assert DEVICE_CODE not in str(caught.value)
    assert len(server.polls) == 2


def test_denial(server):
    """A denial is a final error after one request, which says to begin again."""
    server.script[:] = [Answer(400, {"error": "access_denied"})]
    sign_in = PolledSignIns(server, DeviceCode())
    for _ in range(2):
        with pytest.raises(AuthorizationRequiredError, match="denied the request") as caught:
            sign_in.wait()
    assert "Begin again" in str(caught.value)
    assert len(server.polls) == 1


def test_expiry(server):
    """No poll is made after the code has expired."""
    server.begun["expires_in"] = 17
    server.script[:] = [PENDING] * 9
    with pytest.raises(AuthorizationRequiredError, match="expires before the next poll"):
        PolledSignIns(server, DeviceCode()).wait()
    assert len(server.polls) == 3


def test_a_long_life(server):
    """A code that is valid for longer than dates go expires at a date all the same."""
    server.begun["expires_in"] = 1e300
    assert datetime.fromtimestamp(server.begin(DeviceCode()).expires_at, UTC).year < 9999


def test_no_interval(server):
    """Without an interval, 5 s is the interval (§3.2)."""
    del server.begun["interval"]
    assert server.begin(DeviceCode()).interval_seconds == 5


WRONG = {
    "not a mapping": ({"authorize_parameters": 3}, "authorize_parameters"),
    "the client's": ({"authorize_parameters": {"client_id": "x"}}, "authorize_parameters"),
    "resources": ({"resources": 3}, "resources"),
    "on_rotated": ({"on_rotated": 3}, "on_rotated"),
    "scope_by_refresh": ({"scope_by_refresh": 1}, "scope_by_refresh"),
}


@pytest.mark.parametrize(("options", "field"), WRONG.values(), ids=WRONG)
def test_options_that_cannot_work(options, field):
    """Wrong options are refused when the grant is made, by name."""
    with pytest.raises(InvalidConfigurationError) as caught:
        DeviceCode(**options)
    assert caught.value.field == field


def test_without_a_sign_in():
    """The grant has no token of its own: a person has to sign in first."""
    grant = DeviceCode()
    with pytest.raises(AuthorizationRequiredError, match="authorize"):
        grant.first()
    assert grant.takes == {"account", "resource", "audience"}
    assert DeviceCode(scope_by_refresh=True).takes == grant.takes | {"scope"}
    assert grant.works_once
    assert grant.parameters(TokenParameters(), Recipient("u", "u")) == {}


GRANTS = {"device": DeviceCode(resources="urn:a"), "ciba": Ciba(login_hint="ann")}


@pytest.mark.parametrize("grant", GRANTS.values(), ids=GRANTS)
def test_in_another_process(server, grant):
    """A provider that is made again there begins the same sign-in, and describes itself alike."""
    original = GenericOAuth2Provider(server.config(), grant=grant)
    twin = pickle.loads(pickle.dumps(original.for_another_process()))()
    for provider in (original, twin):
        provider.begin_sign_in(Asked("tv", scope="read"))
    first, second = map(form, server.received)
    assert first == second
    assert twin.describe() == original.describe()
    assert twin.describe()["grant_type"] == grant.grant_type
    assert not twin.repeatable
    assert original.continues(twin)
