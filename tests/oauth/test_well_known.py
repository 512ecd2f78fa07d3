"""Where the metadata of an issuer is."""

import pytest

from tokenkeeper.oauth.well_known import issuers_of, well_known_urls

OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"

PLACES = {
    "https://id.test": [f"https://id.test{OAUTH}", f"https://id.test{OPENID}"],
    "https://id.test/": [f"https://id.test{OAUTH}", f"https://id.test{OPENID}"],
    "https://id.test:8443": [f"https://id.test:8443{OAUTH}", f"https://id.test:8443{OPENID}"],
    "https://id.test/tenant1": [
        f"https://id.test{OAUTH}/tenant1",
        f"https://id.test{OPENID}/tenant1",
        f"https://id.test/tenant1{OPENID}",
    ],
    "https://id.test/tenant1/": [
        f"https://id.test{OAUTH}/tenant1",
        f"https://id.test{OPENID}/tenant1",
        f"https://id.test/tenant1{OPENID}",
    ],
    "https://id.test/realms/a%20b": [
        f"https://id.test{OAUTH}/realms/a%20b",
        f"https://id.test{OPENID}/realms/a%20b",
        f"https://id.test/realms/a%20b{OPENID}",
    ],
    "http://127.0.0.1:9/x": [
        f"http://127.0.0.1:9{OAUTH}/x",
        f"http://127.0.0.1:9{OPENID}/x",
        f"http://127.0.0.1:9/x{OPENID}",
    ],
    "http://[::1]:9": [f"http://[::1]:9{OAUTH}", f"http://[::1]:9{OPENID}"],
}


@pytest.mark.parametrize(("issuer", "urls"), PLACES.items(), ids=list(PLACES))
def test_places(issuer, urls):
    """The names are inserted before the path, and OpenID Connect's is appended to it as well."""
    assert list(well_known_urls(issuer)) == urls


@pytest.mark.parametrize("issuer", PLACES)
def test_a_place_leads_back_to_its_issuer(issuer):
    """Each place is that of its issuer, with or without a slash at the end."""
    for url in well_known_urls(issuer):
        assert issuer in issuers_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://id.test/token",
        "https://id.test",
        f"https://id.test{OPENID}s",
        "https://a/.well-known/x",
    ],
)
def test_no_place(url):
    """Another URL belongs to no issuer."""
    assert issuers_of(url) == ()
