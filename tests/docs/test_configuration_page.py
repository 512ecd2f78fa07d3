"""The reference page of configurations has each key and each variable that is read."""

import re
from pathlib import Path

from tokenkeeper.config.blocks import Azure, Generic
from tokenkeeper.config.combinations import AUTH_METHODS
from tokenkeeper.config.families import FAMILIES
from tokenkeeper.config.late_tokens import LATE_TOKENS, check_late_token

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"
TEXT = PAGE.read_text(encoding="utf-8")
KEYS = TEXT.partition("## Keys")[2].partition("\n\n## ")[0]
ROWS = re.findall(r"^\| (`.*?) \| (both|azure|generic) \|", KEYS, re.M)


def keys_for(*kinds):
    """Return the keys that the table lists for *kinds*."""
    return {key for keys, kind in ROWS if kind in kinds for key in re.findall(r"`(\w+)`", keys)}


def test_each_key():
    """The table of keys has each key of both kinds, and says which kind accepts it."""
    azure, generic = set(Azure.model_fields), set(Generic.model_fields)
    both = {*keys_for("both"), "certificate_file"}  # it means something else in each of them
    assert both == azure & generic
    assert keys_for("azure") | both == azure
    assert keys_for("generic") | both == generic


def test_each_method():
    """The table of methods has each one, in the words of the RFCs."""
    table = TEXT.partition("| `token_endpoint_auth_method` | needs |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == sorted(AUTH_METHODS, key=table.index)
    assert len(re.findall(r"^\| `", table, re.M)) == len(AUTH_METHODS)


def problems_with(key, value):
    """Return what is wrong with *value*, which says where a token comes from."""
    problems = []
    check_late_token(key, value, lambda path, what: problems.append((path, what)))
    return problems


def test_each_place_of_a_token():
    """The table of places has each one, and each is accepted where it is said to be."""
    table = TEXT.partition("| key | the token is |")[2].partition("\n\n")[0]
    for name in re.findall(r"^\| `(\w+)` \|", table, re.M):
        for key in LATE_TOKENS:
            signed = name == "private_key_file"
            problems = problems_with(key, {name: "x", **({"issuer": "me"} if signed else {})})
            assert bool(problems) == (signed and key != "assertion"), problems


def test_each_variable():
    """The section on the environment has each variable, and no other of these families."""
    section = TEXT.partition("\n## Environment")[2]
    named = set(re.findall(r"`((?:AZURE|OAUTH2)_[A-Z]\w+)`", section))
    assert named == {each for family in FAMILIES.values() for each in family.variables}
