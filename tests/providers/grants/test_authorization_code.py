"""The authorization code grant at its provider: options, pushed requests, bound tokens."""

import json
import pickle

import pytest
from kit.sign_ins import REDIRECT_URI, SignInServer

from tokenkeeper import (
    ClientCredentials,
    DPoPKey,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.grants.authorization_code import AuthorizationCode
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.providers.grants.device_code import DeviceCode
from tokenkeeper.providers.grants.sign_in import Asked, PendingSignIn, SignIn
from tokenkeeper.testing.stores import MemoryTokenStore

ISSUER = "https://as.test"
PAR = {"par": True}


@pytest.fixture
def server():
    with SignInServer() as server:
        yield server


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"redirect_uri": "http://app.test/callback"}, "redirect_uri"),
        ({"redirect_uri": ""}, "redirect_uri"),
        ({"redirect_uri": REDIRECT_URI, "redirect_port": 8000}, "redirect_port"),
        ({"redirect_port": 0}, "redirect_port"),
        ({"redirect_port": 65536}, "redirect_port"),
        ({"redirect_port": "8000"}, "redirect_port"),
        ({"par": "yes"}, "par"),
        ({"authorize_parameters": {"state": "mine"}}, "authorize_parameters"),
        ({"authorize_parameters": "prompt=consent"}, "authorize_parameters"),
        ({"resources": [7]}, "resources"),
        ({"scope_by_refresh": "yes"}, "scope_by_refresh"),
        ({"on_rotated": "log"}, "on_rotated"),
    ],
    ids=range(12),
)
def test_options_that_can_not_work(options, field):
    """Each is named when the grant is made."""
    with pytest.raises(InvalidConfigurationError) as info:
        AuthorizationCode(**options)
    assert info.value.field == field


def test_what_sources_may_choose():
    """An account, resources and audiences; a scope only if that is asked for."""
    assert AuthorizationCode().takes == {"account", "resource", "audience"}
    assert "scope" in AuthorizationCode(scope_by_refresh=True).takes


@pytest.mark.parametrize(
    ("metadata", "par", "pushed"),
    [
        ({}, None, False),
        (PAR, None, True),
        ({**PAR, "require_pushed_authorization_requests": True}, None, True),
        (PAR, False, False),
        (PAR, True, True),
    ],
    ids=["not offered", "offered", "required", "switched off", "switched on"],
)
def test_pushed_requests(metadata, par, pushed):
    """The request is pushed where the server can, and the URL then has nothing of it."""
    with SignInServer(**metadata) as server, server.keeper(server.provider(par=par)) as keeper:
        authorization = keeper.authorize("crm")
        assert (authorization.state in authorization.url) is not pushed
        assert ("request_uri=" in authorization.url) is pushed
        authorization.complete(server.sign_in(authorization.url))
        assert server.paths == (["/par", "/token"] if pushed else ["/token"])


def test_a_server_that_can_not_be_pushed_to(server):
    """With par=True, or if the server requires it, that is an error that says what to set."""
    server.metadata["require_pushed_authorization_requests"] = True
    says = pytest.raises(TokenAcquisitionError, match="pushed_authorization_request_endpoint")
    with server.keeper() as keeper, says:
        keeper.authorize("crm")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((400, {"error": "invalid_request"}), "failed .HTTP 400.: invalid_request"),
        ((201, {"expires_in": 60}), "the response has no request_uri"),
        ((201, ["no object"]), "the response is a JSON array"),
        ((200, {"error": "invalid_scope", "request_uri": "x"}), "invalid_scope"),
    ],
    ids=["refused", "without a URI", "no object", "an error with success"],
)
def test_a_pushed_request_that_fails(answer, says):
    """The error names the request, and shows neither state nor secret."""
    with SignInServer(**PAR) as server, server.keeper() as keeper:
        status, content = answer
        if isinstance(content, dict):
            content["error_description"] = "you sent s3cret-of-the-client"
        server.answers = [(status, content)]
        with pytest.raises(TokenAcquisitionError, match=says) as info:
            keeper.authorize("crm")
        assert "pushed authorization request failed" in str(info.value)
        assert "s3cret" not in str(info.value)
        assert server.sent[0]["state"] not in str(info.value)


def test_further_parameters(server):
    """They are in the request, with resources and audiences of the registration."""
    config = OAuth2Config(
        "crm", "me", "s", issuer=server.issuer, additional_params={"resource": "https://a.test"}
    )
    grant = AuthorizationCode(
        redirect_uri=REDIRECT_URI,
        authorize_parameters={"prompt": "consent", "silent": False, "each": [True, 1]},
    )
    with server.keeper(GenericOAuth2Provider(config, grant=grant)) as keeper:
        asked = server.asked(keeper.authorize("crm").url)
    assert asked["prompt"] == ["consent"]
    assert asked["silent"] == ["false"]
    assert asked["each"] == ["true", "1"]
    assert asked["resource"] == ["https://a.test"]
    assert "scope" not in asked


@pytest.mark.parametrize(
    ("registered", "of_grant"),
    [({"resource": "urn:a"}, {}), ({"resource": "urn:c"}, {"resource": ["urn:a", "urn:b"]})],
    ids=["of the registration", "of the grant"],
)
def test_resources_that_were_not_authorized(server, registered, of_grant):
    """What the sign-in asked for limits sources, wherever it was configured: nothing is sent.

    A server may revoke the refresh token that is used for another resource.
    """
    config = OAuth2Config("crm", "me", "s", issuer=server.issuer, additional_params=registered)
    grant = AuthorizationCode(redirect_uri=REDIRECT_URI, authorize_parameters=of_grant)
    with server.keeper(GenericOAuth2Provider(config, grant=grant)) as keeper:
        authorization = keeper.authorize("crm")
        authorization.complete(server.sign_in(authorization.url))
        sent = len(server.sent)
        with pytest.raises(InvalidConfigurationError, match="urn:a/ was not authorized"):
            keeper.source("crm", resource="urn:a/").get_token()
        assert len(server.sent) == sent
        assert keeper.source("crm", resource="urn:a").get_token() == "token-2"


@pytest.mark.parametrize(
    ("registered", "asked", "sent"),
    [
        ("urn:c", "urn:a", None),
        (["urn:a", "urn:b", "urn:c"], ["urn:a", "urn:b"], ["urn:a", "urn:b"]),
        (["urn:a", "urn:c"], "urn:a", "urn:a"),
        ("urn:a", ["urn:a", "urn:b"], "urn:a"),
        ("urn:c", None, "urn:c"),
    ],
    ids=["another", "several fewer", "one fewer", "more", "by default"],
)
def test_registered_resources_that_were_not_authorized(server, registered, asked, sent):
    """No token request names a resource of the registration that the sign-in did not ask for."""
    config = OAuth2Config(
        "crm", "me", "s", issuer=server.issuer, additional_params={"resource": registered}
    )
    grant = AuthorizationCode(redirect_uri=REDIRECT_URI)
    with server.keeper(GenericOAuth2Provider(config, grant=grant)) as keeper:
        authorization = keeper.authorize("crm", resource=asked)
        authorization.complete(server.sign_in(authorization.url))
        keeper.get_token("crm", force_refresh=True)
    assert server.grant_types == ["authorization_code", "refresh_token"]
    assert [each.get("resource") for each in server.sent] == [sent, sent]


def test_endpoints_without_metadata(server):
    """A server without metadata needs its endpoint stated, and no issuer is compared then."""
    endpoints = {"authorization_endpoint": f"{server.issuer}/authorize"}
    grant = AuthorizationCode(redirect_uri=REDIRECT_URI)

    def provider(endpoints):
        config = OAuth2Config("crm", "me", "s", f"{server.issuer}/token", endpoints=endpoints)
        return GenericOAuth2Provider(config, grant=grant)

    with server.keeper(provider(endpoints)) as keeper:
        authorization = keeper.authorize("crm")
        answer = server.sign_in(authorization.url, iss="https://whoever.test")
        assert authorization.complete(answer).access_token == "token-1"
    says = pytest.raises(TokenAcquisitionError, match="authorization_endpoint is not known")
    with server.keeper(provider(None)) as keeper, says:
        keeper.authorize("crm")


def test_a_server_that_does_not_promise_an_issuer(server):
    """Then one that is missing is accepted, and a foreign one is not (RFC 9207 §2.4)."""
    del server.metadata["authorization_response_iss_parameter_supported"]
    with server.keeper() as keeper:
        authorization = keeper.authorize("crm")
        with pytest.raises(TokenAcquisitionError, match="was not asked"):
            authorization.complete(server.sign_in(authorization.url, iss="https://evil.test"))
        authorization.complete(server.sign_in(authorization.url, iss=None))
    assert len(server.sent) == 1


# ---- bound tokens


def claims_of(proof):
    import base64

    payload = proof.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_a_key_from_the_start(server):
    """The request names the key, and the code is sent with a proof of it (RFC 9449 §10)."""
    key = DPoPKey()
    with server.keeper(server.provider(dpop=key)) as keeper:
        authorization = keeper.authorize("crm")
        assert server.asked(authorization.url)["dpop_jkt"] == [key.thumbprint]
        server.answers = [
            (200, {"access_token": "t", "token_type": "DPoP", "refresh_token": "r"}),
        ]
        token = authorization.complete(server.sign_in(authorization.url))
        assert (token.token_type, token.dpop_key) == ("DPoP", key)
    assert claims_of(server.sent[0]["dpop"])["htu"] == f"{server.issuer}/token"


@pytest.mark.parametrize("is_generated", [True, False])
def test_a_key_of_another_process(server, is_generated):
    """A generated key goes with the sign-in, sealed; one of your own does not leave the process."""
    store = MemoryTokenStore()
    given = DPoPKey() if is_generated else DPoPKey(DPoPKey().exported())
    grant = (200, {"access_token": "t", "token_type": "DPoP", "refresh_token": "r"})
    with (
        server.keeper(server.provider(dpop=given), store=store) as one,
        server.keeper(server.provider(dpop=True if is_generated else given), store=store) as other,
    ):
        authorization = one.authorize("crm")
        secrets = authorization._under_way.pending.secrets
        assert ("dpop_key" in secrets) is is_generated
        server.answers = [grant]
        answer = server.sign_in(authorization.url)
        token = other.complete_authorization("crm", answer, state=authorization.state).token()
        assert token.dpop_key.thumbprint == given.thumbprint


# ---- the seam


class Other(BaseOAuth2Provider):
    """A provider that knows nothing of sign-ins."""

    def acquire_token(self):
        raise AssertionError


def test_providers_without_a_sign_in():
    """They say so, whatever is asked of them."""
    pending = PendingSignIn("api", "https://as.test", None, "state", 0.0)
    config = OAuth2Config("api", "me", "s", issuer=ISSUER)
    plain = GenericOAuth2Provider(config, grant=ClientCredentials())
    for provider in (Other("api"), plain):
        with pytest.raises(InvalidConfigurationError, match="need no sign-in"):
            provider.begin_sign_in(Asked("api"))
        with pytest.raises(InvalidConfigurationError, match="need no sign-in"):
            provider.finish_sign_in(pending)
    assert Other("api").sign_in_wait_seconds(TokenAcquisitionError("no"), 5.0) is None


def test_a_provider_of_ones_own_without_a_sign_in():
    """A keeper says so before anything is asked."""
    with TokenKeeper(background=False) as keeper:
        keeper.add_provider(Other("api"))
        with pytest.raises(InvalidConfigurationError, match="need no sign-in"):
            keeper.authorize("api")
        with pytest.raises(InvalidConfigurationError, match="need no sign-in"):
            keeper.complete_authorization("api", "https://app.test/?state=s", state="s")


def test_the_base_of_sign_ins():
    """A grant has to say how it begins and ends, and no failure means "not yet" by default."""
    with pytest.raises(TypeError, match="abstract"):
        SignIn()
    assert AuthorizationCode().wait_seconds(TokenAcquisitionError("no"), 5.0) is None
    assert not Grant().is_same(AuthorizationCode())


def test_a_provider_without_a_keeper(server):
    """It begins and finishes a sign-in on its own, and stores nothing."""
    provider = server.provider()
    pending = provider.begin_sign_in(Asked("crm", now=0.0))
    assert pending.scope == "read"
    token = provider.finish_sign_in(pending, server.sign_in(pending.url))
    assert (token.access_token, token.refresh_token) == ("token-1", "refresh-1")


def test_nothing_listens(server):
    """A grant without a redirect URI needs something that listens."""
    provider = server.provider(redirect_uri=None)
    with pytest.raises(InvalidConfigurationError, match="nothing listens"):
        provider.begin_sign_in(Asked("crm"))


def test_a_refresh_token_outlives_another_way_to_sign_in(server):
    """Its record is the same for all grants that begin with a sign-in, also after a reload."""
    one = server.provider()
    other = GenericOAuth2Provider(
        OAuth2Config("crm", "me", "rotated", issuer=server.issuer, scope="read"), grant=DeviceCode()
    )
    assert one.identity() == other.identity()
    assert other.continues(one)
    made = pickle.loads(pickle.dumps(one.for_another_process()))()
    assert made.identity() == one.identity()


def test_a_pending_sign_in_as_bytes():
    """It survives the store, and nothing else is taken for one."""
    pending = PendingSignIn(
        *("api", "https://as.test", "ABCD", "state", 7.5),
        interval_seconds=5.0,
        secrets={"device_code": "d"},
        resource=("https://a.test",),
    )
    assert PendingSignIn.from_bytes(pending.to_bytes()) == pending
    whole = json.loads(pending.to_bytes())
    for content in (b"[]", b"{}", b"no", json.dumps({**whole, "expires_at": "soon"}).encode()):
        with pytest.raises(ValueError, match=r"not a sign-in|expires|Expecting"):
            PendingSignIn.from_bytes(content)


@pytest.mark.parametrize("raises", [False, True])
def test_on_rotated_hears_of_the_first(server, raises, caplog):
    """It gets the refresh token that the sign-in brought; what it raises is logged."""
    seen = []

    def note(refresh_token):
        seen.append(refresh_token)
        if raises:
            raise ValueError(refresh_token)

    with server.keeper(server.provider(on_rotated=note)) as keeper:
        authorization = keeper.authorize("crm")
        authorization.complete(server.sign_in(authorization.url))
    assert seen == ["refresh-1"]
    assert ("on_rotated raised ValueError" in caplog.text) is raises
    assert "refresh-1" not in caplog.text
