"""vcrpy records and replays token requests like any others."""

import json

import pytest
import requests
import vcr
from oauth.guarded import GRANT, SECRET, SHIPPED, TOKEN

from tokenkeeper import AzureADProvider


@pytest.fixture(params=["ours", "theirs"])
def session(request):
    """Return no session, or a caller's session."""
    return requests.Session() if request.param == "theirs" else None


@pytest.mark.parametrize("kind", ["basic", "post", "google-user"])
def test_recorded_and_played(make_server, tmp_path, session, kind):
    """A token request is recorded once, and then replayed without a server."""
    cassette = str(tmp_path / "token.yaml")
    server = make_server(make_server.reply(json.dumps(GRANT).encode()))
    for _ in range(2):
        provider = SHIPPED[kind].make(f"{server.url}?tenant=mine", session=session)
        with vcr.use_cassette(cassette) as played:
            assert provider.acquire_token().access_token == TOKEN
    assert played.play_count == 1
    assert server.connections == 1
    assert [request.path for request in played.requests] == ["/token"]
    assert [request.query for request in played.requests] == [[("tenant", "mine")]]


def test_outside_a_cassette_our_own_connections_are_used(make_server, tmp_path):
    """After a cassette, requests have their limits again."""
    server = make_server(*[make_server.drip(b"HTTP/1.1 200 " + b"O" * 10_000)] * 2)
    provider = SHIPPED["basic"].make(server.url, read_timeout=5, total_timeout=0.2)
    with vcr.use_cassette(str(tmp_path / "none.yaml"), record_mode="none"):
        pass
    with pytest.raises(Exception, match="total_timeout"):
        provider.acquire_token()


def test_nothing_is_sent_where_nothing_may_be_recorded(make_server, tmp_path):
    """A cassette without the token request makes it fail, and nothing is sent."""
    server = make_server()
    with (
        vcr.use_cassette(str(tmp_path / "none.yaml"), record_mode="none"),
        pytest.raises(Exception, match="cassette"),
    ):
        SHIPPED["basic"].make(server.url).acquire_token()
    assert server.connections == 0


def test_the_secret_can_be_kept_out_of_a_cassette(make_server, tmp_path):
    """The filters of vcrpy apply to the token request."""
    cassette = tmp_path / "token.yaml"
    server = make_server(*[make_server.reply(json.dumps(GRANT).encode())] * 2)
    options = {
        "filter_headers": ["authorization"],
        "filter_post_data_parameters": ["client_secret"],
    }
    for kind in ("basic", "post"):
        with vcr.use_cassette(str(cassette), record_mode="new_episodes", **options):
            SHIPPED[kind].make(server.url).acquire_token()
    assert SECRET not in cassette.read_text()


def test_azure(tmp_path):
    """Entra ID's discovery and token requests are replayed too."""
    login = "https://login.microsoftonline.com/contoso.example"
    document = {
        "token_endpoint": f"{login}/oauth2/v2.0/token",
        "authorization_endpoint": f"{login}/oauth2/v2.0/authorize",
        "issuer": f"{login}/v2.0",
    }

    def played(method, uri, body):
        return {
            "request": {"method": method, "uri": uri, "body": None, "headers": {}},
            "response": {
                "status": {"code": 200, "message": "OK"},
                "headers": {"Content-Type": ["application/json"]},
                "body": {"string": json.dumps(body)},
            },
        }

    cassette = tmp_path / "azure.json"
    found = f"{login}/v2.0/.well-known/openid-configuration"
    interactions = [
        played("GET", found, document),
        played("POST", document["token_endpoint"], GRANT),
    ]
    cassette.write_text(json.dumps({"version": 1, "interactions": interactions}))
    options = {"serializer": "json", "record_mode": "none", "match_on": ["method", "uri"]}
    provider = AzureADProvider("api", "id", SECRET, "contoso.example")
    with vcr.use_cassette(str(cassette), **options):
        assert provider.acquire_token().access_token == TOKEN
