"""Sign-ins of one process: what is stored, what is asked, and what bad answers get."""

from datetime import UTC, datetime

import pytest
import requests
from kit.frames import recorded_variables
from kit.sign_ins import REDIRECT_URI, SignInServer

from tokenkeeper import (
    AuthorizationRequiredError,
    InvalidConfigurationError,
    KeeperClosedError,
    TokenAcquisitionError,
)
from tokenkeeper._renewal.notifier import write_log_line
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.events import SignInCompleted, SignInFailed, SignInStarted
from tokenkeeper.schedule import LONGEST_LIFE_SECONDS
from tokenkeeper.testing import SteppedClock
from tokenkeeper.testing.events import EventRecorder
from tokenkeeper.testing.stores import MemoryTokenStore

NOW = datetime(2026, 1, 2, tzinfo=UTC)
A, B, C = "https://a.test", "https://b.test", "https://c.test"


@pytest.fixture
def server():
    with SignInServer() as server:
        yield server


@pytest.fixture
def clock():
    return SteppedClock(auto_step=True)


def test_a_sign_in_and_then_nobody(server, clock):
    """One request brings the token, and refresh tokens go on from there without a person."""
    keeper = server.keeper(server.provider(clock=clock), clock=clock)
    with keeper:
        authorization = keeper.authorize("crm")
        token = authorization.complete(server.sign_in(authorization.url))
        assert token.access_token == keeper.get_token("crm") == "token-1"
        clock.step(3600)
        assert keeper.get_token("crm") == "token-2"
        clock.step(3600)
        assert keeper.get_token("crm") == "token-3"
    assert server.grant_types == ["authorization_code", "refresh_token", "refresh_token"]


def test_what_is_asked(server):
    """The request has PKCE with S256, a state, the scope, and the registered redirect URI."""
    with server.keeper() as keeper:
        authorization = keeper.authorize("crm", login_hint="ada@example.com", audience=[A])
        asked = server.asked(authorization.url)
    assert asked.pop("state") == [authorization.state]
    assert len(asked.pop("code_challenge")[0]) == 43
    assert asked == {
        "ui": ["plain"],
        "response_type": ["code"],
        "client_id": ["me"],
        "redirect_uri": [REDIRECT_URI],
        "scope": ["read"],
        "code_challenge_method": ["S256"],
        "login_hint": ["ada@example.com"],
        "audience": [A],
    }


def test_get_token_asks_nobody_without_a_sign_in(server):
    """Without a sign-in there is an error that says what to do, and no request."""
    with server.keeper() as keeper:
        with pytest.raises(AuthorizationRequiredError, match=r"'crm': .*keeper.authorize") as info:
            keeper.get_token("crm")
        assert info.value.provider_name == "crm"
        assert not info.value.transient
    assert server.sent == []


def bad_answer(url, kind, server):
    """Return an answer that a sign-in must not be completed with."""
    good = server.sign_in(url)
    return {
        "a guessed state": server.sign_in(url, state="guessed"),
        "no state": server.sign_in(url, state=None),
        "a foreign issuer": server.sign_in(url, iss="https://evil.test"),
        "no issuer": server.sign_in(url, iss=None),
        "a foreign issuer with an error": server.decline(url, iss="https://evil.test"),
        "a parameter twice": good + "&code=another",
        "another page": REDIRECT_URI,
        "no URL": "http://[",
        "nothing": "",
    }[kind]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("a guessed state", "its state is not that of this sign-in"),
        ("no state", "its state is not that of this sign-in"),
        ("a foreign issuer", r"its iss is 'https://evil.test', which was not asked"),
        ("no issuer", "it has no iss"),
        ("a foreign issuer with an error", r"its iss is 'https://evil.test'"),
        ("a parameter twice", "it has a parameter twice"),
        ("another page", "its state is not that of this sign-in"),
        ("no URL", "it is not a valid URL"),
        ("nothing", "its state is not that of this sign-in"),
    ],
)
def test_an_answer_that_is_not_for_it(server, kind, says):
    """It is refused without a request, shows no secret, and the right answer still counts."""
    events = EventRecorder()
    with server.keeper(hooks=[events]) as keeper:
        authorization = keeper.authorize("crm")
        with pytest.raises(TokenAcquisitionError, match=says) as info:
            authorization.complete(bad_answer(authorization.url, kind, server))
        assert server.sent == []
        assert "not today" not in str(info.value)
        assert "code-" not in str(info.value)
        assert authorization.state not in str(info.value)
        assert not info.value.transient
        assert authorization.complete(server.sign_in(authorization.url)).access_token == "token-1"


def test_a_denial(server):
    """It says so in the server's words, makes no request, ends the sign-in, and loses nothing."""
    with server.keeper() as keeper:
        first = keeper.authorize("crm")
        first.complete(server.sign_in(first.url))
        second = keeper.authorize("crm")
        with pytest.raises(TokenAcquisitionError, match=r"access_denied \(\"not today\"\)") as info:
            second.complete(server.decline(second.url))
        assert info.value.error == "access_denied"
        with pytest.raises(TokenAcquisitionError, match="no such sign-in"):
            second.complete(server.sign_in(second.url))
        assert keeper.get_token("crm", force_refresh=True) == "token-2"
    assert server.grant_types == ["authorization_code", "refresh_token"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"code": None}, "the answer has neither a code nor an error"),
        ({"code": None, "error": "server_error"}, r"failed: server_error\. Begin"),
    ],
    ids=["neither", "an error without words"],
)
def test_an_answer_without_a_code(server, changes, says):
    """It is an error that says what the answer lacks."""
    with server.keeper() as keeper:
        authorization = keeper.authorize("crm")
        with pytest.raises(TokenAcquisitionError, match=says):
            authorization.complete(server.sign_in(authorization.url, **changes))
    assert server.sent == []


def test_an_answer_counts_once(server):
    """A second use of an answer is refused without a request, and the sign-in has not failed."""
    events = EventRecorder()
    with server.keeper(hooks=[events]) as keeper:
        authorization = keeper.authorize("crm")
        answer = server.sign_in(authorization.url)
        authorization.complete(answer)
        with pytest.raises(TokenAcquisitionError, match="completed already"):
            authorization.complete(answer)
        assert keeper.get_token("crm") == "token-1"
    assert not [each for each in events.events if isinstance(each, SignInFailed)]
    assert server.grant_types == ["authorization_code"]


def test_a_code_that_the_server_refuses(server):
    """It is the server's error, after one request; the refresh token before goes on."""
    with server.keeper() as keeper:
        first = keeper.authorize("crm")
        first.complete(server.sign_in(first.url))
        second = keeper.authorize("crm")
        answer = server.sign_in(second.url)
        server.answers = [(400, {"error": "invalid_grant"})]
        with pytest.raises(TokenAcquisitionError, match="code has expired or was") as info:
            second.complete(answer)
        assert info.value.error == "invalid_grant"
        assert keeper.get_token("crm", force_refresh=True) == "token-3"


def test_it_expires(server, clock):
    """After its time it is refused without a request."""
    with server.keeper(clock=clock) as keeper:
        authorization = keeper.authorize("crm", timeout_seconds=60)
        assert authorization.expires_at.timestamp() == clock.time() + 60
        answer = server.sign_in(authorization.url)
        clock.step(60)
        with pytest.raises(TokenAcquisitionError, match="took too long"):
            authorization.complete(answer)
    assert server.sent == []


def test_it_takes_for_ever(server, clock):
    """However much time a person is given, the sign-in expires at a date that exists."""
    with server.keeper(clock=clock) as keeper:
        authorization = keeper.authorize("crm", timeout_seconds=1e300)
        assert authorization.expires_at.timestamp() == clock.time() + LONGEST_LIFE_SECONDS
        assert authorization.complete(server.sign_in(authorization.url)).access_token == "token-1"


def test_a_closed_keeper(server):
    """Nothing is begun nor completed after the keeper was closed."""
    keeper = server.keeper()
    authorization = keeper.authorize("crm")
    keeper.close()
    with pytest.raises(KeeperClosedError):
        authorization.complete(server.sign_in(authorization.url))
    with pytest.raises(KeeperClosedError):
        keeper.authorize("crm")
    assert server.sent == []


def test_a_new_sign_in_replaces_the_one_before(server):
    """What was refused or cached before is forgotten, also what other names had."""
    with server.keeper() as keeper:
        first = keeper.authorize("crm", resource=[A])
        first.complete(server.sign_in(first.url))
        assert keeper.source("crm", resource=A)() == "token-2"
        server.answers = [(400, {"error": "invalid_grant"})]
        with pytest.raises(AuthorizationRequiredError):
            keeper.get_token("crm", force_refresh=True)
        second = keeper.authorize("crm", resource=[A])
        second.complete(server.sign_in(second.url))
        assert keeper.get_token("crm") == "token-4"
        assert keeper.source("crm", resource=A)() == "token-5"


def test_resources_that_were_authorized(server, clock):
    """Each has a token by the one refresh token; another is refused before any request."""
    with server.keeper(server.provider(clock=clock), clock=clock) as keeper:
        authorization = keeper.authorize("crm", resource=[A, B])
        assert server.asked(authorization.url)["resource"] == [A, B]
        authorization.complete(server.sign_in(authorization.url))
        assert keeper.source("crm", resource=A)() == "token-2"
        clock.step(3600)
        assert keeper.source("crm", resource=B)() == "token-3"
        before = len(server.sent)
        with pytest.raises(InvalidConfigurationError, match=r"c\.test was not authorized"):
            keeper.source("crm", resource=C)()
        assert len(server.sent) == before
        assert keeper.get_token("crm") == "token-4"
    assert [each.get("resource") for each in server.sent] == [None, A, B, None]


def test_resources_of_the_grant(server):
    """They are what a sign-in asks for by default, and nothing beyond them can be."""
    with server.keeper(server.provider(resources=[B, A])) as keeper:
        assert server.asked(keeper.authorize("crm").url)["resource"] == [A, B]
        with pytest.raises(InvalidConfigurationError, match=r"c\.test was not authorized"):
            keeper.authorize("crm", resource=C)


def test_a_token_for_each_account(server):
    """Accounts have refresh tokens of their own, and none is another's."""
    with server.keeper() as keeper:
        for account in ("acme", "globex"):
            authorization = keeper.authorize("crm", account=account)
            authorization.complete(server.sign_in(authorization.url))
        acme, globex = (keeper.source("crm", account=each) for each in ("acme", "globex"))
        assert (acme(), globex()) == ("token-1", "token-2")
        assert acme.get_token(force_refresh=True) == "token-3"
        with pytest.raises(AuthorizationRequiredError):
            keeper.source("crm", account="initech")()
        with pytest.raises(AuthorizationRequiredError):
            keeper.get_token("crm")
    assert server.sent[2]["refresh_token"] == "refresh-1"


def test_the_name_of_an_account_s_token(server):
    """It begins the account's sign-in, and no other one."""
    with server.keeper() as keeper:
        acme = keeper.source("crm", account="acme")
        authorization = keeper.authorize(acme.name, resource=A)
        assert authorization.token_name == acme.name
        assert server.asked(authorization.url)["resource"] == [A]
        authorization.complete(server.sign_in(authorization.url))
        assert acme() == "token-1"
        with pytest.raises(AuthorizationRequiredError):
            keeper.get_token("crm")


@pytest.mark.parametrize(
    ("of", "options"),
    [
        ({"resource": A}, {}),
        ({"account": "acme", "resource": A}, {}),
        ({"account": "acme"}, {"account": "globex"}),
    ],
    ids=["a resource", "an account's resource", "two accounts"],
)
def test_the_name_of_another_token(server, of, options):
    """A sign-in is not for one resource of a grant, nor for two accounts, as the error says."""
    with server.keeper() as keeper:
        name = keeper.source("crm", **of).name
        with pytest.raises(InvalidConfigurationError, match="not for one token") as info:
            keeper.authorize(name, **options)
        assert "acme" not in str(info.value)


def test_completed_by_the_name_of_a_token(server):
    """The sign-in that the answer belongs to counts, and its source is returned."""
    with server.keeper() as keeper:
        authorization = keeper.authorize("crm", account="acme")
        name, answer = authorization.token_name, server.sign_in(authorization.url)
        source = keeper.complete_authorization(name, answer, state=authorization.state)
        assert (source.name, source()) == (name, "token-1")


def test_no_refresh_token(server, clock, caplog):
    """The token is served until it expires, and then a person is needed, as a log line says."""
    server.grants_refresh_tokens = False
    with server.keeper(server.provider(clock=clock), clock=clock) as keeper:
        authorization = keeper.authorize("crm")
        authorization.complete(server.sign_in(authorization.url))
        assert "brought no refresh token" in caplog.text
        clock.step(3400)
        assert keeper.get_token("crm") == "token-1"
        clock.step(200)
        with pytest.raises(AuthorizationRequiredError):
            keeper.get_token("crm")
    assert len(server.sent) == 1


def test_a_token_that_expires_on_its_way(server, clock):
    """Its refresh token is stored all the same, and goes on."""
    with server.keeper(server.provider(clock=clock), clock=clock) as keeper:
        authorization = keeper.authorize("crm")
        answer = server.sign_in(authorization.url)
        server.lifetime = 2
        server.during = lambda: clock.step(3)
        authorization.complete(answer)
        server.lifetime = 3600
        assert keeper.get_token("crm") == "token-2"
    assert server.sent[1]["refresh_token"] == "refresh-1"


def test_a_token_that_expires_on_its_way_without_a_refresh_token(server, clock):
    """There is nothing to go on with, which the error says."""
    server.grants_refresh_tokens = False
    with server.keeper(server.provider(clock=clock), clock=clock) as keeper:
        authorization = keeper.authorize("crm")
        answer = server.sign_in(authorization.url)
        server.lifetime = 2
        server.during = lambda: clock.step(3)
        with pytest.raises(TokenAcquisitionError, match="expired before it arrived"):
            authorization.complete(answer)


def test_events(server):
    """They name the grant and what went wrong, and no secret."""
    events = EventRecorder()
    with server.keeper(hooks=[events]) as keeper:
        first = keeper.authorize("crm", account="acme")
        first.complete(server.sign_in(first.url))
        second = keeper.authorize("crm")
        with pytest.raises(TokenAcquisitionError):
            second.complete(server.decline(second.url))
    kinds = (SignInStarted, SignInCompleted, SignInFailed)
    found = [each for each in events.events if isinstance(each, kinds)]
    assert [type(each) for each in found] == [
        SignInStarted,
        SignInCompleted,
        SignInStarted,
        SignInFailed,
    ]
    assert {each.grant_type for each in found} == {"authorization_code"}
    assert found[0].token_name == found[1].token_name == first.token_name
    assert found[3].error == "access_denied"
    assert "acme" not in repr(found)


def test_a_forked_child(server):
    """Without a store it must not use its parent's refresh token, and can have one of its own."""
    with server.keeper() as keeper:
        first = keeper.authorize("crm")
        first.complete(server.sign_in(first.url))
        keeper._coordinator.memberships.after_fork_in_child()
        with pytest.raises(TokenAcquisitionError, match="the process that forked this one"):
            keeper.get_token("crm", force_refresh=True)
        second = keeper.authorize("crm")
        second.complete(server.sign_in(second.url))
        assert keeper.get_token("crm", force_refresh=True) == "token-3"
    assert server.sent[-1]["refresh_token"] == "refresh-2"


def test_custody(server, clock):
    """A store of the provider's own keeps what a sign-in brought, also for the next process."""
    custody = MemoryTokenStore(clock)
    with server.keeper(server.provider(custody=custody, clock=clock), clock=clock) as keeper:
        authorization = keeper.authorize("crm")
        authorization.complete(server.sign_in(authorization.url))
    with server.keeper(server.provider(custody=custody, clock=clock), clock=clock) as keeper:
        assert keeper.get_token("crm") == "token-1"
        clock.step(3600)
        assert keeper.get_token("crm") == "token-2"


class Spec:
    """What a configuration says of a provider."""

    provider_name = "crm"

    def __init__(self, provider):
        self.make_provider = lambda: provider


def test_a_provider_of_a_configuration(server, clock):
    """A sign-in goes to the provider that the configuration describes, as do refresh tokens."""
    own = server.provider(clock=clock)
    configured = ReloadableProvider(Spec(own), lambda _: None)
    with server.keeper(configured, clock=clock) as keeper:
        authorization = keeper.authorize("crm", account="acme")
        authorization.complete(server.sign_in(authorization.url))
        clock.step(3600)
        assert keeper.source("crm", account="acme")() == "token-2"
        assert configured.sign_in_wait_seconds(TokenAcquisitionError("no"), 5.0) is None
    assert server.grant_types == ["authorization_code", "refresh_token"]


@pytest.mark.parametrize("fails", ["refused", "lost", "the push is refused"])
def test_errors_keep_secrets(fails):
    """No frame that an error tracker records has the code, the verifier or the state."""
    with SignInServer(par=True) as server, server.keeper() as keeper:
        refused = (400, {"error": "invalid_grant", "error_description": "no"})
        if fails == "the push is refused":
            server.answers = [refused]
            with pytest.raises(TokenAcquisitionError) as info:
                keeper.authorize("crm", redirect_uri=REDIRECT_URI)
            secrets = [server.sent[0]["state"]]
        else:
            authorization = keeper.authorize("crm", redirect_uri=REDIRECT_URI)
            answer = server.sign_in(authorization.url)
            server.answers = [refused if fails == "refused" else requests.ConnectionError("lost")]
            with pytest.raises(TokenAcquisitionError) as info:
                authorization.complete(answer)
            secrets = [server.sent[1][each] for each in ("code", "code_verifier")]
            secrets.append(authorization.state)
    recorded = list(recorded_variables(info.value))
    for secret in secrets:
        assert not [each for each in recorded if secret in each]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (SignInStarted("crm", NOW, grant_type="ciba"), "provider 'crm': sign-in begun"),
        (SignInCompleted("crm", NOW, grant_type="ciba"), "provider 'crm': sign-in completed"),
        (
            SignInFailed("crm", NOW, grant_type="ciba", error=None, reason="provider 'crm': no"),
            "sign-in failed: provider 'crm': no",
        ),
        (
            SignInFailed("crm", NOW, grant_type="ciba", error=None, reason="no"),
            "provider 'crm': sign-in failed: no",
        ),
    ],
    ids=["begun", "completed", "failed", "failed elsewhere"],
)
def test_log_lines(event, line, caplog):
    """Each has a line that names the provider once, and the grant as an attribute."""
    caplog.set_level("INFO")
    write_log_line(event)
    (record,) = caplog.records
    assert record.getMessage() == line
    assert record.grant_type == "ciba"


def test_a_provider_without_a_sign_in():
    """Its tokens need none, and the error says what to set."""
    with SignInServer() as server:
        from tokenkeeper import GenericOAuth2Provider, OAuth2Config

        plain = GenericOAuth2Provider(OAuth2Config("api", "me", "s", issuer=server.issuer))
        with server.keeper(plain) as keeper:
            with pytest.raises(InvalidConfigurationError, match="need no sign-in") as info:
                keeper.authorize("api")
            assert info.value.field == "grant"
