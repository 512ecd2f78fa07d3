"""GoogleProvider and GoogleImpersonation: their requests, and files that are replaced."""

import json
import math
from datetime import UTC, datetime

import pytest
from kit.servers.base import Answer
from kit.servers.google import AUDIENCE, EMAIL, Google, new_key

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError, TokenKeeper
from tokenkeeper.providers.google import GoogleProvider
from tokenkeeper.providers.google_client import CLOUD_PLATFORM
from tokenkeeper.providers.google_impersonation import GoogleImpersonation
from tokenkeeper.testing import SteppedClock


@pytest.fixture(scope="module")
def keys():
    """Return two private keys with their public halves: making one takes a moment."""
    return new_key(), new_key()


@pytest.fixture(autouse=True)
def no_google_variables(monkeypatch):
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def google(keys):
    """Start the stand-in for Google, which knows the first key."""
    with Google() as google:
        google.keys["first"] = keys[0][1]
        yield google


@pytest.fixture
def key_file(google, keys, tmp_path):
    return google.key_file(tmp_path / "key.json", "first", keys[0][0])


def granted(provider):
    return provider.acquire_token().access_token


class TestServiceAccount:
    """The key file of a service account."""

    def test_request(self, google, key_file):
        """One request has an assertion, with the scope in it and Google's own audience."""
        provider = GoogleProvider("google", key_file, scope=["a", "b"])
        token = provider.acquire_token()
        assert (token.access_token, token.scope) == ("itself:a+b", "a b")
        (request,) = google.received
        (kind, assertion) = request.form[1], request.form[0]
        assert kind == ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
        assert (assertion[0], len(request.form)) == ("assertion", 2)
        assert "authorization" not in request.headers

    def test_defaults(self, key_file, monkeypatch):
        """The file may be named by Google's variable; the scope is that of the platform."""
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
        assert granted(GoogleProvider("google")) == f"itself:{CLOUD_PLATFORM}"

    def test_delegation(self, key_file):
        """It acts for a user, whom the registration or a source names."""
        with TokenKeeper() as keeper:
            provider = GoogleProvider("google", key_file, scope="a", subject="ann@acme.example")
            keeper.add_provider(provider)
            assert keeper.get_token("google") == "ann@acme.example:a"
            source = keeper.source("google", account="bob@acme.example", scope="b")
            assert source() == "bob@acme.example:b"

    def test_an_assertion_that_is_echoed(self, google, key_file):
        """The assertion is hidden wherever the server echoes it."""
        google.answer = lambda request: Answer(400, {"error": dict(request.form)["assertion"]})
        with pytest.raises(TokenAcquisitionError) as caught:
            granted(GoogleProvider("google", key_file))
        (request,) = google.received
        assert dict(request.form)["assertion"].split(".")[1] not in str(caught.value)

    def test_a_replaced_key(self, google, keys, key_file):
        """A new key in the file signs the next assertion."""
        provider = GoogleProvider("google", key_file)
        granted(provider)
        google.keys = {"second": keys[1][1]}
        with pytest.raises(TokenAcquisitionError, match="Invalid JWT Signature") as caught:
            granted(provider)
        assert not caught.value.transient
        google.key_file(key_file, "second", keys[1][0])
        assert granted(provider)

    @pytest.mark.parametrize("content", ["", "{", '{"type": "service_account"}'])
    def test_a_file_that_is_being_replaced(self, google, keys, key_file, content):
        """While it can't be read, requests fail and may be repeated; then they succeed."""
        provider = GoogleProvider("google", key_file)
        key_file.write_text(content)
        with pytest.raises(TokenAcquisitionError) as caught:
            granted(provider)
        assert caught.value.transient
        google.key_file(key_file, "first", keys[0][0])
        assert granted(provider)
        key_file.unlink()
        with pytest.raises(TokenAcquisitionError, match=r"'google': credentials_file: .* No such"):
            granted(provider)

    def test_what_it_shows(self, key_file):
        """It describes the account and the endpoint, and no key."""
        provider = GoogleProvider("google", key_file, scope="a")
        shown = provider.describe()
        assert shown["client_id"] == EMAIL
        assert shown["scope"] == "a"
        assert shown["token_url"].endswith("/token")
        assert "PRIVATE" not in repr(shown) + repr(vars(provider))
        assert AUDIENCE.startswith("https://oauth2.googleapis.com")


class TestExternalAccount:
    """Workload identity federation."""

    @pytest.mark.parametrize(
        "layout", [{}, {"format": {"type": "text"}}, {"format": {"type": None}}], ids=str
    )
    def test_a_file(self, google, tmp_path, layout):
        """The subject token in a file is read for each request, and exchanged."""
        subject = tmp_path / "subject"
        file = google.account_file(tmp_path / "account.json", {"file": str(subject), **layout})
        provider = GoogleProvider("google", file, scope="a")
        google.subjects |= {"renewed"}
        for token in ("subject-token", "renewed"):
            subject.write_text(token + "\n")
            assert granted(provider) == "federated:a"
        form = dict(google.received[-1].form)
        assert form["subject_token"] == "renewed"
        assert form["subject_token_type"] == "urn:ietf:params:oauth:token-type:jwt"
        assert form["requested_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
        assert "client_id" not in form

    def test_a_member_of_json(self, google, tmp_path):
        """A file of JSON has the token under the name that the configuration says."""
        layout = {"type": "json", "subject_token_field_name": "token"}
        subject = tmp_path / "subject"
        source = {"file": str(subject), "format": layout}
        provider = GoogleProvider("google", google.account_file(tmp_path / "a.json", source))
        subject.write_text(json.dumps({"token": "subject-token"}))
        assert granted(provider) == f"federated:{CLOUD_PLATFORM}"
        for wrong in ("[]", "{", '{"token": 3}', '{"token": ""}'):
            subject.write_text(wrong)
            with pytest.raises(TokenAcquisitionError, match="its member 'token'") as caught:
                granted(provider)
            assert caught.value.transient

    def source(self, google, **changes):
        layout = {"type": "json", "subject_token_field_name": "access_token"}
        headers = {"Metadata": "True"}
        return {"url": f"{google.origin}/subject", "headers": headers, "format": layout} | changes

    def test_a_url(self, google, tmp_path):
        """A subject token of another metadata server is requested with the configured headers."""
        file = google.account_file(tmp_path / "a.json", self.source(google))
        assert granted(GoogleProvider("google", file, scope="a")) == "federated:a"

    def test_a_url_that_refuses(self, google, tmp_path):
        """An error of the subject's server is reported, and Google is not asked."""
        file = google.account_file(tmp_path / "a.json", self.source(google, headers={}))
        with pytest.raises(
            TokenAcquisitionError, match=r"request for the subject token failed \(HTTP 400\): inv"
        ):
            granted(GoogleProvider("google", file))
        assert len(google.received) == 1

    def test_an_empty_answer(self, google, tmp_path):
        """A text without a token is an error."""
        source = {"url": f"{google.origin}/empty"}
        google.answer = lambda _: Answer(body=b" ")
        file = google.account_file(tmp_path / "a.json", source)
        with pytest.raises(TokenAcquisitionError, match="source is empty"):
            granted(GoogleProvider("google", file))

    def test_impersonation(self, google, tmp_path):
        """With an impersonation URL, the exchanged token is used for one of the account."""
        file = google.account_file(
            tmp_path / "a.json",
            self.source(google),
            service_account_impersonation_url=google.impersonation_url,
            service_account_impersonation={"token_lifetime_seconds": 1800},
        )
        assert granted(GoogleProvider("google", file, scope="a b")) == "robot:a+b:1800s"
        assert dict(google.received[1].form)["scope"] == CLOUD_PLATFORM

    @pytest.mark.parametrize("url", ["", None, 0, False], ids=repr)
    def test_no_impersonation(self, google, tmp_path, url):
        """An impersonation URL that is empty, as templates leave it, means no impersonation."""
        subject = tmp_path / "subject"
        subject.write_text("subject-token")
        changes = {"service_account_impersonation_url": url}
        file = google.account_file(tmp_path / "a.json", {"file": str(subject)}, **changes)
        provider = GoogleProvider("google", file, scope="a", total_timeout=40)
        assert granted(provider) == "federated:a"
        assert provider.longest_request_seconds == 40

    def test_identity(self, google, tmp_path):
        """Subjects of one pool share no tokens: they are not the same identity."""
        sources = [{"file": "/one"}, {"file": "/two"}, {"url": google.origin}]
        files = [
            google.account_file(tmp_path / f"{number}.json", source)
            for number, source in enumerate(sources)
        ]
        found = [json.dumps(GoogleProvider("google", file).identity()) for file in files]
        assert len(set(found)) == 3
        assert found[0] == json.dumps(GoogleProvider("google", files[0]).identity())

    def test_acting_for_a_user(self, google, tmp_path):
        """Only the key of a service account can act for a user."""
        file = google.account_file(tmp_path / "a.json", self.source(google))
        with pytest.raises(TokenAcquisitionError, match="domain-wide delegation"):
            granted(GoogleProvider("google", file, subject="ann@acme.example"))
        assert not google.received

    def test_what_it_shows(self, google, tmp_path):
        """It describes the pool and the endpoint, and no header."""
        source = self.source(google, headers={"X-Key": "a-secret-header"})
        provider = GoogleProvider("google", google.account_file(tmp_path / "a.json", source))
        assert provider.describe()["token_url"].endswith("/v1/token")
        parsed = provider._parsed[1]
        assert "a-secret-header" not in repr(provider.describe()) + repr(parsed)
        assert "a-secret-header" not in repr(parsed.source)


class TestMetadataServer:
    """A machine at Google."""

    @pytest.fixture(autouse=True)
    def host(self, google, monkeypatch):
        monkeypatch.setenv("GCE_METADATA_HOST", google.origin.removeprefix("http://"))

    def test_request(self, google):
        """The header is sent, and no scope, so that the machine's apply."""
        assert granted(GoogleProvider("google")) == "default:machine"
        (request,) = google.received
        assert request.path == "/computeMetadata/v1/instance/service-accounts/default/token"

    def test_scopes_and_account(self):
        """Scopes are joined as the server wants them, and another account can be named."""
        provider = GoogleProvider("google", scope=["a", "b"], service_account=EMAIL)
        assert granted(provider) == f"{EMAIL}:a,b"

    def test_another_server(self, google):
        """What does not say that it is Google's is not believed."""
        google.flavor = None
        with pytest.raises(TokenAcquisitionError, match="not Google's metadata server"):
            granted(GoogleProvider("google"))

    def test_acting_for_a_user(self, google):
        """A metadata server grants no token of a user."""
        with pytest.raises(TokenAcquisitionError, match="domain-wide delegation"):
            granted(GoogleProvider("google", subject="ann@acme.example"))

    def test_the_usual_host(self, monkeypatch):
        """Without the variable, the host is the one that Google documents."""
        monkeypatch.delenv("GCE_METADATA_HOST")
        shown = GoogleProvider("google").describe()["token_url"]
        assert shown.startswith("http://metadata.google.internal/computeMetadata/v1/")


class TestImpersonation:
    """A chain: the token of another provider, for that of a service account."""

    def make(self, google, source, **options):
        options = {"endpoint": google.origin, "scope": "a", **options}
        return GoogleImpersonation("robot", source, EMAIL, **options)

    def test_a_chain(self, google, tmp_path):
        """A source of the same keeper is asked for the identity's token."""
        subject = tmp_path / "subject"
        subject.write_text("subject-token")
        file = google.account_file(tmp_path / "a.json", {"file": str(subject)})
        with TokenKeeper(max_workers=1) as keeper:
            keeper.add_provider(GoogleProvider("google", file))
            source = keeper.source("google")
            keeper.add_provider(self.make(google, source, delegates=["x@y"]))
            assert keeper.get_token("robot") == "robot:a:3600s"
            assert keeper.source("robot", scope="b")() == "robot:b:3600s"
        body = json.loads(google.received[1].body)
        assert body["delegates"] == ["projects/-/serviceAccounts/x@y"]
        assert len(google.received) == 3  # the identity's token is kept

    def test_a_refusal(self, google):
        """Google's error is shown, and the identity's token is not."""
        with pytest.raises(TokenAcquisitionError, match="Permission denied") as caught:
            granted(self.make(google, lambda: "the-identity's-token"))
        assert not caught.value.transient
        assert "identity" not in str(caught.value)

    def test_a_token_of_the_identity_that_is_missing(self, google, tmp_path):
        """The error names the provider; one of another provider stays as it is."""
        with pytest.raises(
            TokenAcquisitionError, match="'robot': the identity's token: "
        ) as caught:
            granted(self.make(google, tmp_path / "none"))
        assert caught.value.provider_name == "robot"
        other = TokenAcquisitionError("no", provider_name="other")

        def fail():
            raise other

        with pytest.raises(TokenAcquisitionError) as caught:
            granted(self.make(google, fail))
        assert caught.value is other
        assert not google.received

    def test_an_answer_without_a_token(self, google):
        """An answer of another kind is an error."""
        google.answer = lambda _: Answer(body={"accessToken": "x"})
        with pytest.raises(TokenAcquisitionError, match="no access_token"):
            granted(self.make(google, lambda: "federated:x"))

    @pytest.mark.parametrize("slow", [0, 7200], ids=["right", "slow"])
    def test_a_clock_that_is_slow(self, google, slow):
        """A token lives no longer than was asked for, whatever our clock makes of its expiry."""
        clock = SteppedClock()
        expiry = datetime.fromtimestamp(clock.time() + 1800 + slow, UTC).isoformat()
        body = {"accessToken": "robot", "expireTime": expiry}
        google.answer = lambda _: Answer(body=body, headers={"Date": None})
        provider = self.make(
            google, lambda: "federated:x", clock=clock, token_lifetime_seconds=1800
        )
        token = provider.acquire_token()
        assert token.expires_at.timestamp() == pytest.approx(clock.time() + 1800, abs=1)

    def test_identity(self, google, tmp_path):
        """Providers that ask for other identities' tokens differ."""
        one, two = (self.make(google, tmp_path / name).identity() for name in "ab")
        assert one != two
        assert one["token_url"] == google.impersonation_url

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"source": "text"}, "source"),
            ({"service_account": ""}, "service_account"),
            ({"service_account": "a/b"}, "service_account"),
            ({"service_account": "a?b=c"}, "service_account"),
            ({"service_account": "a b"}, "service_account"),
            ({"token_lifetime_seconds": math.inf}, "token_lifetime_seconds"),
            ({"endpoint": "http://example.com"}, "endpoint"),
            ({"delegates": 3}, "delegates"),
            ({"scope": 3}, "scope"),
        ],
    )
    def test_options_that_cannot_work(self, options, field):
        """Wrong options are refused by name."""
        fields = {"source": lambda: "x", "service_account": EMAIL, **options}
        with pytest.raises(InvalidConfigurationError) as caught:
            GoogleImpersonation("robot", **fields)
        assert (caught.value.field, caught.value.provider_name) == (field, "robot")


class TestHowLongARequestMayTake:
    """How old a claim in a store may be: all requests for one token count."""

    @pytest.mark.parametrize(
        ("source", "is_impersonated", "requests"),
        [
            ({"file": "x"}, False, 1),
            ({"url": "https://id.example.com"}, False, 2),
            ({"url": "https://id.example.com"}, True, 3),
        ],
        ids=["exchange", "subject, exchange", "subject, exchange, account"],
    )
    def test_external_account(self, google, tmp_path, source, is_impersonated, requests):
        """A subject token's server is asked before the exchange, and the account's after it."""
        url = google.impersonation_url if is_impersonated else None
        changes = {"service_account_impersonation_url": url}
        file = google.account_file(tmp_path / "a.json", source, **changes)
        provider = GoogleProvider("google", file, total_timeout=40)
        assert provider.longest_request_seconds == requests * 40

    def test_a_replaced_file(self, google, key_file, tmp_path):
        """A file of another kind, with more requests, counts once it is used."""
        provider = GoogleProvider("google", key_file)
        subject = tmp_path / "subject"
        subject.write_text("subject-token")
        changes = {"service_account_impersonation_url": google.impersonation_url}
        google.account_file(key_file, {"file": str(subject)}, **changes)
        assert granted(provider).startswith("robot:")
        assert provider.longest_request_seconds == 60

    def test_one_request(self, key_file):
        """A key, the metadata server and an impersonation take one request."""
        makers = [
            lambda **options: GoogleProvider("google", key_file, **options),
            lambda **options: GoogleProvider("google", **options),
            lambda **options: GoogleImpersonation("google", lambda: "x", EMAIL, **options),
        ]
        for make in makers:
            assert make().longest_request_seconds == 30
            assert make(total_timeout=40).longest_request_seconds == 40


KEY = {"type": "service_account", "client_email": EMAIL, "private_key": "PEM-SECRET"}
URL = "https://sts.googleapis.com/v1/token"
ACCOUNT = {
    "type": "external_account",
    "audience": "x",
    "subject_token_type": "jwt",
    "token_url": URL,
    "credential_source": {"file": "x"},
}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        {"type": "authorized_user"},
        {"type": ["external_account"]},
        {"type": "service_account", "client_email": EMAIL},
        {"type": "service_account", "client_email": EMAIL, "private_key": "PEM-SECRET"},
        KEY | {"private_key_id": 3},
        KEY | {"universe_domain": "apis.example.com"},
        ACCOUNT | {"credential_source": None},
        ACCOUNT | {"credential_source": {"environment_id": "aws1", "url": URL}},
        ACCOUNT | {"credential_source": {"executable": {"command": "x"}}},
        ACCOUNT | {"credential_source": {"file": "x", "format": {"type": "json"}}},
        ACCOUNT | {"client_id": "x"},
        ACCOUNT | {"token_url": "http://sts.example.com"},
        ACCOUNT | {"audience": ""},
        ACCOUNT | {"service_account_impersonation_url": "ftp://x"},
        ACCOUNT | {"service_account_impersonation": "x"},
        ACCOUNT | {"service_account_impersonation": {"token_lifetime_seconds": "an hour"}},
        ACCOUNT | {"service_account_impersonation": {"token_lifetime_seconds": -1}},
        ACCOUNT | {"credential_source": {"file": "x", "format": "json"}},
        ACCOUNT | {"credential_source": {"url": URL, "headers": ["Metadata: True"]}},
        ACCOUNT | {"credential_source": {"url": URL, "headers": {"X": "PEM-SECRET\n"}}},
        ACCOUNT | {"credential_source": {"url": URL, "headers": {"X": "PEM-SECRET \u20ac"}}},
        ACCOUNT | {"credential_source": {"url": URL, "headers": {"a header": "x"}}},
        ACCOUNT | {"credential_source": {"url": "ftp://example.com"}},
        ACCOUNT | {"credential_source": {"url": "http://[::1"}},
        ACCOUNT | {"credential_source": {"url": "https://me:PEM-SECRET@example.com"}},
        ACCOUNT | {"credential_source": {"file": "x", "format": {"type": "xml"}}},
    ],
    ids=str,
)
def test_files_that_cannot_be_used(tmp_path, content):
    """A wrong file is refused when the provider is made, and its text is not shown."""
    file = tmp_path / "file.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InvalidConfigurationError) as caught:
        GoogleProvider("google", file)
    assert (caught.value.field, caught.value.provider_name) == ("credentials_file", "google")
    assert str(caught.value).startswith("provider 'google': credentials_file")
    assert "PEM-SECRET" not in str(caught.value)
    with pytest.raises(InvalidConfigurationError, match="No such file"):
        GoogleProvider("google", tmp_path / "none")


@pytest.mark.parametrize("file", [3, b"key.json", "a\nb"], ids=repr)
def test_what_is_not_a_path(file):
    """What can't be the path of a file is refused by name."""
    with pytest.raises(InvalidConfigurationError) as caught:
        GoogleProvider("google", file)
    assert (caught.value.field, caught.value.provider_name) == ("credentials_file", "google")


def test_in_a_configuration(google, key_file):
    """It can be configured by its class, with its options as keys."""
    block = {
        "provider_name": "google",
        "provider_type": "tokenkeeper.providers.google:GoogleProvider",
        "credentials_file": str(key_file),
        "scope": "a",
        "subject": "ann@acme.example",
        "total_timeout": 20,
        "buffer_seconds": 60,
    }
    with TokenKeeper.from_config({"oauth2": block}) as keeper:
        assert keeper.get_token("google") == "ann@acme.example:a"
    with pytest.raises(InvalidConfigurationError, match="credential_file"):
        TokenKeeper.from_config({"oauth2": block | {"credential_file": "x"}})
