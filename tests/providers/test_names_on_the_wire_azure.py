"""Entra ID: the name of a token decides about tenant and scope, and nothing else does."""

from itertools import combinations

import pytest
from kit import internals
from kit.crowds import at_once
from kit.servers.entra import CLIENT_ID, SECRET, TENANT

from tokenkeeper import AzureADProvider, InvalidConfigurationError, TokenKeeper

OTHER, THIRD = "contoso.example", "fabrikam.example"
GRAPH, STORAGE = "https://graph.microsoft.com/.default", "https://storage.azure.com/.default"
CHOICES = [
    {},
    {"scope": STORAGE},
    {"scope": GRAPH},
    {"tenant": OTHER},
    {"tenant": OTHER, "scope": STORAGE},
    {"tenant": THIRD, "scope": STORAGE},
    {"tenant": TENANT},
]


@pytest.fixture
def keeper(entra):
    """Return a keeper of one application that may ask in three tenants."""
    entra.tenants |= {OTHER, THIRD}
    with TokenKeeper() as keeper:
        provider = AzureADProvider(
            "entra",
            CLIENT_ID,
            SECRET,
            TENANT,
            allowed_tenants=[OTHER.upper(), THIRD],
            authority=entra.authority,
            verify=entra.ca_file,
        )
        keeper.add_provider(provider)
        yield keeper


def test_each_name_has_its_request(keeper, entra):
    """Equal names send equal requests, and the tenant and scope sent are those in the name."""
    names = {}
    for parameters in [*CHOICES, *reversed(CHOICES)]:
        source = keeper.source("entra", **parameters)
        source.get_token(force_refresh=True)
        sent = entra.requests[-1]
        assert sent.tenant == parameters.get("tenant", TENANT)
        assert sent.form["scope"] == parameters.get("scope", GRAPH)
        known = {"client_id", "client_secret", "client_info", "grant_type", "scope"}
        assert set(sent.form) <= known
        names.setdefault(source.name, []).append((sent.tenant, sent.form))
    assert len(names) == len(CHOICES)
    for one, other in names.values():
        assert one == other


def test_each_name_has_its_token(keeper, entra):
    """No source ever gets the token of another tenant or scope, msal's caches included."""
    sources = [keeper.source("entra", **parameters) for parameters in CHOICES]
    tokens = at_once(*sources)
    assert len(set(tokens)) == len(CHOICES)
    assert len(entra.requests) == len(CHOICES)
    assert [source() for source in sources] == tokens
    assert set(internals.msal_applications(internals.provider(keeper, "entra"))) == {
        TENANT,
        OTHER,
        THIRD,
    }
    renewed = [source.renew_refused(token) for source, token in zip(sources, tokens, strict=True)]
    assert not {*tokens} & {*renewed}
    for one, other in combinations(renewed, 2):
        assert one != other


def test_the_case_of_a_tenant(keeper, entra):
    """A tenant in other letters is the same tenant, and has the same token."""
    assert keeper.source("entra", tenant=OTHER.title())() == keeper.source("entra", tenant=OTHER)()
    assert len(entra.requests) == 1


@pytest.mark.parametrize(
    ("parameters", "field", "message"),
    [
        ({"tenant": "northwind.example"}, "tenant", "List it in allowed_tenants"),
        ({"scope": "User.Read"}, "scope", "append '/.default'"),
        ({"scope": f"{GRAPH} {STORAGE}"}, "scope", "Name one resource"),
        ({"resource": "https://storage.azure.com"}, "resource", "It takes scope, subject, tenant"),
    ],
)
def test_what_it_does_not_request(keeper, entra, parameters, field, message):
    """A tenant that is not allowed, or a scope that can't work, is an error at once."""
    with pytest.raises(InvalidConfigurationError, match=message) as caught:
        keeper.source("entra", **parameters)
    assert (caught.value.field, caught.value.provider_name) == (field, "entra")
    assert entra.requests == []


def test_every_tenant(entra):
    """With ``"*"`` every tenant may be named."""
    provider = AzureADProvider("entra", CLIENT_ID, SECRET, TENANT, allowed_tenants="*")
    with TokenKeeper() as keeper:
        keeper.add_provider(provider)
        assert keeper.source("entra", tenant="any.example").name.provider_name == "entra"
