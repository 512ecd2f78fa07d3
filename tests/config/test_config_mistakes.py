"""All mistakes in a configuration at once, each with its place and what was expected."""

import json
import warnings

import pytest
from click.testing import CliRunner

from tokenkeeper import ConfigurationWarning, InvalidConfigurationError, TokenKeeper
from tokenkeeper.cli.group import cli

EXPECTED = """\
4: oauth2[0].client_id needs the environment variable AZURE_CLIENT_ID, which is not set
6: oauth2[0].client_secret_file can't be read: No such file or directory
7: oauth2[0].tenant_id must be a GUID or a domain
8: oauth2[0].authority must be an https:// host without a path: the tenant is appended
9: oauth2[1].client_secret is missing. Set it, or client_secret_file
11: oauth2[1].client_id must be a string. Put it in quotes
12: oauth2[1]: unknown key 'client_sercet' for provider_type 'generic'. Did you mean 'client_secret'?
13: oauth2[1].token_url must be https:// unless the host is loopback: it carries a secret
15: oauth2[1].scopes can't be combined with scope, which is the same setting
16: oauth2[1].read_timeout must be a valid number, unable to parse string as a number
17: oauth2[1].connect_timeout must be a number
18: oauth2[1].verify must be a string, not int
19: oauth2[1].additional_params must not override the grant's own parameter 'grant_type': set grant_type itself
20: oauth2[1].retry: unknown key 'atempts' for retry. Did you mean 'attempts'?
20: oauth2[1].retry.max_wait_seconds must be greater than or equal to 0
21: oauth2[1]: unknown key 'something_else' for provider_type 'generic'
22: oauth2[2].client_id is missing
22: oauth2[2].client_secret is missing. Set it, or client_secret_file
22: oauth2[2].provider_name is missing
22: oauth2[2].provider_type must be 'azure', 'azure_default', 'azure_managed_identity' or 'generic', or the path of a class, package.module:Class
23: oauth2[3] must be a block of keys and values
24: oauth2[4]: duplicate provider_name 'api'
32: oauth2[5].client_secret contains an invalid variable reference; write ${NAME}, ${NAME:-default}, or $$ for a literal $
"""  # noqa: E501


def mistakes(source):
    with pytest.raises(InvalidConfigurationError) as raised:
        TokenKeeper.from_config(source)
    assert "hunter2" not in str(raised.value)
    first, *lines = str(raised.value).split("\n  ")
    problems = list(raised.value.problems)
    assert [first, *lines] == problems[:1] or (
        (first, lines) == (f"{len(lines)} mistakes:", problems)
    )
    return list(raised.value.problems)


def test_all_in_one_go(write):
    """Each mistake is reported with line, key and what was expected."""
    path = write("""\
        oauth2:
          - provider_name: graph
            provider_type: azure
            client_id: ${AZURE_CLIENT_ID}
            client_secret: hunter2
            client_secret_file: nowhere
            tenant_id: not/a/tenant
            authority: https://login.example.com/tenant
          - provider_name: api
            provider_type: generic
            client_id: 5
            client_sercet: hunter2
            token_url: http://id.example.com/token
            scope: a
            scopes: [b, "c\\\\"]
            read_timeout: soon
            connect_timeout: yes
            verify: 3
            additional_params: {grant_type: password}
            retry: {atempts: 3, max_wait_seconds: -1}
            something_else: 1
          - provider_type: saml
          - just text
          - provider_name: api
            provider_type: generic
            client_id: worker
            client_secret: ${API_SECRET}
            token_url: https://id.example.com/token
          - provider_name: other
            provider_type: generic
            client_id: worker
            client_secret: ${API_SECRET
            token_url: https://id.example.com/token
        """)
    found = [problem.removeprefix("tokens.yaml, line ") for problem in mistakes(path)]
    assert found == EXPECTED.splitlines()


def test_a_name_that_is_taken(write):
    """The second of two providers with the same name is the mistake."""
    block = {
        "provider_name": "api",
        "provider_type": "generic",
        "client_id": "worker",
        "client_secret": "s",
        "token_url": "https://id.example.com/token",
    }
    assert mistakes({"oauth2": [block, block]}) == [
        "configuration: oauth2[1]: duplicate provider_name 'api'"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "tokens.yaml has no providers under the key 'oauth2'"),
        ("oauth: {}", "tokens.yaml has no providers under the key 'oauth2'"),
        ("- a", "tokens.yaml has no providers under the key 'oauth2'"),
        ("oauth2: [", "tokens.yaml is not YAML (line 1): expected the node content"),
        ("oauth2:\n  a: *hunter2", "tokens.yaml is not YAML (line 2): found undefined alias ..."),
        ("oauth2: !!python/object:os.system {}", "tokens.yaml is not YAML (line 1): could not"),
    ],
)
def test_files_that_say_nothing(write, text, problem):
    """A file that is not YAML, or has no block for us, is reported without its content."""
    (found,) = mistakes(write(text))
    assert found.startswith(problem)


def test_files_that_can_not_be_read(write, tmp_path):
    """A file that is missing or has another encoding is named."""
    assert mistakes(tmp_path / "none.yaml") == [
        "none.yaml can't be read: No such file or directory"
    ]
    (tmp_path / "latin.yaml").write_bytes("oauth2: ü".encode("latin-1"))
    assert mistakes(tmp_path / "latin.yaml") == ["latin.yaml can't be read: it is not UTF-8"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "names an empty file"),
        (" \n", "names an empty file"),
        (
            "two\nlines\n",
            "names a file that does not contain a valid secret: it contains a control character",
        ),
        ("s" * 1024**2 + "s", "can't be read: it is larger than 1048576 bytes"),
    ],
    ids=["empty", "blank", "two lines", "long"],
)
def test_a_secret_file_that_can_be_none(write, value, words):
    """A secret file that is empty, too long or has several lines is reported with its place."""
    write(value, name="secret")
    path = write("""\
        oauth2:
          provider_name: api
          provider_type: generic
          client_id: worker
          client_secret_file: secret
          token_url: https://id.example.com/token
        """)
    (found,) = mistakes(path)
    assert found.startswith(f"tokens.yaml, line 5: oauth2.client_secret_file {words}")


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        (
            {"provider_type": None, "provider_typ": "generic", "scope": {"read": None}},
            [
                ": unknown key 'provider_typ' for a provider. Did you mean 'provider_type'?",
                "provider_type is missing: it must be 'azure', 'azure_default', 'az",
                "scope must be a string or a list of strings, not dict",
            ],
        ),
        ({"tenant_id": "t"}, [": key 'tenant_id' is only valid for provider_type 'azure'"]),
        ({"client_id": None}, ["client_id has no value"]),
        ({"scope": [None]}, ["scope must contain only strings, not NoneType"]),
        ({"retry": {"attempts": 0}}, ["retry.attempts must be greater than or equal to 1"]),
        (
            {"retry": {"total_seconds": float("inf")}},
            ["retry.total_seconds must be a finite number"],
        ),
        ({"total_timeout": 0}, ["total_timeout must be greater than 0"]),
        ({"read_timeout": 1e300}, ["read_timeout must be a number of seconds, more than 0"]),
        ({"buffer_seconds": -1}, ["buffer_seconds must be greater than or equal"]),
        ({"verify": "none.pem"}, ["verify names a file of CA certificates that does not exist"]),
        ({"form_encode_credentials": "perhaps"}, ["form_encode_credentials must be true or false"]),
        (
            {"client_id": "a:b", "form_encode_credentials": "${NOT_SET:-false}"},
            ["client_id must not contain a colon if it is not form-encoded"],
        ),
        (
            {"client_id": "${NOT_SET}${NOR_THIS}"},
            ["client_id needs the environment variable NOT_SET, which is not set and the env"],
        ),
        (
            {"client_id": "${A:-${B:-c}}"},
            ["client_id contains an invalid variable reference"],
        ),
    ],
)
def test_single_mistakes(changes, problems):
    """Each mistake is reported with its key and what was expected."""
    block = {
        "provider_name": "api",
        "provider_type": "generic",
        "client_id": "worker",
        "client_secret": "hunter2",
        "token_url": "https://id.example.com/token",
        **changes,
    }
    found = mistakes({"oauth2": (block,)})
    assert len(found) == len(problems)
    for line, words in zip(found, problems, strict=True):
        separator = "" if words.startswith(":") else "."
        assert line.startswith(f"configuration: oauth2[0]{separator}{words}")


BROKEN = """\
oauth2:
  - provider_name: one
    provider_type: generic
    client_id: a
    client_id: b
    client_secret: hunter2
    token_url: http://id.example.com/token
  - provider_name: one
    provider_type: generic
    client_secret: ${NOT_SET}
    retry: {attempts: 1, attempts: 0}
    token_url: https://id.example.com/token?api_key=hunter2
  - provider_name: two
    provider_type: generic
    client_id: c
    client_secret: hunter2
    token_url: https://id.example.com/token
"""

BROKEN_LINES = """\
tokens.yaml, line 5: oauth2[0]: duplicate key 'client_id'
tokens.yaml, line 7: oauth2[0].token_url must be https:// unless the host is loopback: it carries\
 a secret
tokens.yaml, line 8: oauth2[1].client_id is missing
tokens.yaml, line 8: oauth2[1]: duplicate provider_name 'one'
tokens.yaml, line 10: oauth2[1].client_secret needs the environment variable NOT_SET, which is not\
 set
tokens.yaml, line 11: oauth2[1].retry: duplicate key 'attempts'
tokens.yaml, line 11: oauth2[1].retry.attempts must be greater than or equal to 1
"""


def test_duplicates_and_warnings_beside_mistakes(write):
    """Duplicate keys, duplicate names and warnings are reported beside other mistakes."""
    with pytest.warns(ConfigurationWarning) as warned:
        found = mistakes(write(BROKEN))
    assert found == BROKEN_LINES.splitlines()
    places = [str(each.message).partition(":")[0] for each in warned]
    assert places == ["tokens.yaml, line 6", "tokens.yaml, line 12", "tokens.yaml, line 16"]


def test_a_mistake_counts_for_more_than_a_warning(write):
    """Mistakes are raised even if warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mistakes(write(BROKEN)) == BROKEN_LINES.splitlines()


def test_the_command_tells_them_one_a_line(write):
    """`config check` prints each mistake and each warning on a line, in the file's order."""
    path = str(write(BROKEN))
    result = CliRunner().invoke(cli, ["config", "check", path])
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("Warning: ")] == lines[:3]
    first, *rest = BROKEN_LINES.splitlines()
    assert lines[3:] == [f"Error: {first}", *(f"  {line}" for line in rest)]
    content = json.loads(CliRunner().invoke(cli, ["config", "check", path, "--json"]).stdout)
    assert content["problems"] == BROKEN_LINES.splitlines()
    assert len(content["warnings"]) == 3
