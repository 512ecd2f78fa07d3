"""The tables of the reference pages agree with the code: names, defaults, methods, events."""

import importlib
import inspect
import re
import warnings
from ast import literal_eval
from importlib.metadata import metadata
from pathlib import Path

import pytest

import tokenkeeper.events
import tokenkeeper.testing
from tokenkeeper.schedule import deadlines

REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md")}
TABLE = re.compile(
    r"^Options of `(\w+)`:\n\n\| option \| default \| meaning \|\n\| --- .*\n((?:\| .*\n)+)", re.M
)
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", re.M)
TABLES = {name: ROW.findall(rows) for text in PAGES.values() for name, rows in TABLE.findall(text)}
# Old spellings are accepted, but not recommended.
HIDDEN = {"AzureADProvider": {"scopes"}, "OAuth2Config": {"scopes"}}


def class_named(name):
    return getattr(tokenkeeper, name, None) or getattr(tokenkeeper.testing, name)


def parameters_of(cls):
    """Return the parameters of a class, by name."""
    return dict(inspect.signature(cls).parameters)


def test_tables_are_found():
    """The classes that users configure each have a table."""
    assert set(TABLES) >= {
        "AzureADProvider",
        "BaseOAuth2Provider",
        "GenericOAuth2Provider",
        "LoopbackAuthorizationServer",
        "OAuth2Config",
        "OAuth2Token",
        "RetryPolicy",
        "TokenKeeper",
    }


@pytest.mark.parametrize("name", TABLES)
def test_options(name):
    """A table has every parameter of its class, in order, with its default and in words."""
    parameters = parameters_of(class_named(name))
    rows = TABLES[name]
    hidden = HIDDEN.get(name, set())
    assert [row[0] for row in rows] == [each for each in parameters if each not in hidden]
    for option, default, meaning in rows:
        actual = parameters[option].default
        if default == "required":
            assert actual is inspect.Parameter.empty, option
        elif default.startswith("`"):
            assert written(default.strip("`")) == actual, option
        else:  # in words: nothing that a user would type
            assert not isinstance(actual, int | float | str | None), option
        assert len(meaning.split()) > 2, option


def written(default):
    """Return the value that a table shows as code."""
    known = {
        "RetryPolicy()": tokenkeeper.RetryPolicy(),
        "random.random": __import__("random").random,
    }
    return known[default] if default in known else literal_eval(default)


@pytest.mark.parametrize("name", ["TokenKeeper", "OAuth2TokenManager"])
def test_methods(name):
    """The table of a class has each of its public methods."""
    table = PAGES["keeper.md"].partition(f"| method of `{name}` |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)", table))
    public = {each for each in vars(class_named(name)) if not each.startswith("_")}
    assert public <= named, public - named


def test_methods_of_your_own_provider():
    """The table of methods to write has each that a provider may have."""
    table = PAGES["providers.md"].partition("| method |")[2].partition("\n\n")[0]
    named = set(re.findall(r"^\| `(\w+)\(", table, re.M))
    methods = vars(tokenkeeper.BaseOAuth2Provider).items()
    assert named == {n for n, value in methods if callable(value) and not n.startswith("_")}


def test_events():
    """The table of events has each event, and the table of attributes each attribute."""
    page = PAGES["events.md"].partition("```{eval-rst}")[0]
    named = set(re.findall(r"`(\w+)`", page))
    events = [getattr(tokenkeeper.events, name) for name in tokenkeeper.events.__all__]
    classes = [event for event in events if issubclass(event, tokenkeeper.events.TokenEvent)]
    assert {event.__name__ for event in classes} <= named
    assert {field for event in classes for field in event.__dataclass_fields__} <= named


def test_testing():
    """The table of the testing page has each public name."""
    named = set(re.findall(r"`(\w+)", PAGES["testing.md"].partition("```{eval-rst}")[0]))
    assert set(tokenkeeper.testing.__all__) <= named


def test_what_idle_tokens_cost():
    """The table of requests an hour follows from when tokens are renewed."""
    section = PAGES["keeper.md"].partition("## What idle tokens cost")[2].partition("\n## ")[0]
    units = {"day": 86400, "hour": 3600, "minute": 60, "minutes": 60}
    rows = re.findall(r"^\| (\d+) (\w+) \| ([\d.]+)(?: to (\d+))? \|$", section, re.M)
    assert len(rows) == 5
    for number, unit, least, most in rows:
        lifetime = int(number) * units[unit]
        renewals = [deadlines(0.0, lifetime, 300.0, jitter).renew_at for jitter in (0.0, 1.0)]
        slowest, fastest = (3600 / seconds for seconds in renewals)
        digits = len(least.partition(".")[2])
        assert float(least) == round(slowest, digits), lifetime
        assert float(most or least) == round(fastest, digits), lifetime


TOOLS = {"bench", "clients", "dev", "docs", "test"}
EXTRAS = set(metadata("tokenkeeper-oauth2").get_all("Provides-Extra")) - TOOLS
NO_LIBRARIES = {"cli", "dashboard", "demo", "libraries", "trio", "yaml"}


def test_libraries():
    """The table of client libraries names what exists, and every extra for a library."""
    table = PAGES["libraries.md"].partition("| library |")[2].partition("```{eval-rst}")[0]
    for module, name in re.findall(r"`(\w+)\.(\w+)(?:\(\))?`", table):
        if module not in ("keeper", "tokenkeeper"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some libraries warn when they are imported
                loaded = importlib.import_module(f"tokenkeeper.integrations.{module}")
            assert hasattr(loaded, name), f"{module}.{name}"
    assert set(re.findall(r"\| `([\w-]+)` \|$", table, re.M)) == EXTRAS - NO_LIBRARIES


def test_each_extra_is_listed():
    """The documentation's first page lists each extra that users install, and no other."""
    index = (REFERENCE.parent / "index.md").read_text(encoding="utf-8")
    section = index.partition("## Extras")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.M)
    listed = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert listed == EXTRAS
