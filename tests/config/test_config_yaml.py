"""YAML in practice: merge keys, other sections, and common mistakes."""

import os
import threading

import pytest
from kit import internals

from tokenkeeper import InvalidConfigurationError, TokenKeeper
from tokenkeeper.config.document import read_document

SHARED = """\
defaults: &defaults
  provider_type: generic
  client_id: shared
  client_secret: ${API_SECRET}
  token_url: https://id.example.com/token
"""


def mistake(source):
    """Return the only mistake of a configuration."""
    with pytest.raises(InvalidConfigurationError) as raised:
        TokenKeeper.from_config(source)
    assert "hunter2" not in str(raised.value)
    (problem,) = raised.value.problems or (str(raised.value),)
    return problem


def client_ids(path):
    """Return the client identifiers by provider name."""
    with TokenKeeper.from_config(path) as keeper:
        names = keeper.list_providers()
        made = [internals.configured_provider(keeper, name) for name in names]
    return {name: provider._config.client_id for name, provider in zip(names, made, strict=True)}


def test_merge_keys(write):
    """Blocks share settings with merge keys and can override them."""
    path = write(f"""{SHARED}
oauth2:
  - {{<<: *defaults, provider_name: one}}
  - {{<<: *defaults, provider_name: two, client_id: own}}
""")
    assert client_ids(path) == {"one": "shared", "two": "own"}


def test_a_mistake_in_what_is_shared(write):
    """A mistake in a shared part is reported for its block, with its own line."""
    text = SHARED.replace("https:", "ftp:") + "oauth2:\n  - {<<: *defaults, provider_name: one}\n"
    assert mistake(write(text)).startswith("tokens.yaml, line 5: oauth2[0].token_url must be")


@pytest.mark.parametrize(
    "others",
    [
        "key: {is: there, 'is': twice}",
        "date: 2024-99-99",
        "vault: !vault {some: thing}",
        "{a: mapping}: {as: key}",
        "1: one\nnull: none",
        "itself: &itself [*itself]",
    ],
)
def test_what_is_not_ours(write, others):
    """Other top-level keys are ignored, whatever they contain."""
    block = SHARED.replace("defaults: &defaults", "oauth2:\n  provider_name: api")
    assert client_ids(write(f"{others}\n{block}")) == {"api": "shared"}


@pytest.mark.parametrize("bytes_", [b"\xef\xbb\xbf%s", b"%s...\n", b"---\n%s"])
def test_how_files_begin_and_end(write, bytes_):
    """A BOM, document markers and other line ends are accepted."""
    text = SHARED.replace("defaults: &defaults", "oauth2:\n  provider_name: api").encode()
    path = write()
    for line_end in (b"\n", b"\r\n"):
        path.write_bytes((bytes_ % text).replace(b"\n", line_end))
        assert client_ids(path) == {"api": "shared"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("oauth2: {}\noauth2: {}", ", line 2: duplicate key 'oauth2'"),
        ("oauth2:\n  - &a [*a]", " is not YAML (line 2): an alias refers to itself"),
        ("oauth2:\n  n: !!int hunter2", " is not YAML (line 2): a value is not a valid int"),
        ("oauth2:\n  n: 2024-99-99", " is not YAML (line 2): a value is not a valid timestamp"),
        ("oauth2:\n\tn: 1", r" is not YAML (line 2): found character '\t' that cannot start"),
        ("oauth2: {}\n---\na: 1", " is not YAML (line 2): it contains a second document (---)"),
        ("oauth2:\n  n: a\x07", " is not YAML (line 2): a character can't be printed"),
        ("oauth2: " + 5000 * "[", " is nested too deeply"),
        (
            "oauth: {}",
            " has no providers under the key 'oauth2'. Is the key 'oauth' meant?",
        ),
        (
            "a: 1\nOAuth2: {}",
            " has no providers under the key 'oauth2'. Is the key",
        ),
    ],
)
def test_what_goes_wrong(write, text, words):
    """The message has the line, but not the content."""
    assert mistake(write(text)).startswith(f"tokens.yaml{words}")


def test_a_key_that_is_no_string(write):
    """A key that YAML reads as a number is an unknown key, with its line."""
    with pytest.raises(InvalidConfigurationError) as raised:
        TokenKeeper.from_config(write("oauth2:\n  - provider_type: azure\n    1: x\n"))
    assert "tokens.yaml, line 3: oauth2[0]: unknown key '1' for provider_type 'azure'" in (
        raised.value.problems
    )


@pytest.mark.parametrize("source", [None, "", 5, ["a list"], b"bytes"])
def test_what_is_no_configuration(source):
    """A source that is neither a path nor a mapping, such as an unset variable, is our error."""
    assert mistake(source).startswith(
        "a configuration must be the path of a file or a mapping, not"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe(tmp_path, write):
    """A pipe is rejected at once, as a file and as a secret, without waiting for its writer."""
    os.mkfifo(tmp_path / "pipe")
    found = []

    def read():
        found.append(mistake(tmp_path / "pipe"))
        found.append(
            mistake(
                write(
                    SHARED.replace("defaults: &defaults", "oauth2:\n  provider_name: api").replace(
                        "client_secret: ${API_SECRET}", "client_secret_file: pipe"
                    )
                )
            )
        )

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(30)
    assert found == [
        "pipe can't be read: it is not a regular file",
        "tokens.yaml, line 5: oauth2.client_secret_file can't be read: it is not a regular file",
    ]


def test_a_file_that_is_still_the_same(write):
    """An unchanged file is not parsed again."""
    path = write()
    before = read_document(path)
    assert read_document(path, before) is before
    after = read_document(write("oauth2: []"), before)
    assert after.content == {"oauth2": []}
