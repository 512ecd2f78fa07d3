"""Older spellings of keys and parameters, which are still accepted."""

import warnings

import pytest
from kit import internals

from tokenkeeper import AzureADProvider, InvalidConfigurationError, OAuth2Config, TokenKeeper
from tokenkeeper.config.blocks import Azure, Generic, Retry
from tokenkeeper.config.keys import OLD_KEYS, keys_of

BLOCKS = {
    "generic": {
        "provider_name": "api",
        "provider_type": "generic",
        "client_id": "worker",
        "client_secret": "s",
        "token_url": "https://id.example.com/token",
    },
    "azure": {
        "provider_name": "api",
        "provider_type": "azure",
        "client_id": "worker",
        "client_secret": "s",
        "tenant_id": "contoso.example",
    },
}
VALUES = {"buffer_seconds": 120, "scope": "a b"}


def made_from(kind, **keys):
    """Return the provider that a block of *kind* with further *keys* describes."""
    with TokenKeeper.from_config({"oauth2": BLOCKS[kind] | keys}) as keeper:
        return internals.configured_provider(keeper)


def problems_of(kind, **keys):
    """Return the mistakes of a block of *kind* with further *keys*."""
    with pytest.raises(InvalidConfigurationError) as raised:
        TokenKeeper.from_config({"oauth2": BLOCKS[kind] | keys})
    return list(raised.value.problems)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("key", ["buffer_seconds", "refresh_buffer_seconds"])
def test_buffer(kind, key):
    """Both spellings of the buffer mean the same, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert made_from(kind, **{key: 120}).buffer_seconds == 120


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("key", ["scope", "scopes"])
@pytest.mark.parametrize("value", ["a b", ["a", "b"]])
def test_scope(kind, key, value):
    """Both spellings of the scope mean the same, as a string and as a list."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert made_from(kind, **{key: value}).describe()["scope"] == "a b"


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize(("old", "new"), OLD_KEYS.items())
@pytest.mark.parametrize("first", [VALUES, dict.fromkeys(VALUES)], ids=["set", "null"])
def test_both_spellings(kind, old, new, first):
    """Both spellings in one block are a mistake, whatever their values are."""
    assert problems_of(kind, **{new: first[new], old: VALUES[new]}) == [
        f"configuration: oauth2.{old} can't be combined with {new}, which is the same setting"
    ]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"refresh_buffer_seconds": -1}, ".refresh_buffer_seconds must be greater than or equal"),
        ({"scopes": 7}, ".scopes must be a string or a list of strings, not int"),
        ({"refresh_buffer_secs": 1}, ": unknown key 'refresh_buffer_secs' for provider_type"),
        ({"refresh_buffer_secs": 1}, "Did you mean 'buffer_seconds'?"),
        ({"buffer_second": 1}, "Did you mean 'buffer_seconds'?"),
        ({"scpes": "a"}, "Did you mean 'scope'?"),
        ({"scop": "a"}, "Did you mean 'scope'?"),
    ],
)
def test_mistakes(keys, problem):
    """A message has the key as it is written, and suggests the current spelling."""
    (found,) = problems_of("generic", **keys)
    assert problem in found


def test_the_identity_does_not_depend_on_the_spelling():
    """Tokens that the command line stored stay valid when the spelling of a key changes."""

    def identity(**keys):
        with TokenKeeper.from_config({"oauth2": BLOCKS["generic"] | keys}) as keeper:
            return internals.provider(keeper).identity()

    assert identity(scope="a", buffer_seconds=9) == identity(scopes="a", refresh_buffer_seconds=9)


def test_keys_of_a_model():
    """Each model accepts the older spellings of its own keys, and no others."""
    assert {*OLD_KEYS} <= {*keys_of(Azure)} & {*keys_of(Generic)}
    assert not {*OLD_KEYS} & {*keys_of(Retry)}


def azure(*positional, **options):
    return AzureADProvider("api", "id", "secret", "contoso.example", *positional, **options)


def config(*positional, **options):
    return OAuth2Config("api", "id", "secret", "https://a.example/t", *positional, **options)


class TestPython:
    """The same in Python."""

    @pytest.mark.parametrize("arguments", [(["a", "b"],), ()])
    def test_scope(self, arguments):
        """A scope is given by position, by its name or by its older name."""
        options = {} if arguments else {"scopes": "a b"}
        assert azure(*arguments, **options).describe()["scope"] == "a b"
        assert azure(scope="a b").describe()["scope"] == "a b"
        assert config(*arguments, **options).scope == "a b"
        assert config(scope="a b") == config(scopes=["a", "b"])

    @pytest.mark.parametrize("make", [azure, config])
    def test_both_names(self, make):
        """Both names at once are a mistake of the older one."""
        with pytest.raises(InvalidConfigurationError, match="can't be combined") as raised:
            make(scope="a", scopes="a")
        assert (raised.value.field, raised.value.provider_name) == ("scopes", "api")

    @pytest.mark.parametrize("make", [azure, config])
    @pytest.mark.parametrize("name", ["scope", "scopes"])
    def test_an_invalid_value(self, make, name):
        """A message has the name that was used."""
        with pytest.raises(InvalidConfigurationError, match=f"{name} must be a string") as raised:
            make(**{name: 7})
        assert raised.value.field == name
