"""The public surface, what it costs to import, and who may import whom."""

import ast
import graphlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import tokenkeeper
import tokenkeeper.exceptions
import tokenkeeper.providers
from tokenkeeper.providers.base import BaseOAuth2Provider

PACKAGE = Path(tokenkeeper.__file__).parent

PUBLIC = {
    "AsyncAuthorization",
    "AsyncTokenSource",
    "Authorization",
    "AuthorizationCode",
    "AuthorizationRequiredError",
    "AzureADProvider",
    "AzureDefaultProvider",
    "AzurePipelinesToken",
    "BaseOAuth2Provider",
    "Ciba",
    "ClientAssertion",
    "ClientCredentials",
    "ClientSecretJwt",
    "ConfigurationWarning",
    "DPoPKey",
    "DeviceCode",
    "GenericOAuth2Provider",
    "GitHubActionsToken",
    "GoogleImpersonation",
    "GoogleProvider",
    "Grant",
    "Health",
    "InvalidConfigurationError",
    "JwtBearer",
    "KeeperClosedError",
    "ManagedIdentityProvider",
    "OAuth2Config",
    "OAuth2Error",
    "OAuth2Token",
    "OAuth2TokenManager",
    "Password",
    "PrivateKeyJwt",
    "ProviderHealth",
    "RefreshToken",
    "ReloadResult",
    "RetryPolicy",
    "Revocation",
    "SignedJwt",
    "SigningKey",
    "StoreHealth",
    "StoreUnavailableError",
    "TlsClientAuth",
    "TokenAcquisitionError",
    "TokenExchange",
    "TokenHealth",
    "TokenInfo",
    "TokenKeeper",
    "TokenName",
    "TokenParameters",
    "TokenRefreshError",
    "TokenRejectedError",
    "TokenSource",
    "TokenWaitTimeoutError",
    "UnknownProviderError",
    "__version__",
    "get_default_keeper",
    "get_default_manager",
    "get_default_source",
    "set_default_keeper",
}

# The layers of the package, lowest first. A module imports from its own layer or from below.
LAYERS = [
    {"_version", "oauth.error_codes", "oauth.phrases", "oauth.verdict"},
    {"clock", "events", "exceptions"},
    {"_runtime"},
    {"_support"},
    {"models", "names", "retry", "schedule"},
    {"oauth"},
    {"providers"},
    {"config", "stores"},
    {"_renewal"},
    {"source", "keeper", "authorization", "async_authorization", "manager"}
    | {"default", "default_source"},
    {"dashboard", "integrations"},
    {"testing"},
    {"doctor", "cli", "__main__", "_pyinstaller"},
]

OWN_LAYER = {"oauth.error_codes", "oauth.phrases", "oauth.verdict"}
"""Modules of ``oauth`` below the rest of it: the exceptions use the table of error codes."""

ON_DEMAND = {("keeper", "integrations"), ("source", "integrations")}
"""The imports that run up, inside a method: ``auth()`` is what users look for first."""


def test_public_names_are_pinned():
    """The package offers these names and no others, and each can be had."""
    assert set(tokenkeeper.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(tokenkeeper, name) is not None
    assert set(dir(tokenkeeper)) >= PUBLIC


def test_unknown_names_are_refused():
    """A name that is not there is an AttributeError that names it."""
    with pytest.raises(AttributeError, match="Nope"):
        _ = tokenkeeper.Nope
    with pytest.raises(AttributeError, match="Nope"):
        _ = tokenkeeper.providers.Nope


def test_second_homes():
    """Errors and providers are found in the modules of their kind as well."""
    assert tokenkeeper.OAuth2Error is tokenkeeper.exceptions.OAuth2Error
    for name in tokenkeeper.providers.__all__:
        assert getattr(tokenkeeper.providers, name) is getattr(tokenkeeper, name)
    assert tokenkeeper.BaseOAuth2Provider is BaseOAuth2Provider
    assert set(dir(tokenkeeper.providers)) >= set(tokenkeeper.providers.__all__)


def loaded_after(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after *code*."""
    code += "\nimport sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    return set(run.stdout.split())


def test_import_is_light():
    """Importing the package loads no library but itself."""
    heavy = {"requests", "msal", "anyio", "tenacity", "cachetools", "asyncio", "concurrent.futures"}
    assert not loaded_after("import tokenkeeper") & heavy


def test_the_core_loads_neither_http_nor_an_event_loop():
    """A keeper and a custom blocking provider don't import requests, msal, anyio or asyncio."""
    loaded = loaded_after("from tokenkeeper import TokenKeeper, BaseOAuth2Provider; TokenKeeper()")
    assert not loaded & {"requests", "msal", "anyio", "asyncio", "trio", "click", "rich"}


def test_azure_loads_msal_at_first_use():
    """Registering an Azure provider does not load msal, which is slow."""
    code = "from tokenkeeper import AzureADProvider; AzureADProvider('a', 'id', 's', 'tenant')"
    assert "msal" not in loaded_after(code)


FIRST_TOKEN = """
from tokenkeeper import RetryPolicy, TokenKeeper
from tokenkeeper.testing import LoopbackAuthorizationServer
retry = RetryPolicy(initial_wait_seconds=0)
with LoopbackAuthorizationServer() as server, TokenKeeper(retry=retry) as keeper:
    keeper.add_provider(server.provider("api"))
    {}
    keeper.get_token("api")
"""


def test_a_token_without_a_failure_loads_no_tenacity():
    """The engine for retries is loaded after a first attempt that failed, and not before."""
    assert "tenacity" not in loaded_after(FIRST_TOKEN.format(""))
    fails_once = "server.refuse('temporarily_unavailable')"
    assert "tenacity" in loaded_after(FIRST_TOKEN.format(fails_once))


def imports_of(path: Path) -> set[str]:
    """Return the parts of the package that *path* imports, type checking apart."""
    tree = ast.parse(path.read_text())
    parts = set()
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(ast.walk(node))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            parts.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            parts.update(f"{node.module}.{name.name}" for name in node.names)
    return {part_of(name.split(".")[1:]) for name in parts if name.startswith("tokenkeeper.")}


def part_of(parts: Sequence[str]) -> str:
    """Return the part that a module is in: its name's first component, with few exceptions."""
    module = ".".join(parts[:2])
    return module if module in OWN_LAYER else parts[0]


def test_arrows_run_downward():
    """A part imports from its own layer or from below, never up."""
    layer_of = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    for path in PACKAGE.rglob("*.py"):
        part = part_of(path.relative_to(PACKAGE).with_suffix("").parts)
        if part == "__init__":
            continue
        for imported in imports_of(path) & layer_of.keys():
            if (part, imported) in ON_DEMAND:
                continue
            assert layer_of[imported] <= layer_of[part], f"{path.name} imports {imported}"


def modules_imported_by(path: Path) -> set[str]:
    """Return the modules of the package that *path* imports as it is loaded."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        found.update(name for name in names if name in MODULES)
    return found


MODULES = {
    ".".join(("tokenkeeper", *path.relative_to(PACKAGE).with_suffix("").parts)): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}


def test_no_circles():
    """No module imports itself, not even through others."""
    imports = {name: modules_imported_by(path) for name, path in MODULES.items()}
    sorter = graphlib.TopologicalSorter(imports)
    sorter.prepare()  # names a circle, if there is one


def test_sizes():
    """The code stays readable: short functions, and short files on the slow path."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        if path.parent.name == "_renewal":
            assert len(text.splitlines()) <= 300, path.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                assert lines <= 50, f"{path.name}: {node.name} has {lines} lines"


def test_every_part_has_a_layer():
    """A new module is given its layer."""
    parts = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
    parts -= {"__init__", "__pycache__", "py.typed"}
    assert parts == set().union(*LAYERS) - OWN_LAYER


def test_one_place_knows_the_time():
    """No module but the clock imports time."""
    for path in PACKAGE.rglob("*.py"):
        names = {
            name.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert "time" not in names or path.name == "clock.py", path.name


def test_the_installed_package_is_tested():
    """Under tox the tests run against the installed wheel, not the checkout."""
    if "TOX_ENV_NAME" in os.environ:
        assert "site-packages" in str(PACKAGE)
