"""Where the requests to Entra ID go: national clouds and regions."""

import pytest
from kit.servers.entra import CLIENT_ID, SECRET, TENANT
from kit.servers.entra_in_memory import EntraInMemory

from tokenkeeper import AzureADProvider, RetryPolicy, TokenKeeper
from tokenkeeper.oauth.transport import HttpTransport

PUBLIC = "https://graph.microsoft.com/.default"


@pytest.mark.parametrize(
    ("authority", "origin", "scope"),
    [
        (None, "https://login.microsoftonline.com", PUBLIC),
        (
            "login.microsoftonline.us",
            "https://login.microsoftonline.us",
            "https://graph.microsoft.us/.default",
        ),
        (
            "login.partner.microsoftonline.cn",
            "https://login.partner.microsoftonline.cn",
            "https://microsoftgraph.chinacloudapi.cn/.default",
        ),
        (
            "https://login.chinacloudapi.cn/",
            "https://login.chinacloudapi.cn",
            "https://microsoftgraph.chinacloudapi.cn/.default",
        ),
        ("https://adfs.example", "https://adfs.example", PUBLIC),
    ],
)
def test_clouds(authority, origin, scope):
    """A national cloud has its own login host, and its own Microsoft Graph by default."""
    provider = AzureADProvider("graph", CLIENT_ID, SECRET, TENANT, authority=authority)
    described = provider.describe()
    assert described["authority"] == origin
    assert described["issuer"] == f"{origin}/{TENANT}/v2.0"
    assert described["scope"] == scope
    given = AzureADProvider("api", CLIENT_ID, SECRET, TENANT, "api://x/.default")
    assert given.describe()["scope"] == "api://x/.default"


@pytest.fixture
def server(monkeypatch):
    """Return a stand-in under every host name."""
    for name in ("REGION_NAME", "MSAL_FORCE_REGION"):
        monkeypatch.delenv(name, raising=False)
    return EntraInMemory()


def keeper_in(server, region, authority=None):
    """Return a keeper of an application in *region*."""
    keeper = TokenKeeper()
    provider = AzureADProvider(
        "graph",
        CLIENT_ID,
        SECRET,
        TENANT,
        region=region,
        authority=authority,
        session=server.session(),
        retry=RetryPolicy(attempts=1),
    )
    keeper.add_provider(provider)
    return keeper


class TestRegions:
    """Regional endpoints, for the tokens of the application itself."""

    @pytest.mark.parametrize(
        ("authority", "region", "host"),
        [
            (None, None, "login.microsoftonline.com"),
            (None, "westeurope", "westeurope.login.microsoft.com"),
            ("login.microsoftonline.us", None, "login.microsoftonline.us"),
            (
                "login.microsoftonline.us",
                "usgovvirginia",
                "usgovvirginia.login.microsoftonline.us",
            ),
            (
                "login.partner.microsoftonline.cn",
                "chinanorth",
                "chinanorth.login.partner.microsoftonline.cn",
            ),
        ],
    )
    def test_endpoints(self, server, caplog, authority, region, host):
        """Each cloud has endpoints in its regions; the machine is not asked where it is."""
        with keeper_in(server, region, authority) as keeper:
            keeper.get_token("graph")
        assert [name for name, _ in server.requests] == [host]
        assert server.asked_machine == 0
        assert caplog.text == ""

    def test_the_variable_of_msal(self, server, caplog, monkeypatch):
        """MSAL_FORCE_REGION is a region like a configured one: the machine is not asked."""
        monkeypatch.setenv("MSAL_FORCE_REGION", "westeurope")
        with keeper_in(server, None) as keeper:
            keeper.get_token("graph")
        assert [name for name, _ in server.requests] == ["westeurope.login.microsoft.com"]
        assert server.asked_machine == 0
        assert caplog.text == ""

    def test_on_behalf_of(self, server):
        """Tokens on behalf of users come from the global endpoint."""
        with keeper_in(server, "westeurope") as keeper:
            keeper.source("graph", subject="user-token")()
        assert [name for name, _ in server.requests] == ["login.microsoftonline.com"]

    @pytest.mark.parametrize(
        ("environment", "machine", "host"),
        [
            ("northeurope", None, "northeurope.login.microsoft.com"),
            (None, "westeurope", "westeurope.login.microsoft.com"),
            (None, None, "login.microsoftonline.com"),
            (None, "evil.example/", "login.microsoftonline.com"),
        ],
    )
    def test_auto(self, server, monkeypatch, environment, machine, host):
        """With ``auto``, the environment or the machine states the region; else there is none."""
        server.region = machine
        if environment is not None:
            monkeypatch.setenv("REGION_NAME", environment)
        with keeper_in(server, "auto") as keeper:
            keeper.get_token("graph")
        assert [name for name, _ in server.requests] == [host]
        assert server.asked_machine == (environment is None)

    @pytest.mark.parametrize(
        ("region", "forced"),
        [(None, None), ("auto", None), (None, "westeurope")],
        ids=["none", "auto", "forced"],
    )
    def test_how_long_a_request_may_take(self, server, monkeypatch, region, forced):
        """All requests for a first token count for a claim, each with its own limit."""
        server.region = "westeurope"
        if forced is not None:
            monkeypatch.setenv("MSAL_FORCE_REGION", forced)
        sent, request = [], HttpTransport.request

        def counted(transport, method, url, **options):
            sent.append(url)
            return request(transport, method, url, **options)

        monkeypatch.setattr(HttpTransport, "request", counted)
        provider = AzureADProvider(
            "graph", CLIENT_ID, SECRET, TENANT, region=region, session=server.session()
        )
        provider.acquire_token()
        assert len(sent) > 1
        assert provider.longest_request_seconds >= len(sent) * 30
        shorter = AzureADProvider("graph", CLIENT_ID, SECRET, TENANT, total_timeout=5)
        assert shorter.longest_request_seconds == (20 if forced else 10)
