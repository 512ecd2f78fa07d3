"""Invalid arguments: each is a clear error, immediately, and shows no token."""

import asyncio
import copy
import importlib
import math
import pickle
import pkgutil
import traceback
import warnings
from contextlib import suppress
from datetime import timedelta
from functools import partial

import aiohttp  # noqa: F401 - the integrations below need their libraries
import pytest
from google.oauth2.credentials import Credentials as GoogleCredentials
from kit import internals
from kit.client_modules import TRIED_WITH_CLIENTS
from kit.httpx_packages import PACKAGES, auth_for

import tokenkeeper
from tokenkeeper import (
    AsyncAuthorization,
    AuthorizationCode,
    AzureADProvider,
    BaseOAuth2Provider,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    OAuth2TokenManager,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
    UnknownProviderError,
    get_default_source,
    set_default_keeper,
)
from tokenkeeper._renewal.detached import Handover
from tokenkeeper._renewal.detached_main import _AsAsked
from tokenkeeper._renewal.sign_in_under_way import Finishing
from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper.clock import SystemClock
from tokenkeeper.integrations import aiohttp as aiohttp_auth
from tokenkeeper.integrations import azure as azure_auth
from tokenkeeper.integrations import azure_provider, azure_transport, google, grpc, grpc_aio
from tokenkeeper.integrations import requests as requests_auth
from tokenkeeper.integrations._mcp_steps import McpProvider
from tokenkeeper.integrations.mcp import McpAuth
from tokenkeeper.integrations.requests import CertificateAdapter
from tokenkeeper.providers.azure_default import AzureDefaultProvider
from tokenkeeper.providers.azure_tools import AZURE_CLI, ToolProvider
from tokenkeeper.providers.google import GoogleProvider
from tokenkeeper.providers.google_impersonation import GoogleImpersonation
from tokenkeeper.providers.managed_identity import ManagedIdentityProvider
from tokenkeeper.testing import AsyncMockProvider, MockProvider, StaticProvider

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"
OPAQUE = "f3a9c1d2e4b5a6978877665544332211ffeeddcc"


def message_of(call, *expected, kind=InvalidConfigurationError):
    """Return the message of the error that *call* raises, and check that it contains *expected*."""
    with pytest.raises(kind) as caught:
        call()
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown
    assert OPAQUE not in shown
    message = str(caught.value)
    for each in expected:
        assert each in message, message
    assert "\n" not in message
    return message


CALLS = {
    "a number where force_refresh belongs": (("api", 5), {}, "force_refresh must be True or False"),
    "a text where force_refresh belongs": (("api", "yes"), {}, "force_refresh must be True"),
    "a name where force_refresh belongs": (("api", "api"), {}, "not str"),
    "None for force_refresh": (("api", None), {}, "not None"),
    "a text as timeout": (("api",), {"timeout": "5"}, "timeout must be a number of seconds"),
    "a timedelta as timeout": (("api",), {"timeout": timedelta(seconds=5)}, "total_seconds()"),
    "a negative timeout": (("api",), {"timeout": -1}, "0 or more"),
    "a timeout that is not a number": (("api",), {"timeout": math.nan}, "0 or more"),
    "a timeout of 400 digits": (("api",), {"timeout": 10**400}, "fewer digits"),
    "a boolean as timeout": (("api",), {"timeout": True}, "not bool"),
    "a list as name": ((["api"],), {}, "provider_name must be a string, not list"),
    "None as name": ((None,), {}, "provider_name must be a string, not None"),
    "bytes as name": ((b"api",), {}, "not bytes"),
    "a provider as name": ((GenericOAuth2Provider,), {}, "class GenericOAuth2Provider"),
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("method", ["get_token", "get_oauth2_token"])
def test_calls(keeper, source, method, case):
    """A call with an argument of the wrong kind is refused by both fronts, without a request."""
    arguments, options, expected = CALLS[case]
    message_of(partial(getattr(keeper, method), *arguments, **options), expected)
    manager = OAuth2TokenManager(keeper)
    message_of(
        lambda: asyncio.run(getattr(manager, method)(*arguments, **options)),
        expected,
    )
    assert source.requests == 0


REFUSALS = {
    "swapped": ((TOKEN, "api"), "the arguments are swapped"),
    "swapped, and the token is opaque": ((OPAQUE, "api"), "the arguments are swapped"),
    "two tokens": ((TOKEN, TOKEN), "may be a token"),
    "a token of no known provider": ((OPAQUE, "nobody"), "may be a token"),
    "no token": (("api", None), "refused_token must be a string, not None"),
    "an empty token": (("api", ""), "refused_token must be the token alone"),
    "a header": (("api", f"Bearer {TOKEN}"), "without 'Bearer '"),
    "bytes": (("api", TOKEN.encode()), "not bytes"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_renew_refused(keeper, source, case):
    """Swapped or invalid arguments of renew_refused are refused, and no token is shown."""
    arguments, expected = REFUSALS[case]
    message_of(partial(keeper.renew_refused, *arguments), expected)
    manager = OAuth2TokenManager(keeper)
    message_of(lambda: asyncio.run(manager.renew_refused(*arguments)), expected)
    assert source.requests == 0


@pytest.mark.parametrize("token", [TOKEN, OPAQUE, "x" * 100, "00Dx!" + "AQ" * 30])
def test_a_token_as_name(keeper, token):
    """An error about a token that is passed as a name neither shows nor contains it."""
    for method in ("get_token", "clear_token", "get_cached_token_info", "remove_provider"):
        message_of(partial(getattr(keeper, method), token), kind=UnknownProviderError)
        with pytest.raises(UnknownProviderError) as caught:
            getattr(keeper, method)(token)
        assert token not in repr(vars(caught.value)) + repr(caught.value.args)
        assert token.encode() not in pickle.dumps(caught.value)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("biling", "Did you mean 'billing'?"),
        ("Billing", "Did you mean 'billing'?"),
        ("billing ", "Did you mean 'billing'?"),
        ("zzz", "Registered: api, billing."),
    ],
)
def test_unknown_names(keeper, make_source, asked, expected):
    """The error for an unknown name suggests the nearest one, or lists the registered names."""
    keeper.add_provider(make_source("billing"))
    message = message_of(partial(keeper.get_token, asked), expected, kind=UnknownProviderError)
    assert repr(asked) in message


def test_unknown_names_among_many(keeper, make_source):
    """The list of registered names in the error is limited."""
    for number in range(200):
        keeper.add_provider(make_source(f"customer-{number:03}"))
    message = message_of(lambda: keeper.get_token("zzz"), "and 181 more", kind=UnknownProviderError)
    assert len(message) < 500


KEEPERS = {
    "background": ("no", "background must be True or False"),
    "max_workers": ("32", "max_workers must be a whole number, not str"),
    "max_workers, a fraction": (1.5, "not float"),
    "max_workers, a boolean": (True, "not bool"),
    "max_workers, none": (0, "1 or more"),
    "cooldown_seconds": ("30", "cooldown_seconds must be a number of seconds"),
    "cooldown_seconds, negative": (-1, "0 or more"),
    "cooldown_seconds, infinite": (math.inf, "finite"),
    "retry": (4, "retry must be a RetryPolicy, not int"),
    "retry, a mapping": ({"attempts": 4}, "not dict"),
    "retry, the class": (RetryPolicy, "the class RetryPolicy (call it"),
    "clock": (SystemClock, "the class SystemClock (call it"),
    "clock, a function": (lambda: 0.0, "time(), monotonic() and wait()"),
    "jitter": (0.5, "jitter must be callable"),
    "hooks": (print, "hooks must be a list of hooks"),
    "hooks, a text": ("print", "hooks must be a list"),
    "hooks, not callable": ([5], "callable"),
}


@pytest.mark.parametrize("case", KEEPERS)
def test_keepers(case):
    """A keeper's option of the wrong type is refused."""
    value, expected = KEEPERS[case]
    message_of(lambda: TokenKeeper(**{case.partition(",")[0]: value}), expected)


@pytest.mark.parametrize("hook", [5, "print", None, type("Hook", (), {})])
def test_hooks(keeper, hook):
    """A hook that can't be called, or a class in place of its instance, is refused."""
    message_of(lambda: keeper.add_hook(hook), "callable")


class Uninitialized(BaseOAuth2Provider):
    """A provider that does not call its base class's __init__."""

    def __init__(self):
        pass

    def acquire_token(self):
        raise AssertionError("no token is asked for here")


class Valid(BaseOAuth2Provider):
    """A valid provider."""

    def acquire_token(self):
        raise AssertionError("no token is asked for here")


CONFIG = OAuth2Config("api", "me", "s3cr3t", "https://id.example.com/token")


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (Valid, "the class Valid (call it to create an instance)"),
        (CONFIG, "must be a BaseOAuth2Provider, not OAuth2Config"),
        ({"provider_name": "api"}, "not dict"),
        ("api", "not str"),
        (None, "not None"),
        (Uninitialized(), "must call super().__init__(provider_name)"),
    ],
    ids=["a class", "a config", "a mapping", "a name", "none", "no super().__init__()"],
)
def test_add_provider(provider, expected):
    """add_provider() refuses objects that are not providers, or are not initialized."""
    with TokenKeeper() as keeper:
        message_of(lambda: keeper.add_provider(provider), expected)
        assert keeper.list_providers() == []


def test_the_same_provider_twice(keeper, source):
    """Adding a provider twice is refused, and so is another one with its name."""
    message_of(lambda: keeper.add_provider(source), "is already registered as 'api'")
    message_of(lambda: keeper.add_provider(Valid("api")), "duplicate provider name")
    assert keeper.list_providers() == ["api"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"buffer_seconds": "300"}, "buffer_seconds must be a number of seconds, not str"),
        ({"buffer_seconds": True}, "not bool"),
        ({"buffer_seconds": timedelta(minutes=5)}, "total_seconds()"),
        ({"buffer_seconds": -1}, "0 or more"),
        ({"buffer_seconds": math.inf}, "finite"),
        ({"buffer_seconds": math.nan}, "0 or more"),
    ],
)
def test_providers(options, expected):
    """A provider's invalid buffer is refused, and the error names the provider."""
    message_of(lambda: Valid("api", **options), "provider 'api'", expected)


@pytest.mark.parametrize("retry", [3, {"attempts": 3}, RetryPolicy])
def test_a_providers_policy(keeper, retry):
    """A provider with an invalid retry policy can't be added."""
    message_of(lambda: keeper.add_provider(Valid("other", retry=retry)), "retry must be")


@pytest.mark.parametrize("value", ["4", 2.5, True, None, math.inf])
def test_policies(value):
    """A policy's attempts must be a whole number."""
    message_of(lambda: RetryPolicy(attempts=value), "attempts must be")


INTEGRATIONS = {
    "requests": requests_auth.KeeperAuth,
    **{name: auth_for(package) for name, package in PACKAGES.items()},
    "aiohttp": partial(aiohttp_auth.KeeperMiddleware, allowed_hosts=["api.example.com"]),
    "azure": azure_auth.KeeperCredential,
    "azure, async": azure_auth.AsyncKeeperCredential,
    "azure transport": azure_transport.RenewingTransport,
    "azure transport, async": azure_transport.AsyncRenewingTransport,
    "google": google.KeeperCredentials,
    "grpc plugin": grpc.KeeperPlugin,
    "grpc interceptor": grpc.RenewingInterceptor,
    "grpc.aio": grpc_aio.renewing_interceptors,
}


@pytest.mark.parametrize("library", INTEGRATIONS)
def test_integrations(keeper, library):
    """An integration refuses a wrong keeper or name when it is created."""
    make = INTEGRATIONS[library]
    message_of(lambda: make({}, "api"), "keeper must be a TokenKeeper, not dict")
    message_of(lambda: make(None, "api"), "not None")
    message_of(lambda: make(TokenKeeper, "api"), "the class TokenKeeper (call it")
    message_of(lambda: make("api", keeper), "the keeper comes first")
    message_of(lambda: make(OAuth2TokenManager(keeper), "api"), "pass its attribute keeper")
    message_of(lambda: make(keeper, None), "provider_name must be a string, not None")


@pytest.mark.parametrize("library", [each for each in INTEGRATIONS if "grpc" not in each])
def test_timeouts_of_integrations(keeper, library):
    """An integration refuses an invalid timeout when it is created."""
    message_of(
        lambda: INTEGRATIONS[library](keeper, "api", timeout="5"), "timeout must be a number"
    )
    message_of(lambda: INTEGRATIONS[library](keeper, "api", timeout=-1), "0 or more")


def test_fronts(keeper):
    """OAuth2TokenManager and set_default_keeper accept only a keeper."""
    for make in (OAuth2TokenManager, set_default_keeper):
        message_of(lambda make=make: make({}), "keeper must be a TokenKeeper, not dict")
        message_of(lambda make=make: make(TokenKeeper), "the class TokenKeeper")
        message_of(lambda make=make: make(OAuth2TokenManager(keeper)), "its attribute keeper")
    message_of(lambda: keeper.auth(5), "provider_name must be a string, not int")


def reloadable(_):
    """Return a provider that is made from a configuration."""
    block = {
        "provider_name": "api",
        "provider_type": "generic",
        "client_id": "me",
        "client_secret": "s3cr3t",
        "token_url": "https://id.example.com/token",
    }
    with TokenKeeper.from_config({"oauth2": block}, background=False) as keeper:
        return internals.provider(keeper)


def authorization(_):
    """Return a sign-in that has begun."""
    endpoints = {"authorization_endpoint": "https://id.example.com/authorize"}
    config = OAuth2Config(
        "api", "me", "s3cr3t", "https://id.example.com/token", endpoints=endpoints
    )
    grant = AuthorizationCode(redirect_uri="https://app.example.com/callback")
    with TokenKeeper(background=False) as keeper:
        keeper.add_provider(GenericOAuth2Provider(config, grant=grant))
        return keeper.authorize("api")


def interceptor(kind):
    return lambda keeper: grpc_aio.renewing_interceptors(keeper, "api")[kind]


# A function of a keeper for each kind of object that belongs to one process.
UNPICKLABLE = {
    **{
        name: lambda keeper, make=make: make(keeper, "api")
        for name, make in INTEGRATIONS.items()
        if name != "grpc.aio"
    },
    **{f"grpc.aio, {kind}": interceptor(kind) for kind in range(4)},
    "keeper": lambda keeper: keeper,
    "keeper.auth": lambda keeper: keeper.auth("api"),
    "manager": OAuth2TokenManager,
    "a source": lambda keeper: keeper.source("api"),
    "an async source": lambda keeper: keeper.source("api").aio,
    "a default source": lambda _: get_default_source("api"),
    "an async default source": lambda _: get_default_source("api").aio,
    "a custom provider": lambda _: Valid("own"),
    "generic": lambda _: GenericOAuth2Provider(CONFIG),
    "Entra ID": lambda _: AzureADProvider("api", "me", "s3cr3t", "example.com"),
    "managed identity": lambda _: ManagedIdentityProvider("api", "api://x"),
    "Azure's default": lambda _: AzureDefaultProvider("api", "api://x"),
    "developer's tool": lambda _: ToolProvider("api", AZURE_CLI, "api://x"),
    "a configured provider": reloadable,
    "Google's metadata server": lambda _: GoogleProvider("api"),
    "Google's impersonation": lambda _: GoogleImpersonation("api", lambda: "t", "a@b.example"),
    "a certificate in TLS": lambda _: CertificateAdapter(object()),
    "Google": lambda _: google.GoogleCredentialsProvider("api", GoogleCredentials("t")),
    "an Azure credential": lambda _: azure_provider.CredentialProvider("api", AccessTokens()),
    "a class of Azure credentials": lambda _: azure_provider.CredentialProvider(
        "api", AccessTokens
    ),
    "static": lambda _: StaticProvider("api", "t"),
    "mock": lambda _: MockProvider("api"),
    "async mock": lambda _: AsyncMockProvider("api"),
    "a helper process": lambda _: Handover(MockProvider("api"), as_job, dict),
    "a sign-in": authorization,
    "an async sign-in": lambda keeper: AsyncAuthorization(authorization(keeper), None),
    "the end of a sign-in": lambda keeper: Finishing(authorization(keeper)._under_way, None),
    "for MCP": lambda keeper: McpAuth(keeper, "https://mcp.example.com/mcp"),
    "added for MCP": lambda _: McpProvider(CONFIG),
    "of a helper process": lambda _: _AsAsked(MockProvider("api"), as_job, bytes),
}


def as_job(method, token):
    raise AssertionError("no helper process is started here")


class AccessTokens:
    """A credential of azure-core."""

    def get_token(self, *scopes):
        raise AssertionError("no token is asked for here")


@pytest.mark.parametrize("kind", UNPICKLABLE)
def test_copies_and_pickles(keeper, kind):
    """A copy, even a deep one, is the object itself; pickling is refused."""
    one = UNPICKLABLE[kind](keeper)
    assert copy.copy(one) is one
    assert copy.deepcopy(one) is one
    assert copy.deepcopy({"settings": [one]})["settings"][0] is one
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(one, protocol)


def subclasses(kind):
    """Return the names of the classes derived from *kind*, those of tests left out."""
    found = set()
    for each in kind.__subclasses__():
        found |= subclasses(each)
        if each.__module__.startswith("tokenkeeper."):
            found.add(f"{each.__module__}.{each.__qualname__}")
    return found


def import_if_possible(name):
    """Import a module, unless it belongs to a client library that is not installed."""
    if name.startswith("tokenkeeper.integrations."):
        with suppress(ModuleNotFoundError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of these libraries warn when they are imported
            importlib.import_module(name)
    else:
        importlib.import_module(name)


def test_every_provider_and_auth_object_is_tried(keeper):
    """The table has every provider that the package defines, and every auth object."""
    for module in pkgutil.walk_packages(tokenkeeper.__path__, "tokenkeeper."):
        if "._pyinstaller" not in module.name and not module.name.endswith(".__main__"):
            import_if_possible(module.name)
    tried = {
        f"{base.__module__}.{base.__qualname__}"
        for make in UNPICKLABLE.values()
        for base in type(make(keeper)).__mro__
    }
    defined = subclasses(NotPicklable) | subclasses(BaseOAuth2Provider)
    assert {name for name in defined if name.split(".")[2] not in TRIED_WITH_CLIENTS} <= tried
    public = {each.name for each in pkgutil.iter_modules(tokenkeeper.integrations.__path__)}
    hooks = {"opentelemetry", "prometheus"}  # belong to no provider, and hold no token
    assert {name for name in public if name[0] != "_"} - hooks - TRIED_WITH_CLIENTS <= {
        each.removeprefix("tokenkeeper.integrations.").partition(".")[0] for each in tried
    }


class Picklable(Valid):
    """A provider with its own __reduce__."""

    def __reduce__(self):
        return Picklable, (self.provider_name,)


def test_a_provider_that_pickles_itself():
    """A provider with its own __reduce__ can be pickled."""
    assert pickle.loads(pickle.dumps(Picklable("own"))).provider_name == "own"


class QuotaError(TokenAcquisitionError):
    """A provider's own kind of error."""

    def __init__(self, needed):
        super().__init__(f"{needed} more", status_code=400)
        self.needed = needed


def test_a_providers_own_error_survives_a_renewal(keeper, source, clock):
    """A provider's own exception is raised for the first token and for renewals."""
    source.error = QuotaError(3)
    with pytest.raises(QuotaError):
        keeper.get_token("api")
    source.error = None
    clock.step(60)
    keeper.get_token("api")
    source.error = QuotaError(7)
    clock.step(3600)
    with pytest.raises(QuotaError) as caught:
        keeper.get_token("api")
    assert caught.value.needed == 7
