"""Names of tokens: equal for equal requests, different for different ones, and without a secret."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenkeeper import InvalidConfigurationError
from tokenkeeper.names import (
    NO_PARAMETERS,
    TokenName,
    TokenParameters,
    is_chosen,
    parameters_in,
    provider_of,
)

texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
scope_tokens = st.text("abcAB/:.-_~!#$%&'()*+,;<=>?@[]^`{|}", min_size=1, max_size=6)
requests = st.fixed_dictionaries(
    {},
    optional={
        "scope": st.lists(scope_tokens, min_size=1, max_size=3),
        "resource": st.lists(texts, min_size=1, max_size=3),
        "audience": st.lists(texts, min_size=1, max_size=3),
        "tenant": st.from_regex(r"[abcXYZ019][abcXYZ019.-]{0,7}", fullmatch=True),
        "account": texts,
        "subject": texts,
        "actor": texts,
    },
)


def meaning(request):
    """Return what *request* asks for, without regard to order, repetition and the tenant's case."""
    sets = {key: frozenset(request.get(key, ())) for key in ("scope", "resource", "audience")}
    texts = {key: request.get(key) for key in ("account", "subject", "actor")}
    return sets, texts, request.get("tenant", "").lower()


def name_of(request, provider_name="api"):
    return TokenName.of(provider_name, TokenParameters.of(**request))


@given(requests, requests)
def test_names_are_equal_if_and_only_if_the_requests_are(one, other):
    """Two requests have one name exactly if they ask for the same."""
    assert (name_of(one) == name_of(other)) == (meaning(one) == meaning(other))


@given(requests, st.randoms())
def test_order_and_repetition_do_not_matter(request, random):
    """A list in another order, with repetitions, names the same token."""
    shuffled = {}
    for key, value in request.items():
        if isinstance(value, list):
            value = [*value, random.choice(value)]
            random.shuffle(value)
        shuffled[key] = value.upper() if key == "tenant" else value
    assert name_of(shuffled) == name_of(request)


@given(requests, requests, texts, texts)
def test_names_of_different_providers_never_meet(one, other, name, other_name):
    """Whatever is asked for, tokens of two providers have two names, each with its provider's."""
    assert (name_of(one, name) == name_of(other, other_name)) <= (name == other_name)
    assert provider_of(name_of(one, name)) == name_of(one, name).provider_name == name


@given(requests)
def test_a_name_states_its_parameters(request):
    """A name leads back to what was asked for, unless it stands for a secret."""
    parameters = TokenParameters.of(**request)
    stated = parameters_in(name_of(request))
    assert stated == (None if parameters.subject or parameters.actor else parameters)


def test_without_parameters_it_is_the_name_of_the_provider():
    """The token of a registration itself has the provider's name."""
    assert TokenName.of("api") == "api" == TokenName.of("api", NO_PARAMETERS)
    assert not is_chosen(TokenName.of("api"))
    assert is_chosen(name_of({"scope": "read"}))


def test_the_name_of_the_provider_is_a_plain_string():
    """Messages show a provider as 'api', whether or not its token has parameters."""
    for parameters in (TokenParameters(), TokenParameters(scope="read")):
        name = TokenName.of("api", parameters)
        assert repr(name.provider_name) == repr(provider_of(name)) == "'api'"


def test_the_canonical_form():
    """The form is stable: stores and other processes compare it."""
    request = {"scope": "write  read write", "tenant": "Contoso.Example", "account": 'Ä"1'}
    assert name_of(request) == (
        'api\n{"account":"Ä\\"1","scope":["read","write"],"tenant":"contoso.example"}'
    )
    digest = "sha256:" + "3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0"
    assert json.loads(name_of({"subject": "token"}).partition("\n")[2]) == {"subject": digest}


def test_no_secret_shows():
    """Neither a name nor a representation shows the tokens among the parameters."""
    parameters = TokenParameters.of(subject="s3cr3t-1", actor="s3cr3t-2", account="alice")
    name = TokenName.of("api", parameters)
    assert "s3cr3t" not in f"{name} {name!r} {parameters!r}"
    assert "alice" not in repr(parameters)


def test_a_name_can_be_pickled():
    """A name travels to other processes, and is the same there."""
    name = name_of({"resource": "https://api.example.com/"})
    twin = pickle.loads(pickle.dumps(name))
    assert twin == name
    assert twin.provider_name == "api"


@pytest.mark.parametrize(
    "name",
    [
        "api\n",
        "api\n{}",
        "api\n[]",
        "api\nnull",
        'api\n{"scope":["b","a"]}',
        'api\n{"scope": ["a"]}',
        'api\n{"scope":"a"}',
        'api\n{"color":"red"}',
        'api\n{"scope":[1]}',
        'api\n{"subject":"sha256:0"}',
        'api\n{"tenant":"A"}',
        "api\n" + "[" * 100_000,
    ],
)
def test_what_is_not_a_name(name):
    """Text that is not canonical names no token, so that no token has two names."""
    assert parameters_in(name) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scope", ""),
        ("scope", []),
        ("scope", " "),
        ("scope", "a\nb"),
        ("scope", 7),
        ("resource", ""),
        ("resource", []),
        ("resource", [""]),
        ("resource", "https://a\nb"),
        ("resource", {"a": 1}),
        ("audience", []),
        ("audience", 7),
        ("tenant", ""),
        ("tenant", "a/b"),
        ("account", ""),
        ("account", "a\nb"),
        ("account", "\udc80"),
        ("subject", ""),
        ("subject", b"token"),
        ("actor", 7),
    ],
)
def test_values_that_cannot_work(field, value):
    """A value of the wrong type, or an empty one, is an error that names the parameter."""
    with pytest.raises(InvalidConfigurationError) as caught:
        TokenParameters.of(**{field: value})
    assert caught.value.field == field
