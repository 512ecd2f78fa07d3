"""The store in a file, a mapping or the environment: what applies, and every mistake at once."""

import json
import logging
import warnings
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from kit import store_engines

from tokenkeeper import ConfigurationWarning, InvalidConfigurationError, TokenKeeper
from tokenkeeper.cli.group import cli
from tokenkeeper.config.configuration import Configuration
from tokenkeeper.config.discovery import Discovery
from tokenkeeper.stores.key_file import FileKeyRing, create_key_file, rotate_key_file
from tokenkeeper.stores.sealed import Plain
from tokenkeeper.testing.stores import MemoryTokenStore

PROVIDER = """\
oauth2:
  provider_name: api
  provider_type: generic
  client_id: worker
  client_secret: ${API_SECRET}
  token_url: https://id.example.com/token
"""
PASSWORD = "hunter2"


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    """Open URLs without an engine's library."""
    store_engines.use_stand_ins(monkeypatch)
    for name in ("TOKENKEEPER_STORE", "TOKENKEEPER_STORE_KEY_FILE", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def key_file(tmp_path):
    """Return the path of a key file beside the configuration."""
    create_key_file(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def file(write):
    """Write a configuration whose lines for the store begin at line 7."""
    return lambda lines="": write(PROVIDER + lines)


def configured(source):
    """Return the configuration of *source*, a file, a mapping or ``None`` for the environment."""
    discovery = Discovery.from_env() if source is None else Discovery.from_config(source)
    return Configuration(discovery.specs, discovery.store_options)


def mapping(store):
    return {
        "oauth2": {
            "provider_name": "api",
            "provider_type": "generic",
            "client_id": "worker",
            "client_secret": "s",
            "token_url": "https://id.example.com/token",
        },
        "store": store,
    }


# ---- what applies


def test_without_a_store(file):
    """Without a key and a variable there is no store."""
    assert configured(file()).store is None
    assert Discovery(file()).find_store() is None


def test_url(file):
    """A URL is a whole configuration of a private store."""
    store = configured(file("store: auto\n")).store
    assert isinstance(store.sealer, Plain)
    assert store.label.endswith("tokenkeeper/store.db")


def test_block(file, key_file):
    """A block has the options, and relative paths begin at the file's directory."""
    text = """\
    store:
      url: sqlite:///tokens.db
      key_file: keys
      timeout_seconds: 0.5
      when_unavailable: wait
      detached: true
    """
    store = configured(file("\n".join(line[4:] for line in text.splitlines()))).store
    assert isinstance(store.sealer, FileKeyRing)
    assert store.sealer.path == key_file
    assert store.store.url == f"sqlite:///{key_file.parent}/tokens.db"
    assert (store.timeout_seconds, store.when_unavailable, store.detached) == (0.5, "wait", True)


def test_variables_are_filled_in(file, environment):
    """Every value may come from a variable, and has the right type then."""
    environment.setenv("REDIS_URL", f"redis://:{PASSWORD}@host/0")
    lines = (
        "store:\n  url: ${REDIS_URL}\n  encrypt: ${ENCRYPT:-false}\n"
        "  timeout_seconds: ${SECONDS:-2}\n"
    )
    store = configured(file(lines)).store
    assert store.store.url == f"redis://:{PASSWORD}@host/0"
    assert store.timeout_seconds == 2.0
    assert store.label == "redis://host/0"


def test_mapping_takes_a_store_that_the_program_made(key_file):
    """A mapping may contain a store of your own, alone or with options."""
    store = MemoryTokenStore()
    assert configured(mapping(store)).store.store is store
    assert configured(mapping({"store": store, "key_file": key_file})).store.store is store


def test_variables_of_the_environment(environment, key_file, file):
    """Without the key, the store comes from variables, for a file and for the environment alike."""
    environment.setenv("TOKENKEEPER_STORE", "redis://host/0")
    environment.setenv("TOKENKEEPER_STORE_KEY_FILE", str(key_file))
    for name, value in (
        ("OAUTH2_CLIENT_ID", "worker"),
        ("OAUTH2_CLIENT_SECRET", "s"),
        ("OAUTH2_TOKEN_URL", "https://id.example.com/token"),
    ):
        environment.setenv(name, value)
    for source in (None, file()):
        store = configured(source).store
        assert store.label == "redis://host/0"
        assert store.sealer.path == key_file


def test_file_comes_before_the_environment(environment, key_file, file):
    """The key in a file replaces both variables."""
    environment.setenv("TOKENKEEPER_STORE", "redis://host/0")
    environment.setenv("TOKENKEEPER_STORE_KEY_FILE", str(key_file))
    store = configured(file("store: auto\n")).store
    assert isinstance(store.sealer, Plain)
    assert "redis" not in store.label


@pytest.mark.parametrize("url", ["", "  "])
def test_empty_variable_is_not_set(environment, key_file, file, url):
    """An empty variable turns the store off; a key file alone has no effect."""
    environment.setenv("TOKENKEEPER_STORE", url)
    environment.setenv("TOKENKEEPER_STORE_KEY_FILE", str(key_file))
    assert configured(file()).store is None


def test_each_keeper_gets_a_store_of_its_own(file):
    """What is opened for one keeper is not closed by another one."""
    configuration = configured(file("store: auto\n"))
    assert configuration.store.store is not configuration.store.store


@pytest.mark.parametrize("by_file", [True, False])
def test_keepers_use_it(file, environment, by_file):
    """A keeper made from a file, or from the environment, shares its tokens through the store."""
    path = file("store: sqlite:///tokens.db\n")
    environment.setenv("TOKENKEEPER_CONFIG", str(path))
    with TokenKeeper.from_config(path) if by_file else TokenKeeper.from_env() as keeper:
        assert keeper.health()["store"]["store"].endswith("/tokens.db")


def test_the_argument_comes_before_the_file(file):
    """``store=`` replaces the store of the file; with ``None`` there is none."""
    path = file("store: sqlite:///tokens.db\n")
    with TokenKeeper.from_config(path, store=MemoryTokenStore()) as keeper:
        assert keeper.health()["store"]["store"] == "memory"
    with TokenKeeper.from_config(path, store=None) as keeper:
        assert "store" not in keeper.health()


def test_variables_are_listed(file, environment):
    """The variables that a store reads are known, set or not."""
    found = Discovery(file("store:\n  url: ${REDIS_URL}\n  encrypt: ${E:-false}\n")).find_store()
    assert found.variables == ("REDIS_URL", "E")
    assert found.options is None
    environment.setenv("TOKENKEEPER_STORE", "auto")
    assert Discovery(file()).find_store().variables == (
        "TOKENKEEPER_STORE",
        "TOKENKEEPER_STORE_KEY_FILE",
    )


def stores_of(source, **options):
    """Return the label of the store that a keeper uses; ``None`` without one."""
    make = TokenKeeper.from_env if source is None else partial(TokenKeeper.from_config, source)
    with make(**options) as keeper:
        return keeper.health().get("store", {}).get("store")


def test_keepers_use_the_store(file, environment):
    """A keeper uses the configured store; its argument replaces it, and ``None`` turns it off."""
    path = file("store: sqlite:////srv/tokens.db\n")
    assert stores_of(path) == "sqlite:////srv/tokens.db"
    assert stores_of(path, store=MemoryTokenStore()) == "memory"
    assert stores_of(path, store=None) is None
    environment.setenv("TOKENKEEPER_CONFIG", str(path))
    assert stores_of(None) == "sqlite:////srv/tokens.db"
    file()
    assert stores_of(None) is None
    environment.setenv("TOKENKEEPER_STORE", "sqlite:////other.db")
    assert stores_of(None) == stores_of(path) == "sqlite:////other.db"
    assert stores_of(None, store=None) is None


# ---- mistakes

NEEDS_KEY = (
    "needs a key, because others may read the store. Set key_file (create one with: tokenkeeper "
    "store new-key), or encrypt: false if only this fleet can read it"
)
SECONDS = "store.timeout_seconds must be a number of seconds, more than 0"
EXAMPLES = "such as sqlite:///tokens.db, redis://host:6379/0 or postgresql://host/database"

MISTAKES = {
    "no value": (
        "store:",
        ["7: store has no value. Set it to a URL or a mapping, or remove it"],
        "store",
    ),
    "null": (
        "store: null",
        ["7: store has no value. Set it to a URL or a mapping, or remove it"],
        "store",
    ),
    "a list": (
        "store: [auto]",
        ["7: store must be a URL, a mapping or a TokenStore, not list"],
        "store",
    ),
    "a number": (
        "store: 5",
        ["7: store must be a URL, a mapping or a TokenStore, not int"],
        "store",
    ),
    "no": (
        "store: no",
        ["7: store must be a URL, a mapping or a TokenStore, not bool"],
        "store",
    ),
    "an empty text": (
        "store: ''",
        ["7: store is empty. Set it, or check the variable that it comes from"],
        "store",
    ),
    "an unknown scheme": (
        f"store: rediz://:{PASSWORD}@host",
        ["7: store has the unknown scheme 'rediz'. Did you mean 'redis://'?"],
        "store",
    ),
    "no scheme": ("store: on-disk", [f"7: store must be a URL, {EXAMPLES}, or 'auto'"], "store"),
    "no key": (f"store: redis://:{PASSWORD}@host", [f"7: store {NEEDS_KEY}"], "store"),
    "no key in a block": (
        "store:\n  url: postgres://host/db",
        [f"7: store {NEEDS_KEY}"],
        "store",
    ),
    "an unset variable": (
        "store: ${REDIS_URL}",
        ["7: store needs the environment variable REDIS_URL, which is not set"],
        "store",
    ),
    "an unset variable in a block": (
        "store:\n  url: ${REDIS_URL}\n  key_file: ${KEYS}",
        [
            "8: store.url needs the environment variable REDIS_URL, which is not set",
            "9: store.key_file needs the environment variable KEYS, which is not set",
        ],
        "url",
    ),
    "an invalid reference": (
        "store: redis://${REDIS HOST}",
        [
            (
                "7: store contains an invalid variable reference; write ${NAME}, "
                "${NAME:-default}, or $$ for a literal $"
            )
        ],
        "store",
    ),
    "a misspelled key": (
        "store:\n  urI: auto",
        ["8: store: unknown key 'urI'. Did you mean 'url'?"],
        "urI",
    ),
    "an unknown key": (
        "store:\n  url: auto\n  ttl: 5",
        ["9: store: unknown key 'ttl'"],
        "ttl",
    ),
    "a duplicate key": (
        "store:\n  url: auto\n  url: auto",
        ["9: store: duplicate key 'url'"],
        "url",
    ),
    "a duplicate section": ("store: auto\nstore: auto", ["8: duplicate key 'store'"], "store"),
    "an empty block": (
        "store: {}",
        ["7: store.url is missing. Set it, such as redis://host:6379/0 or auto"],
        "url",
    ),
    "no url": (
        "store:\n  timeout_seconds: 1",
        ["7: store.url is missing. Set it, such as redis://host:6379/0 or auto"],
        "url",
    ),
    "url without a value": (
        "store:\n  url:",
        ["8: store.url has no value. Set it, or remove the key"],
        "url",
    ),
    "url of the wrong type": (
        "store:\n  url: 5",
        ["8: store.url must be a string, not int"],
        "url",
    ),
    "store in the block": (
        "store:\n  store: auto",
        ["8: store.store must be a TokenStore, not str. Set url instead"],
        "store",
    ),
    "a URL that the engine rejects": (
        f"store:\n  url: redis://:{PASSWORD}@invalid\n  encrypt: false",
        ["8: store.url is not like redis://host:6379/0"],
        "url",
    ),
    "a missing key file": (
        "store:\n  url: auto\n  key_file: nowhere",
        [
            (
                "9: store.key_file is not usable: DIRECTORY/nowhere can't be read: No such file or "
                "directory. Create it with: tokenkeeper store new-key"
            )
        ],
        "key_file",
    ),
    "an invalid key file": (
        "store:\n  url: auto\n  key_file: tokens.yaml",
        [
            (
                "9: store.key_file is not usable: DIRECTORY/tokens.yaml, line 1: the key 'oauth2' "
                "has 0 bytes, and needs 32. Create a line with: tokenkeeper store new-key"
            )
        ],
        "key_file",
    ),
    "key file of the wrong type": (
        "store:\n  url: auto\n  key_file: [keys]",
        ["9: store.key_file must be a string, not list"],
        "key_file",
    ),
    "a key, not encrypted": (
        "store:\n  url: auto\n  key_file: keys\n  encrypt: no",
        ["10: store.encrypt is false, but key_file is set. Remove one of them"],
        "encrypt",
    ),
    "encrypt without a key": (
        "store:\n  url: auto\n  encrypt: yes",
        ["9: store.encrypt is true, which needs a key. Set key_file"],
        "encrypt",
    ),
    "encrypt of the wrong type": (
        "store:\n  url: auto\n  encrypt: aes",
        ["9: store.encrypt must be true or false, not str"],
        "encrypt",
    ),
    "no time": (
        "store:\n  url: auto\n  timeout_seconds: 0",
        [f"9: {SECONDS}"],
        "timeout_seconds",
    ),
    "a time with its unit": (
        "store:\n  url: auto\n  timeout_seconds: 1s",
        [f"9: {SECONDS}"],
        "timeout_seconds",
    ),
    "endless time": (
        "store:\n  url: auto\n  timeout_seconds: .inf",
        [f"9: {SECONDS}"],
        "timeout_seconds",
    ),
    "when": (
        "store:\n  url: auto\n  when_unavailable: fail",
        ["9: store.when_unavailable must be 'alone' or 'wait'"],
        "when_unavailable",
    ),
    "nearly": (
        "store:\n  url: auto\n  when_unavailable: Alone",
        ["9: store.when_unavailable must be 'alone' or 'wait'"],
        "when_unavailable",
    ),
    "detached of the wrong type": (
        "store:\n  url: auto\n  detached: 5",
        ["9: store.detached must be true or false, not int"],
        "detached",
    ),
    "several": (
        "store:\n  url: auto\n  detached: 5\n  timeout_seconds: -1\n  ttl: 1\n",
        [
            "9: store.detached must be true or false, not int",
            f"10: {SECONDS}",
            "11: store: unknown key 'ttl'",
        ],
        "detached",
    ),
}


@pytest.mark.parametrize(("lines", "expected", "field"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_in_a_file(file, lines, expected, field, tmp_path):
    """Each mistake has its line and key, and no password."""
    with pytest.raises(InvalidConfigurationError) as raised:
        configured(file(lines))
    found = [each.replace(str(tmp_path), "DIRECTORY") for each in raised.value.problems]
    assert found == [f"tokens.yaml, line {each}" for each in expected]
    assert raised.value.field == field
    assert PASSWORD not in str(raised.value)


def test_mistakes_of_providers_and_store_come_together(write):
    """All mistakes of a file are reported at once, in its order."""
    path = write("store:\n  urll: auto\n" + PROVIDER.replace("client_id: worker", "client_id: 5"))
    with pytest.raises(InvalidConfigurationError) as raised:
        configured(path)
    assert raised.value.problems == (
        "tokens.yaml, line 2: store: unknown key 'urll'. Did you mean 'url'?",
        "tokens.yaml, line 6: oauth2.client_id must be a string. Put it in quotes",
    )


def test_mistakes_in_a_mapping():
    """In a mapping there are no lines, and the keys are named."""
    with pytest.raises(InvalidConfigurationError) as raised:
        configured(mapping({"url": "auto", "detached": "maybe", 5: 5}))
    assert sorted(raised.value.problems) == [
        "configuration: store.detached must be true or false, not str",
        "configuration: store: unknown key '5'",
    ]


def test_mapping_that_contains_itself():
    """A mapping that contains itself is rejected instead of being read for ever."""
    content = {"url": "auto"}
    content["key_file"] = content
    with pytest.raises(InvalidConfigurationError, match="configuration: store can't be read"):
        configured(mapping(content))


def test_huge_alias_is_rejected(write):
    """A few aliases that expand to billions of values are rejected, as among providers."""
    lines = ["store:", "  a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for name, before in zip("bcdefghi", "abcdefgh", strict=True):
        lines.append(f"  {name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    with pytest.raises(InvalidConfigurationError, match="is too large"):
        configured(write(PROVIDER + "\n".join(lines)))


ENVIRONMENT_MISTAKES = {
    "an unknown scheme": (
        {"TOKENKEEPER_STORE": f"rediz://:{PASSWORD}@host"},
        "TOKENKEEPER_STORE has the unknown scheme 'rediz'. Did you mean 'redis://'?",
        "TOKENKEEPER_STORE",
    ),
    "no key": (
        {"TOKENKEEPER_STORE": f"redis://:{PASSWORD}@host"},
        (
            "TOKENKEEPER_STORE needs a key, because others may read the store. Set "
            "TOKENKEEPER_STORE_KEY_FILE to a key file (create one with: tokenkeeper store new-key)"
        ),
        "TOKENKEEPER_STORE",
    ),
    "an empty key file": (
        {"TOKENKEEPER_STORE": "redis://host", "TOKENKEEPER_STORE_KEY_FILE": " "},
        (
            "TOKENKEEPER_STORE needs a key, because others may read the store. Set "
            "TOKENKEEPER_STORE_KEY_FILE to a key file (create one with: tokenkeeper store new-key)"
        ),
        "TOKENKEEPER_STORE",
    ),
    "a missing key file": (
        {"TOKENKEEPER_STORE": "auto", "TOKENKEEPER_STORE_KEY_FILE": "/nowhere/keys"},
        (
            "TOKENKEEPER_STORE_KEY_FILE is not usable: /nowhere/keys can't be read: No such file "
            "or directory. Create it with: tokenkeeper store new-key"
        ),
        "TOKENKEEPER_STORE_KEY_FILE",
    ),
    "a URL that the engine rejects": (
        {"TOKENKEEPER_STORE": "sqlite:///invalid"},
        "TOKENKEEPER_STORE is not like redis://host:6379/0",
        "TOKENKEEPER_STORE",
    ),
    "not UTF-8": (
        {"TOKENKEEPER_STORE": "redis://h\udcff"},
        "TOKENKEEPER_STORE contains a byte that is not UTF-8. Check where it comes from",
        "TOKENKEEPER_STORE",
    ),
}


@pytest.mark.parametrize(
    ("variables", "expected", "field"), ENVIRONMENT_MISTAKES.values(), ids=ENVIRONMENT_MISTAKES
)
def test_mistakes_in_the_environment(file, variables, expected, field):
    """A mistake in a variable names the variable."""
    with pytest.raises(InvalidConfigurationError) as raised:
        Discovery(file(), variables | {"API_SECRET": "s"}).specs()
    assert (str(raised.value), raised.value.field) == (expected, field)


# ---- the command, warnings, and reload


def check(path):
    """Return what ``tokenkeeper config check`` reports as JSON."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = CliRunner().invoke(cli, ["config", "check", str(path), "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_command_reports_mistakes_of_the_store(file):
    """``config check`` reports what is wrong with the store, beside the providers, with exit 2."""
    code, content = check(file("store:\n  url: auto\n  detached: 5\n"))
    assert code == 2
    assert content["problems"] == [
        "tokens.yaml, line 9: store.detached must be true or false, not int"
    ]
    result = CliRunner().invoke(cli, ["config", "check", str(file("store: rediz://h\n"))])
    assert result.exit_code == 2
    assert "line 7: store has the unknown scheme 'rediz'" in result.output


def test_command_accepts_a_valid_store(file, key_file):
    """A valid store is accepted, and not opened."""
    code, content = check(file("store:\n  url: redis://host\n  key_file: keys\n"))
    assert (code, content["providers"], content["problems"]) == (0, ["api"], [])


def test_password_in_clear_is_reported(file):
    """A password in the file is reported with its line, without showing it."""
    in_clear = "contains a password in clear: take it from a variable, ${NAME}"
    for lines, place in (
        (f"store: rediss://u:{PASSWORD}@host\n", "line 7: store"),
        (f"store:\n  url: redis://:{PASSWORD}@host\n  encrypt: no\n", "line 8: store.url"),
        ("store: redis://:${P:-hunter2}@host\n", "line 7: store"),
        (f"store: postgresql://host/db?password={PASSWORD}\n", "line 7: store"),
    ):
        found = Discovery(file(lines)).find_store()
        assert found.warnings == (f"tokens.yaml, {place} {in_clear}",)
        _, content = check(file(lines))
        assert found.warnings[0] in content["warnings"]


def test_custody_is_examined_as_well(open_directory, write):
    """A password in clear and an open key file are reported for the custody of a provider, too."""
    create_key_file(open_directory / "keys")
    (open_directory / "keys").chmod(0o644)
    block = "  provider_name: b\n  provider_type: generic\n  client_id: c\n"
    block += "  token_endpoint_auth_method: none\n  issuer: https://x.test\n"
    block += "  grant: device_code\n"
    in_clear = "is written in clear: take it from a variable, ${NAME}"
    for lines, place in (
        (f"  custody: redis://:{PASSWORD}@host\n", "line 8: oauth2.custody"),
        (f"  custody:\n    url: redis://:{PASSWORD}@host\n", "line 9: oauth2.custody.url"),
    ):
        (found,) = Discovery(write(f"oauth2:\n{block}{lines}")).find()
        assert found.warnings == (f"tokens.yaml, {place} {in_clear}",)
    lines = "  custody:\n    url: redis://:${P}@host\n    key_file: keys\n"
    (found,) = Discovery(write(f"oauth2:\n{block}{lines}", directory=open_directory)).find()
    assert found.warnings == (
        "keys contains a secret and is readable by every user. Run: chmod o-r keys",
    )


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "redis://user@host",
        "redis://u:${P}@host",
        "${REDIS_URL}",
        "sqlite:////a:b@c/d.db",
        "postgresql://host/db?password=${P}",
    ],
)
def test_url_without_a_password_is_not_reported(file, url):
    """A password from a variable is fine, and so is a URL without one."""
    assert Discovery(file(f"store: {url}\n")).find_store().warnings == ()


def test_key_file_that_all_can_read_is_reported(open_directory, write, environment):
    """A key file that every user can read is reported, from a file and from the environment."""
    create_key_file(open_directory / "keys")
    (open_directory / "keys").chmod(0o644)
    lines = "store:\n  url: auto\n  key_file: keys\n"
    expected = "keys contains a secret and is readable by every user. Run: chmod o-r keys"
    path = write(PROVIDER + lines, directory=open_directory)
    with pytest.warns(ConfigurationWarning) as warned:
        configured(path)
    assert [str(each.message) for each in warned] == [expected]
    environment.setenv("TOKENKEEPER_STORE", "auto")
    environment.setenv("TOKENKEEPER_STORE_KEY_FILE", str(open_directory / "keys"))
    assert Discovery(write()).find_store().warnings == (expected,)


def test_changed_store_needs_a_restart(file, caplog, key_file):
    """A store that changed stays until a restart, which is logged once for each change."""
    path = file("store: auto\n")
    configuration = configured(path)
    caplog.set_level(logging.WARNING)
    configuration.reload()
    assert caplog.records == []
    file("store:\n  url: redis://host\n  key_file: keys\n")
    for _ in range(2):
        configuration.reload()
    assert [record.getMessage() for record in caplog.records] == [
        "the store of the configuration changed. Restart the process to use it"
    ]
    assert isinstance(configuration.store.sealer, Plain)
    file()
    configuration.reload()
    assert len(caplog.records) == 2
    file("store: auto\n")
    configuration.reload()
    assert len(caplog.records) == 2


def test_rotated_keys_need_no_restart(file, caplog, key_file):
    """A change in the key file is not a change of the store."""
    configuration = configured(file("store:\n  url: redis://host\n  key_file: keys\n"))
    rotate_key_file(Path(key_file))
    configuration.reload()
    assert caplog.records == []


def test_mistake_in_the_store_changes_nothing(file):
    """A reload with a mistake in the store is refused as a whole."""
    path = file("store: auto\n")
    configuration = configured(path)
    file("store: rediz://host\n")
    with pytest.raises(InvalidConfigurationError, match="unknown scheme"):
        configuration.reload()
    assert configuration.store is not None
