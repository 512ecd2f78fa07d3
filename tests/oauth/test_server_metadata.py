"""Which endpoints of a server's metadata are used."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenkeeper._support.checks import CONTROL
from tokenkeeper._support.frozen import FrozenMapping
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.metadata_request import MetadataFailure, read_metadata
from tokenkeeper.oauth.server_metadata import ServerMetadata, UnusableEndpointError

SECURE = "https://id.test/tenant1"
LOCAL = "http://127.0.0.1:8080/tenant1"


def metadata(issuer=SECURE, **members):
    content = FrozenMapping({"issuer": issuer, **members})
    return ServerMetadata(issuer, f"{issuer}/.well-known/x", content, 0.0)


TRUSTED = [
    (SECURE, "https://id.test/token"),
    (SECURE, "https://id.test:8443/token"),
    (SECURE, "https://tokens.vendor.test/v2/token?tenant=1"),
    (SECURE, "HTTPS://ID.test/token"),
    (LOCAL, "http://127.0.0.1:8080/token"),
    ("https://localhost", "https://127.0.0.1:9/token"),
]


@pytest.mark.parametrize(("issuer", "url"), TRUSTED)
def test_trusted(issuer, url):
    """Over https an issuer may name any https endpoint, over http only those of its own origin."""
    assert metadata(issuer, token_endpoint=url).endpoint("token_endpoint") == url


UNTRUSTED = [
    # Over plain http, any program on this machine could have answered in the issuer's place.
    (LOCAL, "https://attacker.test/token", "could come from anyone on this machine"),
    (LOCAL, "https://127.0.0.1:8080/token", "could come from anyone"),
    (LOCAL, "http://127.0.0.1:8081/token", "could come from anyone"),
    (LOCAL, "http://localhost:8080/token", "could come from anyone"),
    # A remote issuer may not make its clients send secrets to a port of their own machine.
    (SECURE, "http://127.0.0.1:8080/token", "another origin than the issuer's must be https://"),
    (SECURE, "http://id.test/token", "its token_endpoint must be https:// unless"),
    (SECURE, "http://attacker.test/token", "its token_endpoint must be https:// unless"),
    (SECURE, "https://user:pw@id.test/token", "must not contain credentials"),
    (SECURE, "https://id.test/token#a", "must not contain a fragment"),
    (SECURE, "https://id.test\\@attacker.test/", "backslash"),
    (SECURE, "/token", "must be an absolute"),
    (SECURE, "", "is empty"),
    (SECURE, 7, "must be a string, not int"),
    (SECURE, ["https://id.test/token"], "must be a string, not tuple"),
    (SECURE, "https://id.test/a\nb", "control character"),
]


@pytest.mark.parametrize(("issuer", "url", "problem"), UNTRUSTED)
def test_untrusted(issuer, url, problem):
    """An endpoint that must not receive a secret is refused, with the reason and in one line."""
    with pytest.raises(UnusableEndpointError) as caught:
        metadata(issuer, token_endpoint=url).endpoint("token_endpoint")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "pw" not in str(caught.value)


def test_a_refused_url_is_shown_without_its_query():
    """The message about an untrusted endpoint names it without its query."""
    with pytest.raises(UnusableEndpointError) as caught:
        metadata(LOCAL, token_endpoint="https://attacker.test/t?key=k").endpoint("token_endpoint")
    assert str(caught.value).startswith("names the token_endpoint https://attacker.test/t, which")


@pytest.mark.parametrize("members", [{}, {"token_endpoint": None}])
def test_a_missing_endpoint(members):
    """An endpoint that the metadata lacks is named, and where to set it."""
    with pytest.raises(UnusableEndpointError, match="has no token_endpoint"):
        metadata(**members).endpoint("token_endpoint")


@pytest.mark.parametrize("members", [{}, {"jwks_uri": "https://attacker.test/keys"}])
def test_what_can_not_be_set_in_endpoints(members):
    """The message about a URL that the configuration does not have gives other advice."""
    with pytest.raises(UnusableEndpointError) as caught:
        metadata(LOCAL, **members).endpoint("jwks_uri")
    assert str(caught.value).endswith(". Have the server's operator correct it.")
    assert "endpoints" not in str(caught.value)


ALIASES = {"token_endpoint": "https://mtls.id.test/token"}


@pytest.mark.parametrize(
    ("aliases", "with_certificate", "host"),
    [
        (ALIASES, True, "mtls.id.test"),
        (ALIASES, False, "id.test"),
        ({"revocation_endpoint": "https://mtls.id.test/r"}, True, "id.test"),
        ({"token_endpoint": None}, True, "id.test"),
        ("https://mtls.id.test", True, "id.test"),
    ],
)
def test_aliases_for_certificates(aliases, with_certificate, host):
    """Only a request with a certificate goes to the endpoint's alias (RFC 8705 §5)."""
    found = metadata(token_endpoint="https://id.test/token", mtls_endpoint_aliases=aliases)
    url = found.endpoint("token_endpoint", with_certificate=with_certificate)
    assert url == f"https://{host}/token"


def test_an_alias_is_checked_as_well():
    """An alias gets no more trust than an endpoint."""
    found = metadata(
        LOCAL,
        token_endpoint="http://127.0.0.1:8080/token",
        mtls_endpoint_aliases={"token_endpoint": "https://attacker.test/token"},
    )
    with pytest.raises(UnusableEndpointError, match="not trusted"):
        found.endpoint("token_endpoint", with_certificate=True)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
urls = st.text(max_size=40).map(lambda text: f"https://{text}") | anything
documents = st.fixed_dictionaries(
    {},
    optional={
        "issuer": st.just(SECURE) | anything,
        "token_endpoint": urls,
        "mtls_endpoint_aliases": st.dictionaries(st.just("token_endpoint"), urls) | anything,
        "grant_types_supported": anything,
        "token_endpoint_auth_methods_supported": anything,
    },
)


@given(documents, st.booleans())
def test_any_document(document, with_certificate):
    """Whatever a document has, an endpoint can be used or is refused, in one line."""
    answer = HttpAnswer(200, {}, json.dumps(document).encode())
    found = read_metadata(SECURE, [(SECURE, answer)], SYSTEM_CLOCK)
    if isinstance(found, MetadataFailure):
        assert document.get("issuer") != SECURE
        assert found.problem.isprintable()
        return
    list(found.unsupported("client_secret_basic", "client_credentials"))
    try:
        said = found.endpoint("token_endpoint", with_certificate=with_certificate)
    except UnusableEndpointError as error:
        said = str(error)
    assert not CONTROL.search(said)


@pytest.mark.parametrize(
    ("members", "method", "grant", "unsupported"),
    [
        ({}, "none", "password", []),
        ({"grant_types_supported": ["password"]}, "none", "password", []),
        (
            {"grant_types_supported": ["implicit", "code"]},
            "none",
            "password",
            [("password", "grant_types_supported lists implicit, code")],
        ),
        ({"grant_types_supported": []}, "none", None, []),
        (
            {"token_endpoint_auth_methods_supported": []},
            "none",
            "password",
            [("none", "token_endpoint_auth_methods_supported lists nothing")],
        ),
        ({"token_endpoint_auth_methods_supported": "none"}, "x", "password", []),
    ],
)
def test_what_a_server_does_not_support(members, method, grant, unsupported):
    """A method or a grant is unsupported if there is a list without it."""
    assert list(metadata(**members).unsupported(method, grant)) == unsupported


@pytest.mark.parametrize(
    ("members", "listed"),
    [
        ({}, ()),
        ({"some": ["a", "b"]}, ("a", "b")),
        ({"some": "a b"}, ("a", "b")),
        ({"some": 5}, ()),
        ({"some": True}, ()),
        ({"some": None}, ()),
        ({"some": {"a": 1}}, ()),
    ],
    ids=["missing", "list", "text", "number", "bool", "null", "mapping"],
)
def test_what_a_document_lists(members, listed):
    """Whatever stands where a list should be, there is a list of values to look into."""
    assert metadata(**members).listed("some") == listed
