"""A custom class as ``provider_type``: by its path, or by the name of an entry point."""

import importlib.metadata
import json
import os
import sys
import threading

import pytest
from click.testing import CliRunner
from kit import internals

from tokenkeeper import (
    ConfigurationWarning,
    InvalidConfigurationError,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.cli.group import cli

MODULE = '''
import threading
from datetime import UTC, datetime, timedelta

from tokenkeeper import (
    AzureADProvider, BaseOAuth2Provider, GenericOAuth2Provider, OAuth2Token, TokenAcquisitionError,
)

made = []
events = []


def token(text):
    return OAuth2Token(text, "Bearer", datetime.now(UTC) + timedelta(hours=1), "read")


class Vault(BaseOAuth2Provider):
    """Takes options of its own beside those of its base."""

    def __init__(self, provider_name, *, path, api_key=None, retries=3, tags=(), **options):
        super().__init__(provider_name, **options)
        self.path, self.api_key, self.retries, self.tags = path, api_key, retries, tags
        made.append(self)

    def acquire_token(self):
        return token(f"{self.path}-{self.api_key}")

    def describe(self):
        return {"path": self.path, "scope": "read", "\\x1b[31m": "\\x1b[31mred"}


class Greedy(BaseOAuth2Provider):
    """Takes whatever it is given, and keeps it."""

    def __init__(self, provider_name, **options):
        super().__init__(provider_name)
        self.options = options

    def acquire_token(self):
        return token("-".join(map(str, self.options.values())))


class Narrow(BaseOAuth2Provider):
    """Takes nothing but its name, and a secret."""

    def __init__(self, provider_name, client_secret):
        super().__init__(provider_name)
        self.client_secret = client_secret

    def acquire_token(self):
        return token(self.client_secret)


class Async(BaseOAuth2Provider):
    """The same in ``async def``, and with a right secret."""

    def __init__(self, provider_name, client_secret):
        super().__init__(provider_name)
        self.client_secret = client_secret

    async def acquire_token(self):
        if self.client_secret != "right":
            later = {"retry_after": 30.0, "transient": True} if self.client_secret == "late" else {}
            raise TokenAcquisitionError("no", error="invalid_client", status_code=401, **later)
        return token(self.client_secret)

    async def refresh_token(self, token):
        return await self.acquire_token()

    async def close(self):
        events.append(f"closed {self.client_secret} on {threading.current_thread().name}")

    def after_fork_in_child(self):
        events.append("forked")


class Traced(GenericOAuth2Provider):
    """One of ours with an option more."""

    def __init__(self, config, *, trace=False, **options):
        super().__init__(config, **options)
        self.trace = trace


class Older(GenericOAuth2Provider):
    """One of ours whose options were there before keys of the same names."""

    def __init__(self, config, audience, *, password=None, certificate_file=None, **options):
        super().__init__(config, **options)
        self.own = audience, password, certificate_file


class Cloud(AzureADProvider):
    """One of ours, as it is."""


class Failing(BaseOAuth2Provider):
    def __init__(self, provider_name):
        raise ValueError("hunter2")

    def acquire_token(self): ...


class Nameless(BaseOAuth2Provider):
    def __init__(self, provider_name):
        super().__init__("another")

    def acquire_token(self): ...


class Abstract(BaseOAuth2Provider):
    pass


class NoProvider:
    def __init__(self, provider_name): ...


class Cached(BaseOAuth2Provider):
    """Has a cache of its own, and a way past it."""

    def acquire_token(self):
        return token("cached")

    def replace_refused_token(self, refused):
        return token(f"in place of {refused.access_token}")


a_function = lambda **options: None
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Put a module with classes on the path, under a name that no other test uses."""
    name = f"own_classes_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def block(own, write):
    """Write a block for one of the classes."""

    def block(kind, **options):
        content = {"provider_name": "mine", "provider_type": f"{own}:{kind}", **options}
        return write(f"oauth2: {json.dumps(content)}")

    return block


def provider(keeper, name="mine"):
    return internals.configured_provider(keeper, name)


def problem(path):
    with pytest.raises(InvalidConfigurationError) as caught:
        TokenKeeper.from_config(path)
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


def test_its_constructor_takes_the_keys(own, block):
    """Unknown keys are passed as arguments; known keys keep their meaning."""
    path = block(
        "Vault",
        path="secret/api",
        api_key="${API_SECRET}",
        tags=["a", "b"],
        buffer_seconds=60,
        retry={"attempts": 2},
    )
    with TokenKeeper.from_config(path) as keeper:
        assert keeper.get_token("mine") == "secret/api-from-the-environment"
        made = provider(keeper)
        assert (made.retries, made.tags) == (3, ["a", "b"])
        assert (made.buffer_seconds, made.retry.attempts) == (60, 2)


def test_a_constructor_that_takes_little(block, write):
    """Buffer, retry policy and secret file work for a class that does not accept them."""
    write("s3cret\n", name="secret")
    path = block("Narrow", client_secret_file="secret", buffer_seconds=60)
    with TokenKeeper.from_config(path) as keeper:
        assert keeper.get_token("mine") == "s3cret"
        assert provider(keeper).buffer_seconds == 60


def test_a_constructor_that_takes_anything(block):
    """A class with ``**options`` receives every unknown key."""
    path = block("Greedy", buffer_seconds=60, verify=False, region="eu", number=3)
    with TokenKeeper.from_config(path) as keeper:
        assert sorted(keeper.get_token("mine").split("-")) == ["3", "False", "eu"]
        assert provider(keeper).buffer_seconds == 60


@pytest.mark.parametrize("value", ["%s:Narrow", "%s:Narrow [extra]", " %s : Narrow"])
def test_an_entry_point(own, write, monkeypatch, value):
    """A package can offer its class under a short name."""
    point = importlib.metadata.EntryPoint("narrow", value % own, "tokenkeeper.providers")
    found = importlib.metadata.EntryPoints([point])
    monkeypatch.setattr(
        "tokenkeeper.providers.kinds.entry_points", lambda **params: found.select(**params)
    )
    path = write(
        "oauth2: {provider_name: mine, provider_type: narrow, client_secret: '${API_SECRET}'}"
    )
    with TokenKeeper.from_config(path) as keeper:
        assert keeper.get_token("mine") == "from-the-environment"
    path = write("oauth2: {provider_name: mine, provider_type: narow}")
    assert "'narrow', or the path of a class" in problem(path)
    assert "Did you mean 'narrow'?" in problem(path)


def test_a_class_derived_from_the_generic_one(block):
    """A class derived from the generic one accepts its keys, and its own options."""
    path = block(
        "Traced",
        client_id="me",
        token_endpoint_auth_method="none",
        token_url="https://id.example.com/token",
        scope=["a", "b"],
        headers={"X-A": "b"},
        trace=True,
    )
    with TokenKeeper.from_config(path) as keeper:
        made = provider(keeper)
        assert (made.trace, made._config.scope, made._client.style.headers) == (
            True,
            "a b",
            {"X-A": "b"},
        )


def test_arguments_with_the_names_of_keys(block):
    """An argument of a derived class is its own, although a later key has the same name."""
    own = {"audience": "a", "password": "${API_SECRET}", "certificate_file": "/not/a/file"}
    with TokenKeeper.from_config(block("Older", **PUBLIC, **own)) as keeper:
        assert provider(keeper).own == ("a", "from-the-environment", "/not/a/file")
        assert provider(keeper).identity()["parameters"] == {}
    with pytest.warns(ConfigurationWarning, match="password is written in clear"):
        TokenKeeper.from_config(block("Older", **PUBLIC, audience="a", password="hunter2")).close()
    assert "audience is missing" in problem(block("Older", **PUBLIC))


def test_keys_of_a_derived_class(block):
    """A derived class accepts grants and methods, and what does not go together is a mistake."""
    exchange = {"grant": "token_exchange", "subject_token": {"env": "A"}, "audience": "b"}
    with TokenKeeper.from_config(block("Traced", **PUBLIC, **exchange)) as keeper:
        assert provider(keeper).identity()["parameters"] == {"audience": "b"}
        assert provider(keeper).describe()["grant_type"].endswith(":token-exchange")
    path = block("Traced", **PUBLIC, grant="jwt_bearer")
    assert "assertion is missing. grant 'jwt_bearer' needs it" in problem(path)


def test_a_class_derived_from_the_azure_one(block):
    """A class derived from the Azure one accepts its keys."""
    path = block(
        "Cloud", client_id="me", client_secret="${API_SECRET}", tenant_id="contoso.example"
    )
    with TokenKeeper.from_config(path) as keeper:
        assert provider(keeper)._tenant_id == "contoso.example"


PUBLIC = {"client_id": "a", "token_url": "https://a/b", "token_endpoint_auth_method": "none"}


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("Vault", {}, "oauth2.path is missing"),
        (
            "Vault",
            {"path": "a", "api_kye": "hunter2"},
            "oauth2: unknown key 'api_kye' for",
        ),
        ("Vault", {"path": "a", "api_kye": "hunter2"}, "Did you mean 'api_key'?"),
        ("Vault", {"path": "a", "rety": {}}, "Did you mean 'retry'?"),
        ("Vault", {"path": "a", "client_secret": "hunter2"}, "unknown key 'client_secret' for"),
        ("Vault", {"path": "a", "verify": False}, "unknown key 'verify' for"),
        ("Vault", {"path": "a", "retry": {"attempts": 0}}, "retry.attempts must be"),
        ("Vault", {"path": "${NOT_SET_2}"}, "path needs the environment variable NOT_SET_2"),
        ("Narrow", {}, "oauth2.client_secret is missing"),
        ("Narrow", {"client_secret_file": "nowhere"}, "client_secret_file can't be read"),
        ("Narrow", {"client_secret": "a", "client_secret_file": "b"}, "can't be combined with"),
        ("Traced", {"client_id": "a", "token_url": "https://a/b"}, "client_secret is missing"),
        ("Traced", PUBLIC | {"trase": 1}, "oauth2: unknown key 'trase' for"),
        ("Traced", PUBLIC | {"trase": 1}, "Did you mean 'trace'?"),
        ("Traced", {"client_id": "a"}, "oauth2.token_url is missing"),
        ("Failing", {}, "Failing raised ValueError in own_classes"),
        ("Nameless", {}, "Nameless must pass provider_name on to super().__init__()"),
        ("Abstract", {}, "is abstract: it needs a method acquire_token"),
        ("NoProvider", {}, "is not a class derived from BaseOAuth2Provider"),
        ("a_function", {}, "is not a class derived from BaseOAuth2Provider"),
        ("Valt", {}, "has no Valt. Did you mean 'Vault'?"),
        ("Vault.Inner", {"path": "a"}, "has no Vault.Inner"),
    ],
)
def test_mistakes(block, write, kind, options, words):
    """A mistake is reported with its place and without the value of an argument."""
    write("s3cret", name="b")
    path = block(kind, **{"provider_name": "mine", **options})
    message = problem(path)
    assert words in message
    assert "tokens.yaml, line 1: oauth2" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("raise KeyError('hunter2')", "can't be imported: KeyError in broken_module.py, line 1"),
        ("a = (", "can't be imported: SyntaxError in broken_module.py, line 1"),
        ("import sys\nsys.exit(3)", "can't be imported: SystemExit in broken_module.py, line 2"),
        ("import no_such_library", "names the module broken_module, which needs no_such_library"),
        ("from os import nothing", "can't be imported: ImportError in broken_module.py, line 1"),
        (None, "names the module broken_module, which can't be found"),
    ],
)
def test_a_module_that_can_not_be_imported(tmp_path, write, monkeypatch, content, words):
    """The reason is reported with file and line, but without the text of the error."""
    if content is not None:
        (tmp_path / "broken_module.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    path = write(
        "oauth2:\n  provider_name: mine\n  provider_type: broken_module:Class\n  api_key: hunter2"
    )
    message = problem(path)
    assert message.startswith("tokens.yaml, line 3: oauth2.provider_type ")
    assert words in message
    assert "api_key" not in message


@pytest.mark.parametrize("kind", ["saml", "a b:C", "a:", ":C", "../a:C", "a-b:C", "", "Generic", 5])
def test_what_is_no_path(write, kind):
    """An invalid kind is rejected with the valid ones."""
    path = write(f"oauth2: {{provider_name: mine, provider_type: {json.dumps(kind)}}}")
    message = problem(path)
    assert "'azure_managed_identity' or 'generic', or the path of a class" in message
    assert ("Did you mean 'generic'?" in message) is (kind == "Generic")


def test_secrets_in_the_file(block):
    """An argument whose name says that it is a secret, or a secret header, causes a warning."""
    with pytest.warns(ConfigurationWarning, match=r"oauth2\.api_key is written in clear"):
        TokenKeeper.from_config(block("Vault", path="a", api_key="abc")).close()
    with pytest.warns(ConfigurationWarning, match=r"oauth2\.headers\.Cookie is written in clear"):
        TokenKeeper.from_config(
            block(
                "Traced",
                client_id="me",
                token_endpoint_auth_method="none",
                token_url="https://id.example.com/token",
                headers={"Cookie": "abc", "X-Version": "2", "X-Key": "${API_SECRET}"},
            )
        ).close()


def test_nothing_shows_an_argument(block):
    """The repr of a spec contains no secret argument of the class."""
    with TokenKeeper.from_config(block("Vault", path="a", api_key="${API_SECRET}")) as keeper:
        spec = internals.provider(keeper, "mine").spec
    assert "from-the-environment" not in f"{spec!r} {spec.block!s}"


class TestReload:
    """Any kind of provider with a configuration that changes."""

    @pytest.fixture
    def path(self, block, write):
        write("wrong", name="secret")
        return block("Async", client_secret_file="secret")

    @pytest.mark.parametrize("method", ["acquire", "refresh"])
    def test_a_refusal_that_is_raised_later(self, path, write, own, method):
        """An error of an ``async def`` provider makes the secret be read again, too."""
        if method == "refresh":
            write("right", name="secret")
        with TokenKeeper.from_config(path) as keeper:
            if method == "refresh":
                keeper.get_token("mine")
                provider(keeper).client_secret = "revoked"
            write("right", name="secret")
            if method == "refresh":
                write("right", name="secret2")
                text = path.read_text().replace('"secret"', '"secret2"')
                path.write_text(text)
            assert keeper.get_token("mine", force_refresh=True) == "right"
            events = sys.modules[own].events
            assert [each.split()[0] for each in events] == ["closed"]
            assert events[0].endswith("tokenkeeper-loop")

    def test_a_refusal_that_says_when_to_ask_again(self, path, write):
        """A rejection with ``retry_after`` makes the secret be read again, too."""
        write("late", name="secret")
        with TokenKeeper.from_config(path) as keeper:
            write("right", name="secret")
            assert keeper.get_token("mine", timeout=10) == "right"

    def test_a_refusal_without_a_change(self, path):
        """If nothing changed, the rejection is raised unchanged."""
        with TokenKeeper.from_config(path) as keeper:
            with pytest.raises(TokenAcquisitionError) as caught:
                keeper.get_token("mine")
            assert caught.value.error == "invalid_client"

    def test_reload(self, path, write, own):
        """``reload()`` closes the previous provider on the loop where it was made."""
        write("right", name="secret")
        with TokenKeeper.from_config(path) as keeper:
            keeper.get_token("mine")
            write("changed", name="secret")
            assert keeper.reload()["changed"] == ["mine"]
            assert sys.modules[own].events == ["closed right on tokenkeeper-loop"]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
    def test_a_fork(self, path, write, own, exit_code_of):
        """After a fork, the child's provider is notified."""
        write("right", name="secret")
        with TokenKeeper.from_config(path) as keeper:
            keeper.get_token("mine")
            assert exit_code_of(lambda: 0 if "forked" in sys.modules[own].events else 1) == 0

    def test_the_look_is_off_the_loop(self, path, monkeypatch):
        """Files are not read on the event loop, where they would delay other providers."""
        with TokenKeeper.from_config(path) as keeper:
            front = internals.provider(keeper, "mine")
            threads, look = [], front._look_again
            front._look_again = lambda it: (threads.append(threading.current_thread()), look(it))
            with pytest.raises(TokenAcquisitionError):
                keeper.get_token("mine")
        assert [each.name == "tokenkeeper-loop" for each in threads] == [False]


class TestCommandLine:
    """The commands work with a custom class."""

    @pytest.fixture(autouse=True)
    def cache(self, monkeypatch):
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    def test_get_and_status(self, block):
        """``get`` prints its token, ``status`` its state."""
        path = block("Vault", path="a", api_key="${API_SECRET}")
        got = CliRunner().invoke(cli, ["get", "mine", "--config", str(path)])
        assert (got.exit_code, got.stdout.strip()) == (0, "a-from-the-environment")
        shown = CliRunner().invoke(cli, ["status", "--fetch", "--json", "--config", str(path)])
        assert shown.exit_code == 0
        assert json.loads(shown.stdout)[0]["state"] == "fresh"

    def test_doctor(self, block):
        """``doctor`` shows its description, and skips steps that only our own kinds support."""
        path = block("Vault", path="a", api_key="${API_SECRET}")
        found = CliRunner().invoke(cli, ["doctor", "--json", "--config", str(path)])
        assert found.exit_code == 0, found.output
        (shown,) = json.loads(found.stdout)["providers"]
        assert shown["type"] == "custom"
        assert shown["description"]["path"] == "a"
        status = {each["step"]: each["status"] for each in shown["steps"]}
        assert status["dns"] == status["tls"] == status["metadata"] == "skipped"
        assert status["scope"] == "ok"
        assert "from-the-environment" not in found.output
        plain = CliRunner().invoke(cli, ["doctor", "--config", str(path)], terminal_width=200)
        assert plain.exit_code == 0
        assert "path" in plain.output
        assert "\x1b[31m" not in plain.output


def test_a_way_past_its_cache(block):
    """A class from a configuration is asked to replace refused tokens like any other."""
    with TokenKeeper.from_config(block("Cached")) as keeper:
        assert keeper.get_token("mine") == "cached"
        assert keeper.get_token("mine", force_refresh=True) == "cached"
        assert keeper.renew_refused("mine", "cached") == "in place of cached"
