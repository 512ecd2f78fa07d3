"""The grant ``refresh_token``: the first refresh token is configured, each works once."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest
import responses

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, OAuth2Token, TokenAcquisitionError
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.oauth.claims import claimed

URL = "https://id.example.com/token"


@pytest.fixture
def wire():
    """Respond to requests without a server."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def grant(wire, refresh_token=None):
    """Have the server grant a token, with the next refresh token if there is one."""
    answer = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}
    if refresh_token:
        answer["refresh_token"] = refresh_token
    wire.upsert(responses.POST, URL, json=answer)


def sent(wire):
    """Return the refresh tokens of all requests, in order."""
    return [dict(parse_qsl(call.request.body))["refresh_token"] for call in wire.calls]


def provider(first="r-1", secret="secret", **options):
    config = OAuth2Config("api", "me", secret, URL, additional_params={"refresh_token": first})
    return GenericOAuth2Provider(config, grant_type="refresh_token", **options)


def token(refresh_token):
    ends = datetime.now(UTC) + timedelta(hours=1)
    return OAuth2Token("old", "Bearer", ends, refresh_token=refresh_token)


def test_each_refresh_token_is_used_once(wire):
    """The configured refresh token is sent once, and from then on the newest one."""
    api = provider()
    grant(wire, "r-2")
    first = api.acquire_token()
    grant(wire, "r-3")
    api.refresh_token(first)
    api.acquire_token()  # as after clear_token()
    assert sent(wire) == ["r-1", "r-2", "r-3"]
    assert not api.repeatable


def test_the_old_refresh_token_stays(wire):
    """If the server sends no refresh token, the one that was used goes on."""
    api = provider()
    grant(wire)
    first = api.acquire_token()
    assert first.refresh_token == "r-1"
    assert api.refresh_token(first).refresh_token == "r-1"
    assert sent(wire) == ["r-1", "r-1"]


def test_a_refusal_is_final(wire):
    """A refused refresh token is an error: there is no other grant, and no second request."""
    wire.add(responses.POST, URL, status=400, json={"error": "invalid_grant"})
    with pytest.raises(TokenAcquisitionError) as raised:
        provider().refresh_token(token("r-7"))
    assert raised.value.error == "invalid_grant"
    assert sent(wire) == ["r-7"]


def test_a_forked_child_spends_nothing_of_its_parent(wire):
    """Without a store, a forked child sends no refresh token that its parent may have used."""
    api = provider()
    grant(wire, "r-2")
    first = api.acquire_token()
    api.after_fork_in_child()
    for ask in (api.acquire_token, lambda: api.refresh_token(first)):
        with pytest.raises(TokenAcquisitionError, match=r"works once.*store=") as raised:
            ask()
        assert not raised.value.transient
    assert sent(wire) == ["r-1"]


def test_a_child_may_begin(wire):
    """A child whose parent never used the configured refresh token uses it, as daemons do."""
    api = provider()
    api.after_fork_in_child()
    grant(wire, "r-2")
    api.acquire_token()
    assert sent(wire) == ["r-1"]


def test_a_claim_decides(wire):
    """With a store, the process with the claim uses the stored refresh token, forked or not."""
    api = provider()
    grant(wire, "r-2")
    api.acquire_token()
    api.after_fork_in_child()
    with claimed(lambda: True):
        api.refresh_token(token("r-9"))
        api.acquire_token()
    assert sent(wire) == ["r-1", "r-9", "r-1"]


class Spec:
    """A spec of a provider that was made elsewhere."""

    provider_name = "api"

    def __init__(self, made):
        self.make_provider = lambda: made


@pytest.mark.parametrize(
    ("changes", "expected"), [({"secret": "rotated"}, "r-2"), ({"first": "r-new"}, "r-new")]
)
def test_what_a_change_of_the_configuration_means(wire, changes, expected):
    """A rotated client secret keeps the current refresh token; a new first one replaces it."""
    api = ReloadableProvider(Spec(provider()), lambda _: None)
    grant(wire, "r-2")
    first = api.acquire_token()
    api.take_over(Spec(provider(**changes)))
    api.refresh_token(first)
    assert sent(wire) == ["r-1", expected]
