"""The pages on stores: their programs run, and their statements are those of the code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kit.guards import PROGRAM_SECONDS
from kit.redis_servers import RedisServer, redis_binary
from kit.store_calls import everything

from tokenkeeper.config.discovery import Discovery
from tokenkeeper.stores.key_file import create_key_file

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
TESTS = Path(__file__).parents[1]


def blocks(page, language):
    """Return the code of a page in one language."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["kubernetes-redis.md", "postgresql-store.md"])
def test_configurations(page, tmp_path, monkeypatch):
    """The configuration of a page has a valid store, whose key is the mounted file."""
    pytest.importorskip("redis" if "redis" in page else "psycopg")
    create_key_file(tmp_path / "store.keys")
    (tmp_path / "billing").write_text("the secret")
    (tmp_path / "billing").chmod(0o600)
    text = blocks(page, "yaml")[0]
    text = text.replace("/run/secrets/tokenkeeper/", "").replace("/run/secrets/", "")
    file = tmp_path / "tokens.yaml"
    file.write_text(text)
    file.chmod(0o600)
    monkeypatch.setenv("STORE_PASSWORD", "hunter2")
    options = Discovery.from_config(file).store_options()
    assert "hunter2" in options.url
    assert options.key_file == tmp_path / "store.keys"


def test_statements():
    """The page on PostgreSQL has the statements that the store would run."""
    statements = pytest.importorskip("tokenkeeper.stores._postgresql_statements")
    shown = " ".join(blocks("postgresql-store.md", "text")[0].split())
    run = statements.Statements(statements.DEFAULT_TABLE).setup_for("tokenkeeper")
    assert shown == re.sub(r'"(tokenkeeper\w*)"', r"\1", run)


@pytest.mark.slow
def test_a_user_of_its_own(tmp_path):
    """The user that the page on Redis creates may do all that the store does, and no more."""
    redis = pytest.importorskip("redis")
    stores = pytest.importorskip("tokenkeeper.stores.redis")
    (command,) = (each for each in blocks("kubernetes-redis.md", "text") if "SETUSER" in each)
    with RedisServer(redis_binary(), tmp_path) as server:
        server.run(*command.split())
        url = server.url.replace("://", "://tokenkeeper:PASSWORD@")
        store = stores.RedisTokenStore.from_url(url, timeout_seconds=20.0)
        everything(store)
        assert {each.status for each in store.examine()} == {"ok"}
        store.close()
        with pytest.raises(redis.exceptions.NoPermissionError):
            server.run("SET", "tokenkeeper:1", "", username="tokenkeeper", password="PASSWORD")


@pytest.mark.slow
def test_a_cache_that_takes_tokens(tmp_path):
    """The program for Azure stores a token in a cache whose password is a token of its own."""
    pytest.importorskip("redis")
    create_key_file(tmp_path / "store.keys")
    (program,) = (each for each in blocks("azure-cache.md", "text") if "bootstrap" in each)
    real = {
        "rediss://contoso.redis.cache.windows.net:6380/0": "redis://127.0.0.1:PORT/0",
        "/run/secrets/tokenkeeper/store.keys": str(tmp_path / "store.keys"),
    }
    for written, replacement in real.items():
        assert program.count(written) == 1
        program = program.replace(written, replacement)
    program += """
assert keeper.get_token("oauth2") == "abcd1234"
print(keeper.get_cached_token_info("oauth2")["generation"], keeper.health()["store"]["status"])
keeper.close()
bootstrap.close()
"""
    kept = {name: each for name, each in os.environ.items() if not name.startswith("TOKENKEEPER_")}
    environment = {
        **kept,
        "AZURE_CLIENT_ID": "app",
        "AZURE_CLIENT_SECRET": "the secret",
        "AZURE_TENANT_ID": "contoso.onmicrosoft.com",
        "CACHE_PRINCIPAL_ID": "the-principal",
        "OAUTH2_CLIENT_ID": "app",
        "OAUTH2_CLIENT_SECRET": "the secret",
        "OAUTH2_TOKEN_URL": "https://id.example.com/oauth2/token",
        "PYTHONPATH": str(TESTS),
    }
    with RedisServer(redis_binary(), tmp_path) as server:
        server.run("ACL", "SETUSER", "the-principal", "on", ">abcd1234", "~*", "+@all")
        server.run("ACL", "SETUSER", "default", "off")
        program = program.replace("PORT", str(server.port))
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", f"import kit.servers.examples\n{program}"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS,
        )
    assert (done.returncode, done.stdout) == (0, "1 ok\n"), done.stderr
