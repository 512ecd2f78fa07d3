"""The grant ``RefreshToken``: a refresh token to begin with, and what its tokens share."""

import stat
from urllib.parse import parse_qsl

import pytest
import responses

from tokenkeeper import (
    AuthorizationRequiredError,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.providers.grants.refresh_token import RefreshToken

URL = "https://id.example.com/token"
A, B = "https://a.example", "https://b.example"


@pytest.fixture
def wire():
    """Grant token-1, token-2, ... with refresh tokens r-2, r-3, ..."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        sent = []

        def answer(request):
            sent.append(dict(parse_qsl(request.body)))
            number = len(sent)
            body = f'{{"access_token": "token-{number}", "token_type": "Bearer", "expires_in": 3600'
            return 200, {}, body + f', "refresh_token": "r-{number + 1}"}}'

        mock.add_callback(responses.POST, URL, answer)
        mock.sent = sent
        yield mock


def provider(first="r-1", *, config=None, custody=None, **options):
    config = config or OAuth2Config("api", "me", "secret", URL)
    return GenericOAuth2Provider(config, grant=RefreshToken(first, **options), custody=custody)


def keeper(api, **options):
    keeper = TokenKeeper(background=False, retry=RetryPolicy(attempts=1), **options)
    keeper.add_provider(api)
    return keeper


def test_the_first_and_then_the_newest(wire):
    """The given refresh token is used once, and then the newest, for whatever resource."""
    with keeper(provider()) as mine:
        mine.get_token("api")
        mine.source("api", resource=A).get_token()
        mine.source("api", resource=B).get_token()
    assert [each["refresh_token"] for each in wire.sent] == ["r-1", "r-2", "r-3"]
    assert [each.get("resource") for each in wire.sent] == [None, A, B]


@pytest.mark.parametrize("kind", ["text", "file", "function"])
def test_where_the_first_comes_from(wire, tmp_path, kind):
    """It is a text, the path of a file, or a function; the last two are read when it is needed."""
    file = tmp_path / "refresh-token"
    sources = {"text": "r-1", "file": file, "function": file.read_text}
    with keeper(provider(sources[kind])) as mine:
        file.write_text("r-1\n" if kind == "file" else "r-1")
        mine.get_token("api")
    assert wire.sent[0]["refresh_token"] == "r-1"


@pytest.mark.parametrize(
    ("first", "problem"),
    [
        ("", "refresh_token"),
        (None, "refresh_token must be a callable"),
        (7, "refresh_token must be a callable"),
    ],
)
def test_what_can_not_be_one(first, problem):
    """Anything else is refused when the grant is made."""
    with pytest.raises(InvalidConfigurationError, match=problem) as caught:
        RefreshToken(first)
    assert caught.value.field == "refresh_token"


def test_a_file_that_is_missing(wire, tmp_path):
    """A file that can't be read is an error that names it, and nothing is requested."""
    with keeper(provider(tmp_path / "nothing")) as mine, pytest.raises(TokenAcquisitionError) as e:
        mine.get_token("api")
    assert f"provider 'api': the first refresh token: {tmp_path / 'nothing'} can't" in str(e.value)
    with pytest.raises(TokenAcquisitionError, match="provider 'api': the first refresh token"):
        provider(tmp_path / "nothing").revoke_token(None, "refresh_token")
    assert wire.sent == []


def test_told_of_each_new_one(wire):
    """on_rotated gets each new refresh token."""
    rotated = []
    with keeper(provider(on_rotated=rotated.append)) as mine:
        mine.get_token("api")
        mine.get_token("api", force_refresh=True)
    assert rotated == ["r-2", "r-3"]


def test_a_function_that_fails_harms_nothing(wire, caplog):
    """An exception of on_rotated is logged without its text, and the token is served."""

    def on_rotated(refresh_token):
        raise ValueError(refresh_token)

    with keeper(provider(on_rotated=on_rotated)) as mine:
        assert mine.get_token("api") == "token-1"
    assert "on_rotated raised ValueError" in caplog.text
    assert "r-2" not in caplog.text


def test_not_a_function():
    """on_rotated must be one."""
    with pytest.raises(InvalidConfigurationError) as caught:
        RefreshToken("r-1", on_rotated="print")
    assert caught.value.field == "on_rotated"


@pytest.mark.parametrize("asked", [A + "/", B, "urn:other"])
def test_resources_that_were_not_authorized(wire, asked):
    """Another resource is refused before any request, and the error lists those that were."""
    with keeper(provider(resources=A)) as mine:
        with pytest.raises(InvalidConfigurationError, match=f"Use one of: {A}") as caught:
            mine.source("api", resource=[A, asked])
        assert mine.source("api", resource=A).get_token() == "token-1"
    assert caught.value.field == "resource"
    assert caught.value.provider_name == "api"


def test_scope_is_the_grant_s(wire):
    """A source can't choose a scope, as some servers would narrow the grant for good."""
    with keeper(provider()) as mine, pytest.raises(InvalidConfigurationError, match="scope"):
        mine.source("api", scope="read")


def test_scope_on_request(wire):
    """With scope_by_refresh it is sent, for that token alone."""
    with keeper(provider(scope_by_refresh=True)) as mine:
        mine.get_token("api")
        assert mine.source("api", scope="read").token().scope == "read"
        mine.get_token("api", force_refresh=True)
    assert [each.get("scope") for each in wire.sent] == [None, "read", None]


def test_custody(wire, tmp_path):
    """A custody of its own outlives the keeper; only this user can read it."""
    url = f"sqlite:///{tmp_path / 'private' / 'custody.db'}"
    for _ in range(2):
        with keeper(provider(custody=url)) as mine:
            mine.get_token("api", force_refresh=True)
    assert [each["refresh_token"] for each in wire.sent] == ["r-1", "r-2"]
    assert stat.S_IMODE((tmp_path / "private" / "custody.db").stat().st_mode) == 0o600


def test_a_person_is_needed(wire):
    """A refused refresh token is an error of its own class, without a cooldown or a request."""
    wire.upsert(responses.POST, URL, status=400, json={"error": "invalid_grant"})
    with keeper(provider()) as mine:
        for _ in range(3):
            with pytest.raises(AuthorizationRequiredError, match="a new sign-in is needed") as e:
                mine.get_token("api")
            assert e.value.error == "invalid_grant"
    assert len(wire.calls) == 1


def test_no_secret_is_shown(wire):
    """Neither repr nor description of the provider shows the refresh token."""
    api = provider("r-secret-1")
    shown = repr(api) + repr(api.describe()) + repr(vars(api)) + repr(api.identity())
    assert "r-secret-1" not in shown
