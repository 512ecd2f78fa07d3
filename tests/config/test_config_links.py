"""Providers whose requests need the tokens of others: circles, and the keeper that has them."""

import gc
import pickle

import pytest

from tokenkeeper import TokenAcquisitionError, TokenKeeper
from tokenkeeper.config.keeper_tokens import KeeperTokens, ProviderToken
from tokenkeeper.config.links import link_problems, needed_by
from tokenkeeper.testing import StaticProvider


def blocks_of(**needs):
    """Return blocks by path: each provider's name, and the names whose tokens it needs."""
    keys = ("subject_token", "actor_token")
    return {
        ("oauth2", index): {
            "provider_name": name,
            **{key: {"provider": each} for key, each in zip(keys, others, strict=False)},
        }
        for index, (name, others) in enumerate(needs.items())
    }


@pytest.mark.parametrize(
    ("needs", "problems"),
    [
        ({"a": "b", "b": "c", "c": ""}, []),
        ({"a": "bc", "b": "c", "c": ""}, []),  # two ways to one provider do not close one
        ({"a": "a"}, ["closes a circle: a needs a"]),
        (
            {"a": "b", "b": "a"},
            ["closes a circle: a needs b needs a", "closes a circle: b needs a needs b"],
        ),
        # d only leads into the circle
        ({"d": "a", "a": "b", "b": "c", "c": "a"}, ["a needs b needs c needs a", "", ""]),
        ({"a": "x"}, ["names no provider of this configuration"]),
        ({"login": "", "a": ["logn"]}, ["Did you mean 'login'?"]),
    ],
)
def test_what_is_wrong_between_providers(needs, problems):
    """Each provider of a circle is a mistake, and so is a name that does not exist."""
    found = link_problems(blocks_of(**needs))
    assert len(found) == len(problems)
    for what, words in zip(found.values(), problems, strict=True):
        assert words in what


def test_providers_at_second_hand():
    """A command for one provider needs all those that its requests lead to, each once."""
    needs = {"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": (), "e": ("a",)}
    assert sorted(needed_by(["a"], needs)) == ["b", "c", "d"]
    assert needed_by(["a", "b", "c", "d"], needs) == []
    assert needed_by(["unknown"], needs) == []


class TestTheKeeper:
    """A token of another provider comes from the keeper that was attached last."""

    def test_without_one(self):
        """Without a keeper, the request fails for good, and says which token is missing."""
        token = ProviderToken(KeeperTokens(), "login", {"scope": "read"})
        with pytest.raises(TokenAcquisitionError, match="token of provider 'login'") as raised:
            token()
        assert raised.value.transient is False
        assert token.name.provider_name == "login"
        assert '"scope":["read"]' in token.name

    def test_one_that_is_attached(self):
        """The keeper is asked for each request; a copy in another process has none."""
        tokens = KeeperTokens()
        token = ProviderToken(tokens, "login")
        with TokenKeeper(background=False) as keeper:
            keeper.add_provider(StaticProvider("login", "the-token"))
            tokens.attach(keeper)
            assert token() == "the-token"
            copied = pickle.loads(pickle.dumps(token))
            with pytest.raises(TokenAcquisitionError, match="no keeper has that provider"):
                copied()

    def test_it_is_held_weakly(self):
        """A configuration does not keep its keeper alive."""
        tokens = KeeperTokens()
        keeper = TokenKeeper(background=False)
        keeper.add_provider(StaticProvider("login", "the-token"))
        tokens.attach(keeper)
        keeper.close()
        del keeper
        gc.collect()
        with pytest.raises(TokenAcquisitionError, match="no keeper has that provider"):
            tokens.get("login", {})
