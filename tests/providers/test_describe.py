"""Descriptions of providers."""

import json

import pytest

from tokenkeeper import (
    AzureADProvider,
    BaseOAuth2Provider,
    GenericOAuth2Provider,
    OAuth2Config,
    TokenKeeper,
)
from tokenkeeper.providers.kinds import OURS, Description, kind_of, provider_class
from tokenkeeper.testing import Answer, LoopbackAuthorizationServer


class Custom(BaseOAuth2Provider):
    """A provider that does not describe itself."""

    def acquire_token(self): ...


class Derived(GenericOAuth2Provider):
    """A custom class that is derived from one of ours."""


def generic(kind=GenericOAuth2Provider, **options):
    url = "https://id.example.com/token?api_key=hunter2"
    return kind(OAuth2Config("api", "worker", "hunter2", url, "read"), **options)


def azure():
    return AzureADProvider("api", "worker", "hunter2", "contoso.example")


@pytest.mark.parametrize(
    ("provider", "kind"),
    [
        (generic(), "generic"),
        (generic(Derived), "generic"),
        (azure(), "azure"),
        (Custom("api"), "custom"),
    ],
)
def test_kinds(provider, kind):
    """A derived class has the kind of its base."""
    assert kind_of(provider) == kind


@pytest.mark.parametrize("provider", [generic(), generic(Derived), azure(), Custom("api")])
def test_descriptions(provider):
    """A description has known entries, fits into JSON, and contains no secret."""
    described = provider.describe()
    assert described.keys() <= Description.__annotations__.keys()
    assert described["type"] == f"{type(provider).__module__}:{type(provider).__name__}"
    assert "hunter2" not in json.dumps(described)


def test_every_kind_of_ours_has_its_class():
    """The table of our own kinds names classes that exist."""
    for kind, path in OURS.items():
        found = provider_class(kind)
        assert f"{found.__module__}:{found.__qualname__}" == path


def test_azure():
    """Entra ID is described by its authority, and by the issuer of its metadata."""
    described = azure().describe()
    assert described["authority"] == "https://login.microsoftonline.com"
    assert described["issuer"] == "https://login.microsoftonline.com/contoso.example/v2.0"
    assert described["scope"] == "https://graph.microsoft.com/.default"
    assert described["token_endpoint_auth_method"] == "client_secret_post"


def test_generic():
    """A token endpoint is described without its query, and the options by their names."""
    described = generic(lifetime_seconds=60, verify=False).describe()
    assert described["token_url"] == "https://id.example.com/token"
    assert (described["lifetime_seconds"], described["verify"]) == (60, False)
    assert described["default_lifetime_seconds"] == 3600
    assert described["omitted"] == []


def test_what_the_server_left_out():
    """A description lists the members that were assumed, according to the last response."""
    with LoopbackAuthorizationServer() as server:
        provider = GenericOAuth2Provider(server.config("api"))
        provider.acquire_token()
        assert provider.describe()["omitted"] == []
        server.script(Answer(200, {"access_token": "t", "token_type": "Bearer", "scope": "read"}))
        provider.acquire_token()
        assert provider.describe()["omitted"] == ["expires_in"]
        provider.acquire_token()
        assert provider.describe()["omitted"] == []


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("azure_managed_identity", {"client_id": "11111111-2222"}),
        ("azure_default", {"process_timeout": 5}),
    ],
)
def test_kinds_that_need_no_client(kind, options):
    """What a process in Azure has needs neither a client nor a secret in a configuration."""
    scope = "https://storage.azure.com/.default"
    block = {"provider_name": "storage", "provider_type": kind, "scope": scope, **options}
    with TokenKeeper.from_config({"oauth2": block}) as keeper:
        assert keeper.list_providers() == ["storage"]
    provider = provider_class(kind)("storage", scope, **options)
    assert kind_of(provider) == kind
    assert provider.describe().keys() <= Description.__annotations__.keys()
