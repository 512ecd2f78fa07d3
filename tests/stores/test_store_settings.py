"""The store that a keeper is given: what is accepted, and each mistake with its remedy."""

import os
import warnings
from pathlib import Path

import pytest
from kit import store_engines
from kit.store_engines import PrivateStandIn, SharedStandIn

from tokenkeeper import ConfigurationWarning, InvalidConfigurationError
from tokenkeeper.stores import engines
from tokenkeeper.stores.engines import Engine
from tokenkeeper.stores.key_file import FileKeyRing, create_key_file
from tokenkeeper.stores.sealed import Plain
from tokenkeeper.stores.settings import StoreSettings, opened
from tokenkeeper.testing.stores import MemoryTokenStore

PASSWORD = "hunter2"
REDIS = f"redis://worker:{PASSWORD}@host:6379/0"


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    """Open URLs without an engine's library."""
    store_engines.use_stand_ins(monkeypatch)


@pytest.fixture
def key_file(tmp_path):
    """Return the path of a key file."""
    create_key_file(tmp_path / "keys")
    return tmp_path / "keys"


def test_private_store_needs_no_key():
    """A store that only this user can read is used without encryption, with the defaults."""
    settings = opened("auto")
    assert isinstance(settings.store, PrivateStandIn)
    assert isinstance(settings.sealer, Plain)
    assert (settings.timeout_seconds, settings.when_unavailable, settings.detached) == (
        1.0,
        "alone",
        False,
    )
    assert settings.label == "sqlite:////run/user/1/tokenkeeper/store.db"


def test_key_file_encrypts(key_file):
    """With a key file, everything is sealed, in a private store as well."""
    for url in (REDIS, "sqlite:////srv/tokens.db"):
        settings = opened({"url": url, "key_file": str(key_file)})
        assert isinstance(settings.sealer, FileKeyRing)
    assert isinstance(opened({"url": REDIS, "key_file": key_file}).sealer, FileKeyRing)


@pytest.mark.parametrize(
    "url",
    [
        *(f"redi{s}{kind}://host/0" for s in ("s", "ss") for kind in ("", "+sentinel", "+cluster")),
        "postgresql://host/db",
        "postgres://host/db",
        "postgresql:///db?host=/run/postgresql",
        "redis://one:26379,two:26379/0",
        "postgresql://user%40tenant:p%2Fw@host/db",
        "postgresql://host/db?user=user@tenant",
        "postgresql:///db?user=user@tenant",
    ],
)
def test_every_scheme_is_known(url):
    """Each scheme opens its engine, with the URL unchanged."""
    settings = opened({"url": url, "encrypt": False})
    assert isinstance(settings.store, SharedStandIn)
    assert isinstance(settings.sealer, Plain)
    assert settings.store.url == url


def test_everything_can_be_set(key_file):
    """A mapping sets all options, and the store gets its timeout."""
    settings = opened(
        {
            "url": REDIS,
            "key_file": key_file,
            "timeout_seconds": 0.25,
            "when_unavailable": "wait",
            "encrypt": True,
            "detached": True,
        }
    )
    assert settings.store.timeout_seconds == settings.timeout_seconds == 0.25
    assert (settings.when_unavailable, settings.detached) == ("wait", True)
    assert settings.label == "redis://host:6379/0"


def test_texts_of_variables_are_taken(key_file):
    """Numbers and booleans may be texts, because environment variables are."""
    settings = opened({"url": "auto", "timeout_seconds": "2.5", "detached": "True"})
    assert (settings.timeout_seconds, settings.detached) == (2.5, True)
    assert isinstance(opened({"url": REDIS, "encrypt": "false"}).sealer, Plain)


def test_store_object_is_used(key_file):
    """A store that the program made is used as it is, alone or in a mapping."""
    store = MemoryTokenStore()
    assert opened(store).store is store
    assert opened(store).label == "memory"
    shared = SharedStandIn()
    settings = opened({"store": shared, "key_file": key_file})
    assert settings.store is shared
    assert isinstance(settings.sealer, FileKeyRing)
    assert isinstance(opened({"store": shared, "encrypt": False}).sealer, Plain)


def test_store_without_a_label_is_called_by_its_class():
    """A store of your own needs no label."""

    class Own:
        is_private = True
        read = claim = publish = fail = forget = keys = close = print

    assert opened(Own()).label == "Own"


def test_label_can_be_shown_anywhere():
    """A label from a path that is not UTF-8 is escaped: metrics could not be exported with it."""

    class Directory(MemoryTokenStore):
        label = "directory /srv/caf\udce9\n"

    assert opened(Directory()).label == "directory /srv/caf\\udce9\\n"


def test_settings_are_returned_unchanged():
    """Settings that were opened before are used as they are."""
    settings = StoreSettings(MemoryTokenStore(), Plain())
    assert opened(settings) is settings


def test_relative_file_begins_at_the_working_directory(tmp_path, monkeypatch):
    """The file of a relative URL stays the same when the working directory changes."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/my%20tokens.db"
    assert opened("sqlite:///my tokens.db").store.url == url
    assert opened("sqlite:///my%20tokens.db").store.url == url
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opened("sqlite:///~/my tokens.db").store.url == url
    for other in ("sqlite:////srv/a.db", "sqlite:///", "sqlite:///:memory:", "sqlite:///a?b=c"):
        assert opened(other).store.url == other  # the engine decides


def test_relative_key_file_begins_at_the_working_directory(key_file, monkeypatch):
    """The key file is still found after the working directory changed."""
    monkeypatch.chdir(key_file.parent)
    settings = opened({"url": REDIS, "key_file": "keys"})
    monkeypatch.chdir("/")
    assert settings.sealer.path == key_file


SCHEMES = (
    "sqlite, redis, rediss, redis+sentinel, rediss+sentinel, redis+cluster, rediss+cluster, "
    "postgresql, postgres"
)
EXAMPLES = "such as sqlite:///tokens.db, redis://host:6379/0 or postgresql://host/database"
NO_KEY = (
    "store needs a key, because others may read the store. Set key_file (create one with: "
    "tokenkeeper store new-key), or encrypt: false if only this fleet can read it"
)
ENCODE = (
    "store has a user or password with a character that must be percent-encoded: write %40 for @, "
    "%2F for /, %3F for ? and %23 for #"
)
SECONDS = "store.timeout_seconds must be a number of seconds, more than 0"

MISTAKES = {
    "nothing": (None, "store must be a URL, a mapping or a TokenStore, not None"),
    "a number": (5, "store must be a URL, a mapping or a TokenStore, not int"),
    "bytes": (b"redis://h", "store must be a URL, a mapping or a TokenStore, not bytes"),
    "a path": (Path("/a.db"), "store must be a URL, a mapping or a TokenStore, not PosixPath"),
    "a class": (
        MemoryTokenStore,
        (
            "store must be a URL, a mapping or a TokenStore, not the class MemoryTokenStore (call "
            "it to create an instance)"
        ),
    ),
    "an empty URL": ("", "store is empty. Set it, or check the variable that it comes from"),
    "a blank URL": ("  ", "store is empty. Set it, or check the variable that it comes from"),
    "a line break": (
        "redis://host\n",
        "store contains a control character, such as a line break that was copied along with it",
    ),
    "white space": (
        "redis://host /0",
        "store must not contain white space. Check where it comes from",
    ),
    "an unknown scheme": (
        f"redi://{PASSWORD}@host",
        "store has the unknown scheme 'redi'. Did you mean 'redis://'?",
    ),
    "another spelling": (
        "postgressql://host",
        "store has the unknown scheme 'postgressql'. Did you mean 'postgresql://'?",
    ),
    "capitals": (
        "Redis://host",
        "store has the unknown scheme 'Redis'. Did you mean 'redis://'?",
    ),
    "another database": (
        "mysql+pymysql://host",
        f"store has the unknown scheme 'mysql+pymysql'. Use one of {SCHEMES}",
    ),
    "auto as a scheme": ("auto://", f"store has the unknown scheme 'auto'. Use one of {SCHEMES}"),
    "a secret as a scheme": (
        f"{PASSWORD * 5}://host",
        f"store must be a URL, {EXAMPLES}, or 'auto'",
    ),
    "no scheme": ("worker", f"store must be a URL, {EXAMPLES}, or 'auto'"),
    "nearly auto": ("Auto", f"store must be a URL, {EXAMPLES}. Did you mean 'auto'?"),
    "a file": (
        "/srv/tokens.db",
        f"store must be a URL, {EXAMPLES}. For a file, put sqlite:/// before its path",
    ),
    "a URL that the engine rejects": (
        f"redis://:{PASSWORD}@invalid",
        "store is not like redis://host:6379/0",
    ),
    "a URL that the library rejects": (
        f"redis://:{PASSWORD}@quoted-invalid",
        "store is not valid. Check its host, port and parameters",
    ),
    **{
        f"{character!r} in a password": (f"postgresql://u:{PASSWORD}{character}9@host/db", ENCODE)
        for character in "@/?#"
    },
    "no key": (REDIS, NO_KEY),
    "no key in a mapping": ({"url": REDIS}, NO_KEY),
    "no key for a store": (SharedStandIn(), NO_KEY),
    "an empty mapping": ({}, "store.url is missing. Set it, such as redis://host:6379/0 or auto"),
    "a misspelled key": ({"urll": REDIS}, "store: unknown key 'urll'. Did you mean 'url'?"),
    "an unknown key": ({"url": "auto", "ttl": 5}, "store: unknown key 'ttl'"),
    "a key that is a number": ({"url": "auto", 5: 5}, "store: unknown key '5'"),
    "a key with a line break": ({"url": "auto", "a\nb": 5}, "store: unknown key 'a\\nb'"),
    "a long key": ({"url": "auto", "x" * 99: 5}, f"store: unknown key '{'x' * 80}...'"),
    "url without a value": (
        {"url": None},
        "store.url has no value. Set it, or remove the key",
    ),
    "url of the wrong type": (
        {"url": 5, "encrypt": False},
        "store.url must be a string, not int",
    ),
    "url and store": (
        {"url": "auto", "store": MemoryTokenStore()},
        "store.store can't be combined with url",
    ),
    "store that is a URL": (
        {"store": "auto"},
        "store.store must be a TokenStore, not str. Set url instead",
    ),
    "store that is a class": (
        {"store": MemoryTokenStore},
        (
            "store.store must be a TokenStore, not the class MemoryTokenStore (call it to create "
            "an instance)"
        ),
    ),
    "missing key file": (
        {"url": REDIS, "key_file": "/nowhere/keys"},
        (
            "store.key_file is not usable: /nowhere/keys can't be read: No such file or directory. "
            "Create it with: tokenkeeper store new-key"
        ),
    ),
    "empty key file": (
        {"url": REDIS, "key_file": ""},
        "store.key_file is empty. Set it, or check the variable that it comes from",
    ),
    "key file of the wrong type": (
        {"url": REDIS, "key_file": 5},
        "store.key_file must be a string, not int",
    ),
    "key file without a value": (
        {"url": REDIS, "key_file": None, "encrypt": True},
        (
            "2 mistakes:\n  store.key_file has no value. Set it, or remove the key\n  "
            "store.encrypt is true, which needs a key. Set key_file"
        ),
    ),
    "encrypt without a key": (
        {"url": "auto", "encrypt": True},
        "store.encrypt is true, which needs a key. Set key_file",
    ),
    "a key, not encrypted": (
        {"url": REDIS, "key_file": "keys", "encrypt": False},
        "store.encrypt is false, but key_file is set. Remove one of them",
    ),
    "encrypt of the wrong type": (
        {"url": REDIS, "encrypt": "maybe"},
        "store.encrypt must be true or false, not str",
    ),
    "detached of the wrong type": (
        {"url": "auto", "detached": 1},
        "store.detached must be true or false, not int",
    ),
    "no time": ({"url": "auto", "timeout_seconds": 0}, SECONDS),
    "negative time": ({"url": "auto", "timeout_seconds": -1}, SECONDS),
    "endless time": ({"url": "auto", "timeout_seconds": float("inf")}, SECONDS),
    "time that is not a number": ({"url": "auto", "timeout_seconds": "nan"}, SECONDS),
    "time that is a text": ({"url": "auto", "timeout_seconds": "soon"}, SECONDS),
    "time that is true": ({"url": "auto", "timeout_seconds": True}, SECONDS),
    "time that is a list": ({"url": "auto", "timeout_seconds": [1]}, SECONDS),
    "when": (
        {"url": "auto", "when_unavailable": "waits"},
        "store.when_unavailable must be 'alone' or 'wait'",
    ),
    "when of the wrong type": (
        {"url": "auto", "when_unavailable": ["wait"]},
        "store.when_unavailable must be 'alone' or 'wait'",
    ),
    "several": (
        {"url": "auto", "timeout_seconds": 0, "detached": 1},
        f"2 mistakes:\n  {SECONDS}\n  store.detached must be true or false, not int",
    ),
}


@pytest.mark.skipif(os.name != "posix", reason="paths have another type on this platform")
@pytest.mark.parametrize(("given", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(given, expected):
    """Each mistake names the field and the remedy, and shows no password."""
    with pytest.raises(InvalidConfigurationError) as raised:
        opened(given)
    assert str(raised.value) == expected
    first = expected.removeprefix("2 mistakes:\n  ").partition(" ")[0]
    assert raised.value.field.startswith(first.removesuffix(":"))
    assert PASSWORD not in str(raised.value)
    assert len(raised.value.problems) == (2 if expected.startswith("2 ") else 1)


@pytest.mark.skipif(os.name != "posix", reason="files have no modes on this platform")
def test_key_file_that_all_can_read_is_reported(tmp_path):
    """A key file that every user can read works, with a warning, as for a client secret."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        path = Path(name) / "keys"
        path.parent.chmod(0o755)
        create_key_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opened({"url": REDIS, "key_file": path})
        path.chmod(0o644)
        with pytest.warns(ConfigurationWarning) as warned:
            opened({"url": REDIS, "key_file": path})
        assert str(warned[0].message) == (
            "keys contains a secret and is readable by every user. Run: chmod o-r keys"
        )


# ---- engines


def test_missing_library_names_the_extra(monkeypatch):
    """Without the library of an engine, the error has the command that installs it."""
    monkeypatch.setitem(
        engines.ENGINES,
        "redis",
        Engine("tokenkeeper.stores.redis", "X", "no_such_library", "redis"),
    )
    with pytest.raises(InvalidConfigurationError) as raised:
        opened({"url": REDIS, "encrypt": False})
    assert str(raised.value) == (
        "store.url needs the library no_such_library, which is not installed. Run: pip install "
        '"tokenkeeper-oauth2[redis]"'
    )


def test_broken_library_is_explained(monkeypatch, tmp_path):
    """A library that can't be imported is reported with its reason."""
    (tmp_path / "broken_library.py").write_text("raise ImportError('no libpq')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    engine = Engine("broken_library", "X", "broken_library", "psycopg")
    monkeypatch.setitem(engines.ENGINES, "postgresql", engine)
    with pytest.raises(InvalidConfigurationError) as raised:
        opened({"url": "postgresql://host/db", "encrypt": False})
    assert str(raised.value) == (
        "store.url needs the library broken_library, which can't be imported (no libpq). Run: pip "
        'install "tokenkeeper-oauth2[psycopg]"'
    )


def test_library_that_is_imported_late_is_explained_as_well(monkeypatch):
    """An engine may import its library when it opens a URL; the error is the same."""

    def fail(url, *, timeout_seconds):
        raise ImportError("no pq wrapper available.\nAttempts made:\n- a", name="psycopg")

    engine = Engine(store_engines.__name__, "SharedStandIn", "json", "psycopg")
    monkeypatch.setitem(engines.ENGINES, "postgres", engine)
    monkeypatch.setattr(SharedStandIn, "from_url", fail)
    with pytest.raises(InvalidConfigurationError) as raised:
        opened({"url": "postgres://host/db", "encrypt": False})
    assert str(raised.value) == (
        "store.url needs the library json, which can't be imported (no pq wrapper available). Run: "
        'pip install "tokenkeeper-oauth2[psycopg]"'
    )


def test_fault_of_our_own_module_is_not_hidden(monkeypatch, tmp_path):
    """An import error that is not about the library is raised as it is."""
    (tmp_path / "faulty_engine.py").write_text("import tokenkeeper.nothing", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    engine = Engine("faulty_engine", "X", "json", "redis")
    monkeypatch.setitem(engines.ENGINES, "redis", engine)
    with pytest.raises(ModuleNotFoundError, match=r"tokenkeeper\.nothing"):
        opened({"url": REDIS, "encrypt": False})
