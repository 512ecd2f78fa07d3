"""What is on the wire is in the token's name, and nothing else decides about it."""

import json
from contextlib import ExitStack
from itertools import combinations
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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


texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=4)
wire_requests = st.fixed_dictionaries(
    {"scope": st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3)},
    optional={
        "resource": st.lists(texts, min_size=1, max_size=3),
        "audience": st.lists(texts, min_size=1, max_size=3),
    },
)
"""Each has a scope: one without sends the registration's, which may be asked for by name, too."""


@pytest.fixture
def endpoint():
    with Recording() as endpoint:
        yield endpoint


@pytest.fixture
def make_ask(endpoint):
    """Return a function that makes one which requests a token: its name, and what was sent.

    It registers a provider with further options, whose requests are read as *request_format* says.
    """
    with ExitStack() as stack:

        def make(additional_params=None, **options):
            keeper = stack.enter_context(TokenKeeper())
            url = endpoint.token_url
            config = OAuth2Config("api", "client", "secret", url, "own", additional_params)
            keeper.add_provider(GenericOAuth2Provider(config, **options))
            request_format = options.get("request_format", "form")

            def ask(parameters):
                source = keeper.source("api", **parameters)
                source.get_token(force_refresh=True)
                return source.name, sent_in(endpoint.received[-1], request_format)

            return ask

        yield make


def sent_in(request, request_format):
    """Return the names and values that a request sent, sorted."""
    if request_format == "form":
        return sorted(request.form)
    if request_format == "query":
        return sorted(parse_qsl(urlsplit(request.target).query, keep_blank_values=True))
    members = json.loads(request.body).items()
    values = ((name, each if isinstance(each, list) else [each]) for name, each in members)
    return sorted((name, str(one)) for name, several in values for one in several)


@pytest.fixture
def ask(make_ask):
    """Return a function that requests a token with parameters: its name, and the form sent."""
    return make_ask()


STATIC = [
    {"audience": "static"},
    {"resource": ["https://s.example", "https://t.example"]},
    {"tenant": "42", "account": "static", "subject": "static", "actor": "static"},
]


@pytest.mark.parametrize("request_format", ["form", "json", "query"])
@pytest.mark.parametrize("static", STATIC)
def test_what_a_registration_always_sends(make_ask, static, request_format):
    """Parameters of a registration are sent for each of its tokens, unless the name has others.

    So beside what the name says, the request is the same for all names of a registration.
    """
    ask = make_ask(static, request_format=request_format)
    for parameters in CHOICES:
        _, sent = ask(parameters)
        expected = {"grant_type": {"client_credentials"}, "scope": {"own"}}
        expected |= {name: set(as_lists(value)) for name, value in static.items()}
        expected |= {
            name: {" ".join(sorted(as_list(value)))} if name == "scope" else set(as_lists(value))
            for name, value in parameters.items()
        }
        assert sent == sorted((name, one) for name, several in expected.items() for one in several)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wire_requests, wire_requests)
def test_equal_names_and_only_they_send_equal_requests(ask, one, other):
    """Whatever is asked for, two requests are equal on the wire exactly if their names are."""
    (name, sent), (other_name, other_sent) = ask(one), ask(other)
    assert (name == other_name) == (sent == other_sent)


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


def as_lists(value):
    return [value] if isinstance(value, str) else value
