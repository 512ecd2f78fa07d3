"""What a configuration can contain, and the providers that it makes."""

import subprocess
import sys
import warnings

import pytest
from kit import internals

from tokenkeeper import (
    AzureADProvider,
    ConfigurationWarning,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2TokenManager,
    RetryPolicy,
    TokenKeeper,
)
from tokenkeeper.config.files import readable_by_all


def made_from(keeper, name):
    """Return the provider behind the registered one."""
    return internals.configured_provider(keeper, name)


def test_one_block(write):
    """One block under ``oauth2`` is one provider."""
    with TokenKeeper.from_config(write()) as keeper:
        assert keeper.list_providers() == ["api"]
        provider = made_from(keeper, "api")
        assert type(provider) is GenericOAuth2Provider
        assert provider._config.client_secret == "from-the-environment"


def test_a_list_of_blocks_with_every_key(write, environment, tmp_path):
    """A list makes one provider per block, with every option that providers have."""
    environment.setenv("READ", "7.5")
    (tmp_path / "secret").write_text("mounted\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "ca.pem").touch()
    path = write("""\
        other: {things: are, not: ours}
        oauth2:
          - provider_name: graph
            provider_type: azure
            client_id: 11111111-2222-3333-4444-555555555555
            client_secret_file: secret
            tenant_id: contoso.onmicrosoft.com
            scope: ["https://graph.microsoft.us/.default"]
            authority: login.microsoftonline.us
            buffer_seconds: 120
          - provider_name: api
            provider_type: generic
            client_id: worker
            client_secret: ${API_SECRET}
            token_url: https://id.example.com/token
            scope: read write
            additional_params: {audience: "https://api.example.com", resource: [a, b]}
            token_endpoint_auth_method: client_secret_post
            default_lifetime_seconds: 60
            connect_timeout: 1
            read_timeout: ${READ}
            total_timeout: 9
            verify: ca.pem
            retry: {attempts: 2, max_wait_seconds: 3}
        """)
    with TokenKeeper.from_config(path) as keeper:
        assert keeper.list_providers() == ["graph", "api"]
        graph, api = (made_from(keeper, name) for name in ("graph", "api"))
        assert type(graph) is AzureADProvider
        assert "mounted" in graph._credential.secrets()
        assert graph._authority == "https://login.microsoftonline.us"
        assert graph._scope == "https://graph.microsoft.us/.default"
        assert internals.provider(keeper, "graph").buffer_seconds == 120
        assert api._config.scope == "read write"
        assert dict(api._config.additional_params) == {
            "audience": "https://api.example.com",
            "resource": ("a", "b"),
        }
        transport = api._client.transport
        timeouts = transport._connect_timeout, transport._read_timeout, transport._total_timeout
        assert timeouts == (1, 7.5, 9)
        assert transport._verify == str(tmp_path / "ca.pem")
        registered = internals.provider(keeper)
        assert registered.retry == RetryPolicy(attempts=2, max_wait_seconds=3)
        # What the command line knows a token by, from one run to the next.
        assert '"resource":["a","b"]' in registered.spec.block.model_dump_json()


def test_a_file_in_the_home_directory(write, environment, tmp_path):
    """A path can begin with ``~``."""
    write()
    environment.setenv("HOME", str(tmp_path))
    environment.setenv("USERPROFILE", str(tmp_path))
    with TokenKeeper.from_config("~/tokens.yaml") as keeper:
        assert keeper.list_providers() == ["api"]


def test_a_mapping_does_as_well():
    """A mapping works like a file with the same content, but secrets in it cause no warning."""
    block = {
        "provider_name": "api",
        "provider_type": "generic",
        "client_id": "worker",
        "client_secret": "in memory",
        "token_url": "https://id.example.com/token",
        "scope": ("read", "write"),
    }
    with TokenKeeper.from_config({"oauth2": block}, max_workers=2) as keeper:
        assert made_from(keeper, "api")._config.scope == "read write"


@pytest.mark.anyio
async def test_the_async_front(write, anyio_backend):
    """A manager is made from a configuration, and reloads it, as a keeper does."""
    async with OAuth2TokenManager.from_config(write()) as manager:
        assert manager.list_providers() == ["api"]
        assert await manager.reload() == {"added": [], "changed": [], "removed": []}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${API_SECRET}", "from-the-environment"),
        ("a ${API_SECRET}/${API_SECRET}", "a from-the-environment/from-the-environment"),
        ("${NOT_SET:-a default: with $5}", "a default: with $5"),
        ("${EMPTY:-default}", "default"),
        ("${API_SECRET:-default}", "from-the-environment"),
        ("$${API_SECRET}", "${API_SECRET}"),
        ("cost: 5$", "cost: 5$"),
        ("$API_SECRET", "$API_SECRET"),
        ("${NOT_SET:-$$}", "$"),
    ],
)
def test_variables(write, environment, text, value):
    """``${NAME}``, ``${NAME:-default}`` and ``$$`` are replaced; other dollar signs are literal."""
    environment.setenv("EMPTY", "")
    block = {
        "provider_name": "api",
        "provider_type": "generic",
        "client_id": text,
        "client_secret": "s",
        "token_url": "https://id.example.com/token",
    }
    with TokenKeeper.from_config({"oauth2": block}) as keeper:
        assert made_from(keeper, "api")._config.client_id == value


@pytest.mark.parametrize("secret", ["hunter2", "${NAME:-hunter2}", "hunter2${API_SECRET}", "$$"])
def test_a_secret_in_clear(write, secret):
    """A secret in the file causes a warning with its place but without its value."""
    path = write(f"""\
        oauth2:
          provider_name: api
          provider_type: generic
          client_id: worker
          client_secret: "{secret}"
          token_url: https://id.example.com/token
        """)
    with pytest.warns(ConfigurationWarning) as warned, TokenKeeper.from_config(path):
        pass
    (message,) = [str(each.message) for each in warned]
    assert message.startswith("tokens.yaml, line 5: oauth2.client_secret is written in clear")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("additional_params: {audience: x, api_key: hunter2}", "additional_params.api_key"),
        ("additional_params: {password: '${P:-hunter2}'}", "additional_params.password"),
        ("additional_params: {passcode: ['${API_SECRET}', hunter2]}", "additional_params.passcode"),
        ("token_url: https://id.example.com/t?a=b&apikey=hunter2", "token_url"),
        ("token_url: 'https://id.example.com/t?apikey=${P:-hunter2}'", "token_url"),
        ("additional_params: {audience: x, password: '${API_SECRET}', api_key: ''}", None),
        ("token_url: 'https://id.example.com/t?a=b&apikey=${API_SECRET}'", None),
    ],
)
def test_other_secrets_in_clear(write, lines, key):
    """So does a secret parameter, recognized by its name, unless it comes from a variable."""
    url = "" if "token_url" in lines else "token_url: https://id.example.com/token"
    path = write(f"""\
        oauth2:
          provider_name: api
          provider_type: generic
          client_id: worker
          client_secret: ${{API_SECRET}}
          {lines}
          {url}
        """)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        TokenKeeper.from_config(path).close()
    found = [str(each.message) for each in warned]
    where = f"tokens.yaml, line 6: oauth2.{key} is written in clear: take it from a variable"
    assert [each.partition(", ${")[0] for each in found] == ([where] if key else [])


@pytest.mark.parametrize(
    "name", ["secret", "${DIRECTORY}/secret", "${NOT_SET:-./secret}", "~/secret"]
)
def test_files_that_others_can_read(write, environment, open_directory, name):
    """Only a file with a secret that every user can read causes a warning."""
    environment.setenv("DIRECTORY", str(open_directory))
    environment.setenv("HOME", str(open_directory))
    environment.setenv("USERPROFILE", str(open_directory))
    write("mounted", name="secret", mode=0o644, directory=open_directory)
    path = write(
        f"""\
        oauth2:
          provider_name: api
          provider_type: generic
          client_id: worker
          client_secret_file: {name}
          token_url: https://id.example.com/token
        """,
        mode=0o644,
        directory=open_directory,
    )
    with pytest.warns(ConfigurationWarning, match="^secret contains a secret and") as warned:
        TokenKeeper.from_config(path).close()
    assert len(warned) == 1


@pytest.mark.parametrize(
    ("modes", "by_a_link", "warned"),
    [
        ((0o755, 0o644), False, True),
        ((0o711, 0o444), False, True),
        ((0o755, 0o440), False, False),  # Kubernetes, with fsGroup
        ((0o700, 0o644), False, False),
        ((0o750, 0o644), False, False),
        ((0o700, 0o644), True, False),
        ((0o755, 0o644), True, True),
    ],
)
def test_a_closed_directory(open_directory, tmp_path, modes, by_a_link, warned):
    """A private directory protects the files in it, also if a link leads there."""
    above = open_directory / "above"
    (above / "below").mkdir(parents=True)
    secret = above / "below" / "secret"
    secret.write_text("mounted")
    place = secret
    if by_a_link:
        place = (open_directory if modes[0] == 0o700 else tmp_path) / "link"
        place.symlink_to(secret)
    secret.chmod(modes[1])
    above.chmod(modes[0])
    assert bool(list(readable_by_all(place))) is warned


def test_without_the_extra():
    """Without PyYAML or pydantic, the error names the extra to install."""
    for missing in ("yaml", "pydantic"):
        code = (
            f"import sys; sys.modules[{missing!r}] = None\n"
            "from tokenkeeper import TokenKeeper\n"
            "TokenKeeper.from_config({})"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "InvalidConfigurationError" in run.stderr
        assert 'pip install "tokenkeeper-oauth2[yaml]"' in run.stderr


def test_nothing_heavy_is_loaded_without_need():
    """A keeper without a configuration loads neither PyYAML nor pydantic."""
    code = "import sys; from tokenkeeper import TokenKeeper; TokenKeeper(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"yaml", "pydantic"} & set(run.stdout.split())


def test_a_keeper_made_by_hand_has_nothing_to_read_again():
    """``reload()`` of a keeper without a configuration is a clear error."""
    with TokenKeeper() as keeper, pytest.raises(InvalidConfigurationError, match="from_config"):
        keeper.reload()
