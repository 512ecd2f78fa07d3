"""AzureADProvider, with the real msal and real TLS."""

import logging
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from kit import internals
from kit.crowds import crowd
from kit.guards import GUARD_SECONDS
from kit.servers.base import Answer
from kit.servers.entra import CLIENT_ID, SECRET, TENANT
from oauth.responses import jwt

from tokenkeeper import (
    AzureADProvider,
    InvalidConfigurationError,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.exceptions import TokenRefreshError
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.providers import msal_client

WRONG_SECRET = {
    "error": "invalid_client",
    "error_description": f"AADSTS7000215: Invalid client secret provided: {SECRET}.\r\nTrace ID: 1",
}


@pytest.fixture
def make(entra):
    """Return a factory for providers that use the stand-in."""
    made = []

    def make(**changes):
        options = {"authority": entra.authority, "verify": entra.ca_file} | changes
        tenant = options.pop("tenant_id", TENANT)
        made.append(AzureADProvider("graph", CLIENT_ID, SECRET, tenant, **options))
        return made[-1]

    yield make
    for provider in made:
        provider.close()


@pytest.fixture
def provider(make):
    return make()


def failure(provider):
    with pytest.raises(TokenAcquisitionError) as caught:
        provider.acquire_token()
    error = caught.value
    assert "'graph'" in str(error)
    assert SECRET not in str(error) + repr(error.__dict__)
    assert error.provider_name == "graph"
    return error


class TestAsking:
    """The requests to Entra ID."""

    def test_a_token(self, provider, entra):
        """The request comes from msal, and the token is the one that the server granted."""
        began = datetime.now(UTC)
        token = provider.acquire_token()
        assert token.access_token == "entra-1"
        assert token.token_type == "Bearer"
        assert 3598 < (token.expires_at - began).total_seconds() < 3660
        assert token.scope == "https://graph.microsoft.com/.default"
        (form,) = [each.form for each in entra.requests]
        assert form["client_id"] == CLIENT_ID
        assert form["client_secret"] == SECRET
        assert form["grant_type"] == "client_credentials"
        assert form["scope"] == "https://graph.microsoft.com/.default"

    def test_each_call_really_asks(self, provider, entra):
        """The cache of msal returns no token; its metadata is fetched once."""
        tokens = [provider.acquire_token()]
        tokens.append(provider.refresh_token(tokens[0]))
        assert [token.access_token for token in tokens] == ["entra-1", "entra-2"]
        assert entra.discoveries == 1

    def test_one_request_for_many_threads(self, provider, entra):
        """With msal each thread sends its own request; a keeper sends one for all."""
        with TokenKeeper() as keeper:
            keeper.add_provider(provider)
            tokens = crowd(32, lambda: keeper.get_token("graph")).join()
            assert tokens == ["entra-1"] * 32
            assert len(entra.requests) == 1
            assert keeper.get_token("graph", force_refresh=True) == "entra-2"

    def test_two_threads_at_once(self, provider, entra, monkeypatch):
        """Each thread returns the token granted to its own request."""
        provider.acquire_token()
        both_granted = threading.Barrier(2)
        [application] = internals.msal_applications(provider).values()
        ask = application.acquire_token_for_client

        def ask_and_meet(**options):
            result = ask(**options)
            both_granted.wait(20)
            return result

        monkeypatch.setattr(application, "acquire_token_for_client", ask_and_meet)
        tokens = crowd(2, provider.acquire_token).join()
        assert {token.access_token for token in tokens} == {"entra-2", "entra-3"}

    def test_one_application_for_many_threads(self, provider, entra):
        """Threads that need the first tokens of a tenant share one request for its metadata."""
        tokens = crowd(8, provider.acquire_token).join()
        assert len({token.access_token for token in tokens}) == 8
        assert entra.discoveries == 1

    def test_a_tenant_that_does_not_answer(self, make, entra):
        """While the metadata of one tenant is on its way, another tenant's token is granted."""
        entra.tenants.add("other.example")
        asked, release = threading.Event(), threading.Event()

        def held(own):
            asked.set()
            release.wait(GUARD_SECONDS)
            return own

        entra.discovery_script.append(held)
        provider = make(allowed_tenants="*", read_timeout=GUARD_SECONDS)
        parameters = TokenParameters(tenant="other.example")
        other = provider.variant(TokenName.of("graph", parameters), parameters)
        slow = crowd(1, provider.acquire_token)
        try:
            assert asked.wait(GUARD_SECONDS)
            assert other.acquire_token().access_token == "entra-1"
            assert slow.results == [None]
        finally:
            release.set()
        assert [token.access_token for token in slow.join()] == ["entra-2"]

    def test_applications_are_bounded(self, make, entra, monkeypatch):
        """The applications of the tenants that were used last are kept, and no others."""
        monkeypatch.setattr(msal_client, "MOST_TENANTS", 2)
        provider = make(allowed_tenants="*")
        names = ["a.example", "b.example", "unknown.example", "a.example", "c.example", "a.example"]
        entra.tenants.update(set(names) - {"unknown.example"})
        for name in names:
            parameters = TokenParameters(tenant=name)
            with suppress(TokenAcquisitionError):
                provider.variant(TokenName.of("graph", parameters), parameters).acquire_token()
        assert set(internals.msal_applications(provider)) == {"a.example", "c.example"}
        assert entra.discoveries == 4
        assert not internals.msal_locks(provider)

    def test_nothing_before_it_is_needed(self, make, entra):
        """Creating a provider sends no request, even if the authority is unreachable."""
        make(authority="https://localhost:1")
        assert entra.discoveries == 0

    def test_a_child_asks_for_itself(self, provider, entra):
        """A forked child creates its own application and connections."""
        provider.acquire_token()
        provider.after_fork_in_child()
        assert provider.acquire_token().access_token == "entra-2"
        assert entra.discoveries == 2


class TestNarrowedScope:
    """A server that grants less than the requested scope (RFC 6749 §3.3)."""

    @pytest.fixture
    def warnings_of(self, make, entra, caplog):
        """Return a function that requests tokens, and returns the warnings about their scopes."""

        def warnings_of(requested, *granted):
            provider = make(scope=requested)
            for scope in granted:
                answer = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3599}
                entra.script.append(Answer(200, answer | ({"scope": scope} if scope else {})))
                provider.acquire_token()
            return [each.getMessage() for each in caplog.records if "scope" in each.getMessage()]

        return warnings_of

    def test_one_warning_for_all_renewals(self, warnings_of):
        """The missing part is logged once, and the token is used."""
        (warning,) = warnings_of("api://app/read api://app/write", *["api://app/read"] * 3)
        assert warning.startswith("provider 'graph': the server granted a narrower scope")
        assert "Missing: api://app/write." in warning

    @pytest.mark.parametrize(
        ("requested", "granted"),
        [
            (None, "https://graph.microsoft.com/Mail.Read"),
            ("api://app/.default", "api://app/read"),
            ("api://app/.default", None),
            ("api://app/read api://app/write", "api://app/write api://app/read"),
            ("api://app/read", None),
        ],
    )
    def test_nothing_is_missing(self, warnings_of, requested, granted):
        """A scope ending in ``/.default`` means any set, and no scope means the requested one."""
        assert warnings_of(requested, granted, granted) == []


class TestLives:
    """How long tokens are valid."""

    def test_one_doubt_for_all_renewals(self, provider, entra, caplog):
        """A lifetime that may be in milliseconds is doubted once."""
        for number in range(3):
            answer = {"access_token": f"a{number}", "expires_in": 3_600_000}
            entra.script.append(Answer(200, answer))
            provider.acquire_token()
        assert caplog.text.count("If the server means milliseconds") == 1

    def test_the_shortest_counts(self, provider, entra):
        """The exp of a token and expires_on count, as for other providers."""
        now = int(time.time())
        for members, seconds in [
            ({"access_token": jwt(exp=now + 60), "expires_in": 3600}, 60),
            ({"access_token": "a", "expires_in": 3600, "expires_on": now + 600}, 600),
        ]:
            entra.script.append(Answer(200, members))
            left = provider.acquire_token().expires_at.timestamp() - now
            assert left == pytest.approx(seconds, abs=5)

    def test_what_else_is_said(self, provider, entra):
        """When to renew and all other members are kept."""
        members = {"access_token": "a", "expires_in": 7200, "refresh_in": 3600, "ext": [1]}
        entra.script.append(Answer(200, members))
        token = provider.acquire_token()
        assert token.extra["ext"] == (1,)
        assert (token.expires_at - token.refresh_at).total_seconds() == pytest.approx(3600, abs=1)


class TestFailures:
    """Refusals and failures of Entra ID."""

    def test_a_refusal_that_heals_at_once(self, provider, entra):
        """The next request is sent, although msal would replay a refusal for a minute."""
        entra.script.append(Answer(400, WRONG_SECRET))
        error = failure(provider)
        assert (error.error, error.status_code) == ("invalid_client", 400)
        assert "Set the secret's value, not its id" in str(error)
        assert provider.acquire_token().access_token == "entra-2"

    @pytest.mark.parametrize("code", ["consent_required", "interaction_required", "invalid_grant"])
    def test_no_advice_for_people(self, provider, entra, code):
        """A client without a user is never advised to sign in."""
        entra.script.append(Answer(400, {"error": code}))
        assert "sign in" not in str(failure(provider)).lower()

    def test_too_many_requests(self, provider, entra):
        """A request before Retry-After is sent, although msal would withhold it."""
        entra.script.append(Answer(429, {"error": "throttled"}, {"Retry-After": "60"}))
        assert failure(provider).retry_after == 60
        assert provider.acquire_token().access_token == "entra-2"

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(200, b"<html>sign in</html>"),
            Answer(200, b"[]"),
            Answer(200, b"\xff"),
            Answer(200, {"access_token": "a", "token_type": "mac"}),
            Answer(200, {"access_token": 7}),
            Answer(200, {}),
            Answer(200, b"[" * 100_000),
            Answer(302, b"", {"Location": "https://evil.example/"}),
            Answer(400, b"oops"),
            Answer(500, b""),
            Answer(503, {"error": "temporarily_unavailable"}, {"Retry-After": "5"}),
        ],
    )
    def test_odd_answers(self, provider, entra, answer, caplog):
        """Any response that grants no token is one of our errors, and no body is logged."""
        entra.script.append(answer)
        with caplog.at_level(logging.DEBUG):
            assert failure(provider).status_code == answer.status
        assert "sign in" not in caplog.text
        assert provider.acquire_token().access_token == "entra-2"

    @pytest.mark.parametrize(
        "answer",
        [
            {"access_token": "a!|b", "expires_in": "soon"},
            {"access_token": "a!|b", "expires_in": [], "refresh_in": {}, "token_type": "JWT"},
            {"access_token": "a!|b", "error": None, "scope": 7, "id_token": 7, "client_info": 7},
            b'{"access_token": "a!|b", "expires_in": NaN, "a": 1, "a": 2}',
            b'{"access_token": "a!|b", "name": "Jos\xe9"}',
            b'{"access_token": "a!|b", "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        ],
    )
    def test_odd_members(self, provider, entra, answer):
        """A member that only msal rejects does not cost a token."""
        entra.script.append(Answer(200, answer))
        assert provider.acquire_token().access_token == "a!|b"

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(200, b"<html>"),
            Answer(200, []),
            Answer(200, {}),
            Answer(404, b""),
            Answer(503, b""),
            Answer(200, {"token_endpoint": "http://evil.example", "authorization_endpoint": "x"}),
        ],
    )
    def test_odd_metadata(self, provider, entra, answer):
        """Bad metadata is one of our errors, is not cached, and does not redirect the secret."""
        entra.discovery_script.append(answer)
        with pytest.raises((TokenAcquisitionError, InvalidConfigurationError), match="'graph'"):
            provider.acquire_token()
        assert entra.requests == []

    def test_unknown_tenant(self, make):
        """An unknown tenant is reported as such."""
        error = failure(make(tenant_id="other.example"))
        assert "Check tenant_id" in str(error)
        assert error.error == "invalid_tenant"

    def test_an_authority_that_can_not_be_reached(self, make):
        """An unreachable authority is a transient error."""
        error = failure(make(authority="https://localhost:1"))
        assert "refused" in str(error)
        assert error.transient is True

    def test_a_wrong_ca(self, make, monkeypatch):
        """The error for an unverifiable certificate says how to fix it."""
        error = failure(make(verify=None))
        assert "verify or REQUESTS_CA_BUNDLE" in str(error)
        assert error.transient is False

    def test_an_outage_while_a_token_is_valid(self, make, entra):
        """After a failed renewal, callers continue to get the current token."""
        with TokenKeeper() as keeper:
            keeper.add_provider(make(retry=RetryPolicy(attempts=1)))
            keeper.get_token("graph")
            entra.script.append(Answer(503))
            with pytest.raises(TokenRefreshError):
                keeper.get_token("graph", force_refresh=True)
            assert keeper.get_token("graph") == "entra-1"

    def test_msal_changes_its_mind(self, provider, monkeypatch):
        """Any other exception or omission of msal becomes one of our errors."""
        provider.acquire_token()

        class Odd:
            def acquire_token_for_client(self, scopes):
                raise AttributeError(SECRET)

        applications = internals.msal_applications(provider)
        applications.update(dict.fromkeys(applications, Odd()))
        assert "AttributeError" in str(failure(provider))
        monkeypatch.setattr(Odd, "acquire_token_for_client", lambda self, scopes: {})
        assert "did not send a request" in str(failure(provider))


class TestConfiguration:
    """Validation and defaults."""

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("client_id", ""),
            ("client_secret", ""),
            ("client_secret", None),
            ("tenant_id", ""),
            ("tenant_id", "a/b"),
            ("tenant_id", "a b"),
            ("tenant_id", ".."),
            ("provider_name", ""),
            ("scope", ["a b"]),
            ("scope", 7),
            ("authority", "http://login.microsoftonline.com"),
            ("authority", "http://localhost:1"),
            ("authority", "https://login.microsoftonline.com/tenant"),
            ("authority", "https://user:pw@login.microsoftonline.com"),
            ("authority", "https://login.microsoftonline.com?x=y"),
            ("authority", "https://"),
            ("authority", ""),
        ],
    )
    def test_refused(self, field, value):
        """An invalid value is refused by name."""
        good = {
            "provider_name": "graph",
            "client_id": "id",
            "client_secret": SECRET,
            "tenant_id": TENANT,
        }
        with pytest.raises(InvalidConfigurationError, match=field) as caught:
            AzureADProvider(**(good | {field: value}))
        assert caught.value.field == field

    @pytest.mark.parametrize(
        ("authority", "where", "scope"),
        [
            (None, "https://login.microsoftonline.com", "https://graph.microsoft.com/.default"),
            (
                "login.microsoftonline.us",
                "https://login.microsoftonline.us",
                "https://graph.microsoft.us/.default",
            ),
            (
                "https://login.partner.microsoftonline.cn/",
                "https://login.partner.microsoftonline.cn",
                "https://microsoftgraph.chinacloudapi.cn/.default",
            ),
        ],
    )
    def test_clouds(self, authority, where, scope):
        """The authority is a login host; the default scope matches its cloud."""
        provider = AzureADProvider("graph", "id", SECRET, TENANT, authority=authority)
        assert repr(provider) == f"<AzureADProvider 'graph' at {where}/{TENANT}>"
        assert provider._scope == scope

    def test_authority_by_the_environment(self, monkeypatch):
        """Without an argument AZURE_AUTHORITY_HOST applies."""
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", "login.microsoftonline.us")
        assert "microsoftonline.us" in repr(AzureADProvider("graph", "id", SECRET, TENANT))

    def test_given_scopes(self, make, entra):
        """The given scopes are requested."""
        make(scope="api://mine/.default").acquire_token()
        assert entra.requests[0].form["scope"] == "api://mine/.default"

    def test_known_clouds_only_are_looked_up(self, make, entra):
        """For an unknown host, Microsoft's instance discovery is not called."""
        assert make().acquire_token()
        assert "msal" in sys.modules
        assert entra.discoveries == 1
