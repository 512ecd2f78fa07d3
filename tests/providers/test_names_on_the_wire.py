"""What is on the wire is in the token's name, and nothing else decides about it."""

from itertools import combinations

import pytest
from kit.servers.recording import Recording

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenKeeper

CHOICES = [
    {"scope": "read"},
    {"scope": ["write", "read"]},
    {"scope": "own"},
    {"resource": "https://a.example"},
    {"resource": ["https://a.example", "https://b.example/x"]},
    {"audience": "https://a.example"},
    {"audience": ["b", "a"]},
    {"scope": "read", "resource": "https://a.example"},
    {"scope": "read", "audience": "https://a.example"},
    {"resource": "https://a.example", "audience": "https://a.example"},
    {"scope": "a&b=c", "audience": "ü&scope=read"},
    {},
]


@pytest.fixture
def endpoint():
    with Recording() as endpoint:
        yield endpoint


@pytest.fixture
def ask(endpoint):
    """Return a function that requests a token with parameters: its name, and the form sent."""
    with TokenKeeper() as keeper:
        config = OAuth2Config("api", "client", "secret", endpoint.token_url, "own")
        keeper.add_provider(GenericOAuth2Provider(config))

        def ask(parameters):
            source = keeper.source("api", **parameters)
            source.get_token(force_refresh=True)
            return source.name, sorted(endpoint.received[-1].form)

        yield ask


def test_one_form_for_each_name(ask):
    """Equal names send equal requests, different ones different requests, at any time."""
    seen = [ask(each) for each in CHOICES]
    again = [ask(each) for each in reversed(CHOICES)]
    assert again == seen[::-1]
    for (name, form), (other, other_form) in combinations(seen, 2):
        # The registration's own scope may be asked for by name, too: that is another token's name.
        if {name.partition("\n")[2], other.partition("\n")[2]} == {"", '{"scope":["own"]}'}:
            continue
        assert name != other
        assert form != other_form


@pytest.mark.parametrize("parameters", CHOICES)
def test_each_parameter_is_sent_as_it_was_given(ask, parameters):
    """A parameter is sent in full, once, and none that was not asked for."""
    _, form = ask(parameters)
    sent = {}
    for name, value in form:
        sent.setdefault(name, []).append(value)
    assert sent.pop("grant_type") == ["client_credentials"]
    assert sent.pop("scope")[0].split(" ") == sorted(as_list(parameters.get("scope", "own")))
    for name in ("resource", "audience"):
        if name in parameters:
            assert sent.pop(name) == sorted(as_list(parameters[name]))
    assert sent == {}


def test_the_order_does_not_matter(ask):
    """The order and repetition of values make no other token."""
    assert ask({"scope": "b a", "audience": ["y", "x"]}) == ask(
        {"scope": ["a", "b", "a"], "audience": ["x", "y", "x"]}
    )


def as_list(value):
    return value.split(" ") if isinstance(value, str) else value
