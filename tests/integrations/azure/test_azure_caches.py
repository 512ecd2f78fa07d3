"""Credentials with a cache of their own, and with a time to renew."""

import time
from datetime import timedelta

import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential, CredentialUnavailableError
from azure.identity.aio import ClientSecretCredential as AsyncClientSecretCredential
from kit.servers.entra import CLIENT_ID, SECRET, TENANT, Entra
from oauth.responses import jwt

from tokenkeeper import TokenAcquisitionError, TokenKeeper, TokenRejectedError
from tokenkeeper._runtime import provider_loop
from tokenkeeper.integrations.azure import CredentialProvider
from tokenkeeper.testing import SteppedClock

SCOPE = "https://storage.azure.com/.default"


@pytest.fixture
def keeper():
    """Return a keeper whose waits take no real time."""
    with TokenKeeper(clock=SteppedClock(time.time(), auto_step="retries")) as keeper:
        yield keeper


class Caching:
    """Returns one token until it is challenged.

    :param refuses: its error for a challenge that it can't answer.
    """

    def __init__(self, refuses=None):
        self.refuses = refuses
        self.number = 1
        self.asked = []

    def answer(self, claims):
        self.asked.append(claims)
        if claims and self.refuses is not None:
            raise self.refuses
        self.number += bool(claims)
        return f"azure-{self.number}", int(time.time()) + 3600


class ByKeyword(Caching):
    """azure-core's protocol."""

    def get_token(self, *scopes, claims=None, **options):
        return AccessToken(*self.answer(claims))


class ByKeywords(Caching):
    """Takes any keyword."""

    def get_token(self, *scopes, **options):
        return AccessToken(*self.answer(options.get("claims")))


class ByOptions(Caching):
    """azure-core's newer protocol."""

    def get_token_info(self, *scopes, options=None):
        return AccessTokenInfo(*self.answer((options or {}).get("claims")))


class ByBoth(ByKeyword, ByOptions):
    """Both protocols, as azure-identity's credentials."""


class AsyncByKeyword(Caching):
    """azure-core's async protocol."""

    async def get_token(self, *scopes, claims=None):
        return AccessToken(*self.answer(claims))


class AsyncByOptions(Caching):
    """azure-core's newer async protocol."""

    async def get_token_info(self, *scopes, options=None):
        return AccessTokenInfo(*self.answer((options or {}).get("claims")))


KINDS = [ByKeyword, ByKeywords, ByOptions, ByBoth, AsyncByKeyword, AsyncByOptions]


class Bare(Caching):
    """A credential without keyword parameters."""

    def get_token(self, *scopes):
        return AccessToken(*self.answer(None))


class AsyncBare(Caching):
    """An async credential without keyword parameters."""

    async def get_token(self, *scopes):
        return AccessToken(*self.answer(None))


@pytest.mark.parametrize("kind", KINDS)
def test_past_its_cache(keeper, kind):
    """A credential whose token was refused is asked for another one, and only then."""
    credential = kind()
    keeper.add_provider(CredentialProvider("storage", credential, SCOPE))
    token = keeper.get_token("storage")
    assert keeper.get_token("storage", force_refresh=True) == token
    assert keeper.renew_refused("storage", token) == "azure-2"
    assert [bool(claims) for claims in credential.asked] == [False, False, True]


UNAVAILABLE = CredentialUnavailableError("This credential doesn't support claims challenges.")
CHAINED = ClientAuthenticationError("Attempted: this doesn't support claims challenges.")


@pytest.mark.parametrize(
    ("kind", "refuses", "asked"),
    [
        (Bare, None, 3),
        (AsyncBare, None, 3),
        *((kind, refuses, 5) for kind in KINDS for refuses in (UNAVAILABLE, CHAINED)),
    ],
)
def test_a_cache_that_can_not_be_bypassed(keeper, kind, refuses, asked):
    """If the cache can't be bypassed, the error explains that the refused token came again."""
    credential = kind(refuses)
    keeper.add_provider(CredentialProvider("storage", credential, SCOPE))
    token = keeper.get_token("storage")
    with pytest.raises(TokenRejectedError, match=r"cache of their own") as caught:
        keeper.renew_refused("storage", token)
    assert token not in str(caught.value)
    assert keeper.get_token("storage") == token
    assert len(credential.asked) == asked


@pytest.mark.parametrize("kind", KINDS)
def test_another_failure_is_its_own(keeper, kind):
    """A credential that fails for another reason is not asked again without the challenge."""
    credential = kind(ClientAuthenticationError("AADSTS7000215: Invalid client secret"))
    keeper.add_provider(CredentialProvider("storage", credential, SCOPE))
    token = keeper.get_token("storage")
    with pytest.raises(TokenAcquisitionError, match="AADSTS7000215"):
        keeper.renew_refused("storage", token)
    assert len(credential.asked) == 2


@pytest.mark.parametrize("kind", [ClientSecretCredential, AsyncClientSecretCredential])
def test_azure_identity(tmp_path, keeper, kind):
    """A credential of azure-identity asks Entra again, bypassing its cache."""
    with Entra(tmp_path) as entra:
        credential = kind(
            TENANT,
            CLIENT_ID,
            SECRET,
            authority=entra.authority,
            disable_instance_discovery=True,
            connection_verify=entra.ca_file,
            retry_total=0,
        )
        keeper.add_provider(CredentialProvider("storage", credential, SCOPE))
        token = keeper.get_token("storage")
        assert keeper.get_token("storage", force_refresh=True) == token
        assert len(entra.requests) == 1
        renewed = keeper.renew_refused("storage", token)
        assert renewed != token
        assert keeper.get_token("storage") == renewed
        assert len(entra.requests) == 2
        provider_loop.call(credential.close)


@pytest.mark.parametrize(
    ("refresh_on", "after"), [(None, None), (0, None), (1800, 1800), ("1800", 1800)]
)
def test_refresh_on(refresh_on, after):
    """The time at which a credential wants its token renewed is used."""
    now = int(time.time())
    moment = type(refresh_on)(now + int(refresh_on)) if refresh_on else refresh_on

    class Informed:
        def get_token_info(self, *scopes, options=None):
            return AccessTokenInfo("informed", now + 3600, refresh_on=moment)

        def get_token(self, *scopes):
            raise AssertionError("it knows less")

    token = CredentialProvider("storage", Informed(), SCOPE).acquire_token()
    expected = None if after is None else token.expires_at - timedelta(seconds=3600 - after)
    assert token.refresh_at == expected


@pytest.mark.parametrize(
    ("expires_on", "expires"),
    [
        (lambda now: now + 3600, 3600),
        (lambda now: now + 3600.0, 3600),
        (lambda now: str(now + 3600), 3600),
        (lambda now: (now + 3600) * 1000, 3600),  # milliseconds, as JavaScript has them
        (lambda now: now + 600, 600),
    ],
)
@pytest.mark.parametrize("exp", [None, 3600, 60])
def test_expiry(expires_on, expires, exp):
    """A token expires when the credential says, or earlier if it is a JWT that does."""
    now = int(time.time())
    token = jwt(exp=now + exp) if exp else "opaque"
    stated = expires_on(now)

    class Stating:
        def get_token(self, *scopes):
            return AccessToken(token, stated)

    granted = CredentialProvider("storage", Stating(), SCOPE).acquire_token()
    assert granted.expires_at.timestamp() == now + min(expires, exp or expires)


@pytest.mark.parametrize("expires_on", [0, None, "", "soon"])
def test_no_expiry(expires_on):
    """A credential that does not know the expiry has a token of an hour."""

    class Unknowing:
        def get_token(self, *scopes):
            return AccessToken("opaque", expires_on)

    before = time.time()
    granted = CredentialProvider("storage", Unknowing(), SCOPE).acquire_token()
    assert before + 3600 <= granted.expires_at.timestamp() <= time.time() + 3600


@pytest.mark.parametrize("expires_on", [253402300799, 9999999999, float("inf")])
def test_a_token_that_never_expires(expires_on, keeper):
    """An expiry in the distant future is one."""

    class Eternal:
        def get_token(self, *scopes):
            return AccessToken("opaque", expires_on)

    keeper.add_provider(CredentialProvider("storage", Eternal(), SCOPE))
    assert keeper.get_token("storage") == "opaque"
