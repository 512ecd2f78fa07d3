"""Settings of a block as they appear on the wire, for both kinds, and their corrections."""

import pytest
import yaml
from kit.servers.base import Answer
from kit.servers.entra import CLIENT_ID, SECRET, TENANT, Entra

from tokenkeeper import (
    InvalidConfigurationError,
    TokenAcquisitionError,
    TokenKeeper,
    UnknownProviderError,
)

KINDS = ["azure", "generic"]


@pytest.fixture
def entra(tmp_path, environment):
    environment.setenv("ENTRA_SECRET", SECRET)
    with Entra(tmp_path) as entra:
        yield entra


@pytest.fixture
def block(write, entra):
    """Write a block of either kind for the same application."""

    def block(kind, **changes):
        own = {
            "azure": {"tenant_id": TENANT, "authority": entra.authority},
            "generic": {
                "token_url": f"{entra.authority}/{TENANT}/oauth2/v2.0/token",
                "token_endpoint_auth_method": "client_secret_post",
                "scope": "https://graph.microsoft.com/.default",
            },
        }
        content = {
            "provider_name": "api",
            "provider_type": kind,
            "client_id": CLIENT_ID,
            "client_secret": "${ENTRA_SECRET}",
            "verify": entra.ca_file,
            **own[kind],
            **changes,
        }
        return write(yaml.safe_dump({"oauth2": content}))

    return block


@pytest.mark.parametrize("kind", KINDS)
def test_retries(entra, block, kind):
    """A block's number of retries is made, and no more."""
    entra.outage = Answer(503)
    retry = {"attempts": 3, "initial_wait_seconds": 0.01}
    with TokenKeeper.from_config(block(kind, retry=retry)) as keeper:
        with pytest.raises(TokenAcquisitionError) as raised:
            keeper.get_token("api")
        assert raised.value.attempts == len(entra.requests) == 3
        entra.outage = None
        assert keeper.get_token("api", force_refresh=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("timeouts", "words"),
    [
        ({"read_timeout": 0.25}, "read_timeout of 0.25 s"),
        ({"total_timeout": 0.25}, "total_timeout of 0.25 s"),
    ],
)
def test_timeouts(entra, block, kind, timeouts, words):
    """A block's timeouts end a request to a server that does not answer."""
    entra.gate.clear()
    path = block(kind, retry={"attempts": 1}, **timeouts)
    with TokenKeeper.from_config(path) as keeper, pytest.raises(TokenAcquisitionError) as raised:
        keeper.get_token("api")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "mistake", "error"),
    [
        ("azure", {"tenant_id": "unknown.example.com"}, "invalid_tenant"),
        ("azure", {"client_id": "an-application-that-is-gone"}, "unauthorized_client"),
        ("azure", {"client_secret": "${WRONG}"}, "invalid_client"),
        ("azure", {"scope": ["https://graph.microsoft.com/read"]}, "invalid_scope"),
        ("generic", {"scope": "https://graph.microsoft.com/read"}, "invalid_scope"),
        ("generic", {"token_url": "/elsewhere"}, None),
    ],
)
def test_what_is_corrected(entra, block, environment, kind, mistake, error):
    """A corrected setting is used at the next request, without a reload."""
    environment.setenv("WRONG", "wrong")
    if "token_url" in mistake:
        mistake = {"token_url": entra.authority + mistake["token_url"]}
    with TokenKeeper.from_config(block(kind, **mistake)) as keeper:
        with pytest.raises(TokenAcquisitionError) as raised:
            keeper.get_token("api")
        assert raised.value.error == error
        block(kind)
        assert keeper.get_token("api", force_refresh=True)


def test_allowed_tenants(entra, block):
    """A block's tenants may be named by a source, and a reload changes them and nothing else."""
    entra.tenants.add("contoso.example")
    file = block("azure", allowed_tenants=["Contoso.example"])
    with TokenKeeper.from_config(file) as keeper:
        source = keeper.source("api", tenant="contoso.example")
        source()
        assert entra.requests[-1].tenant == "contoso.example"
        with pytest.raises(InvalidConfigurationError, match="not allowed"):
            keeper.source("api", tenant="fabrikam.example")
        block("azure", allowed_tenants="fabrikam.example")
        assert keeper.reload()["changed"] == ["api"]
        assert keeper.source("api", tenant="fabrikam.example")
        with pytest.raises(InvalidConfigurationError, match="not allowed"):
            source.get_token(force_refresh=True)


def test_sources_after_a_reload(entra, block):
    """A source that exists follows its provider to another client, and out of the configuration."""
    file = block("azure")
    with TokenKeeper.from_config(file) as keeper:
        source = keeper.source("api", scope="https://storage.azure.com/.default")
        first = source()
        entra.clients["another-client"] = SECRET
        block("azure", client_id="another-client", buffer_seconds=1000)
        assert keeper.reload()["changed"] == ["api"]
        assert source.get_token(force_refresh=True) != first
        assert keeper.get_cached_token_info(source.name)["renews_in_seconds"] < 3599 - 1000
        last = entra.requests[-1].form
        assert (last["client_id"], last["scope"]) == (
            "another-client",
            "https://storage.azure.com/.default",
        )
        block("azure", provider_name="other")
        assert keeper.reload()["removed"] == ["api"]
        with pytest.raises(UnknownProviderError):
            source()
        block("azure")
        keeper.reload()
        assert source()
        assert entra.requests[-1].form["scope"] == "https://storage.azure.com/.default"


def test_what_a_configured_provider_takes(entra, block):
    """A configured provider takes what its kind does."""
    with TokenKeeper.from_config(block("generic")) as keeper:
        assert keeper.source("api", scope="a", resource="https://a", audience="a")
        with pytest.raises(InvalidConfigurationError, match="It takes audience, resource, scope"):
            keeper.source("api", tenant="contoso.example")
    with (
        TokenKeeper.from_config(block("azure")) as keeper,
        pytest.raises(InvalidConfigurationError, match="It takes scope, subject, tenant"),
    ):
        keeper.source("api", resource="https://a")
