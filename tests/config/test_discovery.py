"""The one place that finds out what a file, a mapping or the environment describes."""

import os

import pytest

from tokenkeeper import (
    AzureADProvider,
    ConfigurationWarning,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    UnknownProviderError,
)
from tokenkeeper.config.discovery import CONFIG_VARIABLE, Discovery, warn_about

OAUTH2 = {
    "OAUTH2_CLIENT_ID": "worker",
    "OAUTH2_CLIENT_SECRET": "hunter2",
    "OAUTH2_TOKEN_URL": "https://id.example.com/token",
}
AZURE = {
    "AZURE_CLIENT_ID": "worker",
    "AZURE_CLIENT_SECRET": "hunter2",
    "AZURE_TENANT_ID": "contoso.example",
}
FILE = """\
oauth2:
  - provider_name: first
    provider_type: generic
    client_id: ${ID}
    client_secret_file: secret
    token_url: ${URL:-https://id.example.com/token}
  - provider_name: second
    provider_type: azure
    client_id: a
    client_secret: hunter2
    tenant_id: contoso.example
  - provider_type: generic
"""


@pytest.fixture
def file(write):
    """Write a file with a valid provider, one with a secret in clear, and one without a name."""
    write("mounted\n", name="secret")
    return write(FILE)


def names(found):
    return [each.name for each in found]


class TestFile:
    """A YAML file."""

    def test_all(self, file):
        """Each block is found in its order, valid or not, without a warning."""
        first, second, third = Discovery(file, {"ID": "a"}).find()
        assert names([first, second, third]) == ["first", "second", "oauth2[2]"]
        assert (first.variables, first.secret_file) == (("ID", "URL"), "secret")
        assert (first.spec.provider_type, first.spec.secrets) == ("generic", ["mounted"])
        assert not first.warnings
        (warning,) = second.warnings
        assert warning.startswith("tokens.yaml, line 10: oauth2[1].client_secret is written")
        assert third.spec is None
        fields = ["client_id", "client_secret", "provider_name", "token_url"]
        assert [each.field for each in third.problems] == fields
        assert str(third.problems[0]) == "tokens.yaml, line 12: oauth2[2].client_id is missing"

    def test_problems_of_one_provider(self, file):
        """A problem has its text, key, line and path, and does not affect other providers."""
        first, second, _ = Discovery(file, {}).find()
        (problem,) = first.problems
        assert "needs the environment variable ID, which is not set" in problem.text
        assert (problem.field, problem.line) == ("client_id", 4)
        assert problem.path == ("oauth2", 0, "client_id")
        assert second.spec is not None

    def test_names(self, file):
        """Providers can be selected by name; an unknown name is an error with a suggestion."""
        discovery = Discovery(file, {"ID": "a"})
        assert names(discovery.find(["second", "first", "second"])) == ["first", "second"]
        with pytest.raises(UnknownProviderError, match="no provider 'secnd'"):
            discovery.find(["secnd"])

    def test_specs(self, file, write):
        """A keeper gets all specs or one error with every problem, and the warnings."""
        discovery = Discovery(file, {"ID": "a"})
        with (
            pytest.warns(ConfigurationWarning, match="written in clear"),
            pytest.raises(InvalidConfigurationError) as raised,
        ):
            discovery.specs()
        assert all("oauth2[2]" in problem for problem in raised.value.problems)
        write(FILE.replace("  - provider_type: generic\n", ""))
        with pytest.warns(ConfigurationWarning, match="written in clear"):
            specs = discovery.specs()
        assert type(specs["first"].make_provider()) is GenericOAuth2Provider
        assert type(specs["second"].make_provider()) is AzureADProvider

    def test_a_relative_path(self, file, monkeypatch):
        """A relative path begins where the discovery was made."""
        monkeypatch.chdir(file.parent)
        discovery = Discovery(file.name, {"ID": "a"})
        monkeypatch.chdir("/")
        assert names(discovery.find())[0] == "first"


class TestEnvironment:
    """Variables of clients."""

    @pytest.mark.parametrize(
        ("environment", "expected"),
        [
            (OAUTH2, {"oauth2": True}),
            (AZURE, {"azure": True}),
            (OAUTH2 | AZURE, {"azure": True, "oauth2": True}),
            (OAUTH2 | {"AZURE_CLIENT_ID": "a"}, {"oauth2": True}),
            (
                {"AZURE_CLIENT_ID": "a", "OAUTH2_CLIENT_ID": "b"},
                {"azure": False, "oauth2": False},
            ),
            ({}, {"oauth2": False}),
        ],
    )
    def test_all(self, environment, expected):
        """Complete clients are found; incomplete ones only if no other is complete."""
        found = Discovery(None, environment).find()
        assert {each.name: each.spec is not None for each in found} == expected
        assert all(bool(each.problems) is (each.spec is None) for each in found)

    def test_names(self):
        """A client takes any name, and each name has its own result."""
        one, azure = Discovery(None, OAUTH2 | {"AZURE_CLIENT_ID": "a"}).find(["one", "azure"])
        assert (one.name, one.spec.provider_name, one.spec.provider_type) == (
            "one",
            "one",
            "generic",
        )
        assert "AZURE_CLIENT_SECRET and AZURE_TENANT_ID are not set" in str(azure.problems[0])

    def test_variables(self):
        """A client names the variables of its family; a missing one those of both."""
        (found,) = Discovery(None, AZURE).find()
        assert {*AZURE, "AZURE_AUTHORITY_HOST", "AZURE_SCOPE"} <= {*found.variables}
        assert not {*OAUTH2} & {*found.variables}
        (found,) = Discovery(None, {}).find()
        assert {*AZURE, *OAUTH2} <= {*found.variables}

    def test_repr_has_no_secret(self):
        """What is shown of a client does not have its secret."""
        (found,) = Discovery(None, OAUTH2).find()
        assert found.spec.secrets == ["hunter2"]
        assert "hunter2" not in repr(found) + repr(found.spec)

    def test_a_secret_file(self, write):
        """The file of a secret is named, and reported if every user can read it."""
        file = write("mounted\n", name="secret")
        environment = {**OAUTH2, "OAUTH2_CLIENT_SECRET_FILE": str(file)}
        del environment["OAUTH2_CLIENT_SECRET"]
        (found,) = Discovery(None, environment).find()
        assert (found.spec.secrets, found.secret_file) == (["mounted"], str(file))


def test_a_file_takes_precedence(file):
    """``from_env`` reads the file that the environment names, and else the environment."""
    assert Discovery.from_env(OAUTH2).path is None
    discovery = Discovery.from_env(OAUTH2 | {CONFIG_VARIABLE: str(file), "ID": "a"})
    assert discovery.path == file
    assert names(discovery.find())[0] == "first"
    assert names(Discovery.from_env(OAUTH2 | {CONFIG_VARIABLE: ""}).find()) == ["oauth2"]


def test_a_mapping(environment):
    """A mapping is read like a file, and unknown names are reported without a file's name."""
    block = {"provider_name": "api", "provider_type": "azure", "client_id": "a", "tenant_id": "t"}
    discovery = Discovery.from_config({"oauth2": block | {"client_secret": "hunter2"}})
    assert discovery.path is None
    (found,) = discovery.find()
    assert (found.name, found.problems, found.warnings) == ("api", (), ())
    with pytest.raises(UnknownProviderError, match="the configuration describes no provider 'b'"):
        discovery.find(["b"])


@pytest.mark.parametrize("given", [None, "", 5, ["a"], b"bytes"])
def test_no_configuration(given):
    """A value that is neither a path nor a mapping is rejected."""
    with pytest.raises(InvalidConfigurationError, match="must be the path of a file or a mapping"):
        Discovery.from_config(given)


def test_warnings(file):
    """Warnings are emitted on request only, in their order."""
    found = Discovery(file, {"ID": "a"}).find()
    with pytest.warns(ConfigurationWarning) as emitted:
        warn_about(found)
    expected = [warning for each in found for warning in each.warnings]
    assert [str(each.message) for each in emitted] == expected


@pytest.mark.skipif(os.name != "posix", reason="a working directory can't be removed")
def test_a_removed_working_directory(tmp_path, monkeypatch):
    """A working directory that no longer exists does not matter for the environment."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert names(Discovery(None, OAUTH2).find()) == ["oauth2"]
