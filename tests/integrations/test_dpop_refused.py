"""Clients that can't send a proof refuse a token that is bound to a key, and send nothing.

A table over all of ``tokenkeeper.integrations``. Modules whose libraries are not installed are
tried where they are: with the extra ``clients``.
"""

import imaplib
import inspect
import pkgutil
import smtplib
import warnings
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from unittest.mock import MagicMock

import anyio
import pytest

import tokenkeeper.integrations
from tokenkeeper import BaseOAuth2Provider, InvalidConfigurationError, OAuth2Token, TokenKeeper
from tokenkeeper.oauth.dpop import DPoPKey

SECRET = "a-bound-token"


class Bound(BaseOAuth2Provider):
    """Grants a token that is bound to a key."""

    def acquire_token(self):
        ends = datetime.now(UTC) + timedelta(hours=1)
        return OAuth2Token(SECRET, "DPoP", ends, dpop_key=DPoPKey())


@pytest.fixture
def source():
    with TokenKeeper() as keeper:
        keeper.add_provider(Bound("api"))
        yield keeper.source("api")


def aio_pika(module, source):
    return module.connect(source, "amqp://localhost:1/")


def aiokafka(module, source):
    return module.KeeperTokenProvider(source).token()


def aiosmtplib(module, source):
    client = MagicMock(server_auth_methods=["xoauth2"])
    return module.authenticate(client, source, "me")


def anthropic(module, source):
    return module.AsyncKeeperCredentials(source)()


def asyncpg(module, source):
    return module.connect_with(source)("postgresql://localhost:1/")


def azure(module, source):
    return module.AsyncKeeperCredential(source).get_token("scope")


def blocking_azure(module, source):
    return module.KeeperCredential(source).get_token("scope")


def azure_transport(module, source):
    return module.RenewingTransport(source)._tokens.get()


def confluent_kafka(module, source):
    return module.KeeperOAuthCallback(source)()


def google(module, source):
    return module.KeeperCredentials(source).token


def grpc(module, source):
    errors = []
    module.KeeperPlugin(source)(None, lambda metadata, error: errors.append((metadata, error)))
    assert errors[0][0] == ()
    raise errors[0][1]


def grpc_aio(module, source):
    return module.renewing_interceptors(source)[0]._tokens.get()


def imap(module, source):
    connection = MagicMock(capabilities=["AUTH=XOAUTH2"], error=imaplib.IMAP4.error)
    connection.socket.return_value = None
    return module.authenticate(connection, source, "me")


def kafka(module, source):
    return module.KeeperTokenProvider(source).token()


def kubernetes(module, source):
    return module._Hook(source)(MagicMock())


def paho_mqtt(module, source):
    client = MagicMock(on_pre_connect=None, on_connect=None)
    module.authenticate(client, source)
    return client.on_pre_connect(client, None)


def pika(module, source):
    return module.connect(source)


def psycopg(module, source):
    return module.connection_class(source).connect("host=localhost port=1")


def pymongo(module, source):
    return module.KeeperOIDCCallback(source).fetch(SimpleNamespace(timeout_seconds=5))


def redis(module, source):
    return module.KeeperCredentialProvider(source).get_credentials()


def smtp(module, source):
    connection = MagicMock(sock=None, esmtp_features={"auth": "XOAUTH2"})
    connection.auth.side_effect = smtplib.SMTPAuthenticationError(535, b"no")
    return module.authenticate(connection, source, "me")


def sqlalchemy(module, source):
    library = import_module("sqlalchemy")
    engine = library.create_engine("postgresql+psycopg://localhost:1/")
    module.authenticate(engine, source)
    return engine.connect()


REFUSE = {
    "aio_pika": [aio_pika],
    "aiokafka": [aiokafka],
    "aiosmtplib": [aiosmtplib],
    "anthropic": [anthropic],
    "asyncpg": [asyncpg],
    "azure": [azure, blocking_azure],
    "azure_transport": [azure_transport],
    "confluent_kafka": [confluent_kafka],
    "google": [google],
    "grpc": [grpc],
    "grpc_aio": [grpc_aio],
    "imaplib": [imap],
    "kafka": [kafka],
    "kubernetes": [kubernetes],
    "paho_mqtt": [paho_mqtt],
    "pika": [pika],
    "psycopg": [psycopg],
    "pymongo": [pymongo],
    "redis": [redis],
    "smtplib": [smtp],
    "sqlalchemy": [sqlalchemy],
}
"""How each module that takes tokens is made to send one."""

SEND_PROOFS = {"aiohttp", "httpx", "httpx2", "openai", "requests"}
"""Modules that send proofs; openai's clients are those of httpx. See ``test_dpop_requests.py``."""

TAKE_NO_TOKENS = {"azure_provider", "google_provider", "mcp", "opentelemetry", "prometheus"}
"""Modules that provide tokens, request their own, or watch."""

CASES = [(name, case) for name, cases in REFUSE.items() for case in cases]


def test_the_table_is_complete():
    """Every module of a client library is in one of the tables."""
    found = pkgutil.iter_modules(tokenkeeper.integrations.__path__)
    public = {each.name for each in found if not each.name.startswith("_")}
    assert public == REFUSE.keys() | SEND_PROOFS | TAKE_NO_TOKENS


@pytest.mark.parametrize(("name", "case"), CASES, ids=[case.__name__ for _, case in CASES])
def test_a_bound_token_is_refused(source, name, case):
    """The client gets an error that says what to do, and no token that a server would refuse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of the libraries are not ours
            module = import_module(f"tokenkeeper.integrations.{name}")
    except ImportError as error:
        pytest.skip(f"not installed: {error.name}")

    async def awaited():
        result = case(module, source)
        return await result if inspect.isawaitable(result) else result

    with pytest.raises(Exception, match="bound to a key") as raised:
        anyio.run(awaited)
    error = raised.value
    reasons = [error, error.__cause__, error.__context__]
    assert any(isinstance(each, InvalidConfigurationError) for each in reasons)
    assert SECRET not in str(error)


def test_a_callable_returns_the_text(source):
    """A source is still a callable that returns the token's text, for whatever takes a string."""
    assert source() == source.get_token() == SECRET
