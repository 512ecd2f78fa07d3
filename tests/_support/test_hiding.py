"""No secret is visible in reprs, formats and frames."""

import asyncio
import dataclasses
import pickle
import traceback
from contextvars import Context
from datetime import UTC, datetime

import pytest
from oauth.guarded import (
    REFRESH,
    SECRET,
    TOKEN,
    old_token,
    shows_a_canary,
    what_a_tracker_records,
    written_down,
)

from tokenkeeper import (
    AzureADProvider,
    BaseOAuth2Provider,
    GenericOAuth2Provider,
    OAuth2Config,
    OAuth2Error,
    OAuth2Token,
    OAuth2TokenManager,
    TokenAcquisitionError,
    TokenKeeper,
    UnknownProviderError,
)
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.need import Need
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._support.checks import shown_url
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.integrations._tokens import Tokens
from tokenkeeper.integrations.requests import _Responses
from tokenkeeper.oauth.client_auth import client_auth
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.transport import HttpTransport, _Authorization
from tokenkeeper.providers.msal_client import _MsalHttp
from tokenkeeper.testing import StaticProvider

URL = f"https://id.example/token?client_secret={SECRET}"


def token():
    return OAuth2Token(TOKEN, "Bearer", datetime(2040, 1, 1, tzinfo=UTC), "read", REFRESH)


def held():
    known = {"access_token": TOKEN, "token": token()}
    return CachedToken(*[known.get(field.name, 0) for field in dataclasses.fields(CachedToken)])


def config():
    return OAuth2Config("api", "id", SECRET, URL, "read", {"password": SECRET})


def flight():
    landed = Renewal(GenericOAuth2Provider(config()), held(), Context(), after_rejection=False)
    landed.succeed(held())
    return landed


def keeper():
    with TokenKeeper(background=False) as keeper:
        keeper.add_provider(GenericOAuth2Provider(config()))
        return keeper


HOLDERS = {
    "token": token,
    "held": held,
    "config": config,
    "flight": flight,
    "keeper": keeper,
    "manager": lambda: OAuth2TokenManager(keeper()),
    "auth": lambda: keeper().auth("api"),
    "answer to a request": lambda: _Responses(Tokens(keeper(), "api"), Hidden(TOKEN), None),
    "generic": lambda: GenericOAuth2Provider(config()),
    "azure": lambda: AzureADProvider("api", "id", SECRET, "contoso.example"),
    "static": lambda: StaticProvider("api", TOKEN),
    "basic": lambda: client_auth("client_secret_basic", "id", SECRET),
    "post": lambda: client_auth("client_secret_post", "id", SECRET),
    "msal": lambda: _MsalHttp(HttpTransport(), SYSTEM_CLOCK, "api", [SECRET]),
    "expected": lambda: Expected("api", 0.0, "read", [SECRET]),
    "http answer": lambda: HttpAnswer(200, {"x": TOKEN}, TOKEN.encode()),
    "authorization": lambda: _Authorization(SECRET),
    "wish": lambda: Need("api", 1, refused=TOKEN),
    "hidden": lambda: Hidden(SECRET),
}


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_what_holds_a_secret_does_not_show_it(make):
    """Neither repr, str nor format of an object with a secret shows it."""
    holder = make()
    for shown in (repr(holder), str(holder), f"{holder}", f"{holder!a}", repr([holder])):
        assert not shows_a_canary(shown), shown


def test_errors_keep_no_secret():
    """An error contains no secret, as it is pickled, logged and sent elsewhere."""
    error = TokenAcquisitionError("no token", provider_name="api", error="invalid_client")
    assert not shows_a_canary(repr(vars(pickle.loads(pickle.dumps(error)))))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://id.example/token", "https://id.example/token"),
        ("https://id.example/token?a=b", "https://id.example/token"),
        ("https://me:pw@id.example/token", "https://id.example/token"),
        ("https://id.example?pw=1", "https://id.example"),
        ("https://me:p@w@id.example:8443/a/b?c=d?e", "https://id.example:8443/a/b"),
        ("https://id.example/?", "https://id.example/"),
    ],
)
def test_urls_are_shown_without_secrets(url, shown):
    """The credentials and the query of a URL are hidden."""
    assert shown_url(url) == shown


class Failing(BaseOAuth2Provider):
    """Grants one token, and then refuses."""

    def acquire_token(self):
        return token()

    def refresh_token(self, _):
        raise TokenAcquisitionError("no", provider_name="api", transient=False)


def check_frames(error):
    """Fail if a tracker would record a token from our frames."""
    for written in what_a_tracker_records(error):
        assert not shows_a_canary(written), written[:80]


@pytest.mark.parametrize("background", [True, False], ids=["threads", "inline"])
@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda keeper, refused: keeper.renew_refused("api", refused), OAuth2Error),
        (lambda keeper, refused: keeper.renew_refused("api", refused, timeout=0), OAuth2Error),
        (lambda keeper, refused: keeper.renew_refused("none", refused), UnknownProviderError),
        (lambda keeper, refused: keeper.renew_refused("none", refused_token=refused), OAuth2Error),
    ],
    ids=["refused", "timeout", "unknown", "by name"],
)
def test_the_refused_token_is_in_no_frame_of_ours(background, call, kind):
    """An error from renew_refused has no frame with the token."""
    with TokenKeeper(background=background) as keeper:
        keeper.add_provider(Failing("api"))
        keeper.get_token("api")
        refused = "".join(TOKEN)
        with pytest.raises(kind) as raised:
            call(keeper, refused)
        check_frames(raised.value)
        assert raised.value.__context__ is None
        assert traceback.extract_tb(raised.value.__traceback__)[-1].name == "call"


def test_nor_under_the_manager():
    """The same for the manager."""

    async def main():
        with TokenKeeper() as keeper:
            keeper.add_provider(Failing("api"))
            manager = OAuth2TokenManager(keeper)
            refused = await manager.get_token("api")
            with pytest.raises(OAuth2Error) as raised:
                await manager.renew_refused("api", refused)
            check_frames(raised.value)

    asyncio.run(main())


def test_a_cause_keeps_its_frames():
    """The cause from a custom provider keeps its frames, for debugging."""

    class Broken(Failing):
        def refresh_token(self, _):
            raise ValueError("mine")

    with TokenKeeper(background=False) as keeper:
        keeper.add_provider(Broken("api"))
        refused = keeper.get_token("api")
        with pytest.raises(OAuth2Error) as raised:
            keeper.renew_refused("api", refused)
    assert isinstance(raised.value.__cause__, ValueError)
    assert raised.value.__cause__.__traceback__ is not None


def test_a_refresh_token_is_in_no_frame_of_ours():
    """An error from a provider called directly has no frame with the old token."""
    provider = GenericOAuth2Provider(OAuth2Config("api", "id", SECRET, "http://127.0.0.1:1/token"))
    with pytest.raises(TokenAcquisitionError) as raised:
        provider.refresh_token(old_token())
    check_frames(raised.value)


def test_what_trackers_do_with_containers():
    """These tests look into containers, as trackers do."""
    inside = [{"a": (TOKEN, {REFRESH})}, token(), Hidden(SECRET)]
    assert sum(map(shows_a_canary, written_down(inside))) == 2
    assert dataclasses.is_dataclass(inside[1])
