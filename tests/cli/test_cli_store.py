"""Tokens that are stored between runs: for which client, how long, and in which store."""

import json
import os
import sqlite3
from contextlib import closing

import pytest

from tokenkeeper import TokenKeeper
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.sqlite import SQLiteTokenStore


@pytest.fixture
def database(cache):
    """Return the file of the store."""
    return cache / "tokens.db"


def change(database, statement, *values):
    """Change the records of a store behind its back."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)


class TestReuse:
    """A stored token is used again while it is fresh."""

    def test_until_it_is_due(self, tokenkeeper, server, age):
        """Runs share a token until it is due for renewal."""
        first = tokenkeeper("get", "billing").stdout
        age(2500)
        assert tokenkeeper("get", "billing").stdout == first
        age(850)
        second = tokenkeeper("get", "billing").stdout
        assert second != first
        assert tokenkeeper("get", "billing").stdout == second
        assert server.stats().token_requests == 2

    def test_in_the_buffer_while_the_server_is_down(self, tokenkeeper, server, age):
        """A failed renewal is not an error while the stored token is valid."""
        first = tokenkeeper("get", "billing").stdout
        age(3400)
        with server.outage("503"):
            result = tokenkeeper("get", "billing")
            assert (result.exit_code, result.output) == (0, first)
            age(195)  # its margin
            assert tokenkeeper("get", "billing", "--timeout", "1").exit_code == 1

    def test_another_boot(self, tokenkeeper, server, database):
        """After a restart of the machine, the age of a stored token is unknown: one request."""
        first = tokenkeeper("get", "billing").stdout
        change(database, "UPDATE records SET boot = ?", "another boot")
        assert tokenkeeper("get", "billing").stdout != first
        assert server.stats().token_requests == 2

    @pytest.mark.parametrize("clock", ["wall", "store"])
    def test_clocks_that_disagree(self, tokenkeeper, server, database, clock):
        """By the older of two clocks the token has expired: one request."""
        first = tokenkeeper("get", "billing").stdout
        if clock == "store":
            change(database, "UPDATE records SET sent_at = sent_at - 4000")
        else:
            with closing(sqlite3.connect(database)) as connection:
                ((sealed,),) = connection.execute("SELECT sealed FROM records")
            start, _, text = sealed.partition(b"{")
            content = json.loads(b"{" + text)
            content["requested_at"] -= 4000
            content["expires_at"] -= 4000
            sealed = start + json.dumps(content).encode()
            change(database, "UPDATE records SET sealed = ?", sealed)
        assert tokenkeeper("get", "billing").stdout != first
        assert server.stats().token_requests == 2

    def test_a_corrected_secret(self, tokenkeeper, environment, server):
        """After a refusal, a secret that was corrected is tried at once."""
        assert tokenkeeper("get", "wrong").exit_code == 1
        environment.setenv("WRONG_SECRET", server.client_secret)
        assert tokenkeeper("get", "wrong").exit_code == 0

    @pytest.mark.slow
    def test_many_processes_make_one_request(self, start, server):
        """Commands that are started at once make one request and print the same token."""
        processes = [start("get", "billing") for _ in range(4)]
        outputs = [process.communicate(timeout=100) for process in processes]
        assert {messages for _, messages in outputs} == {""}
        assert len({token for token, _ in outputs}) == 1
        assert server.stats().token_requests == 1

    def test_another_secret_is_the_same_client(self, tokenkeeper, environment, server):
        """A rotated secret keeps the client's token; --force finds out that a secret is wrong."""
        first = tokenkeeper("get", "billing").stdout
        environment.setenv("BILLING_SECRET", "hunter2")
        assert tokenkeeper("get", "billing").stdout == first
        assert tokenkeeper("get", "billing", "--force").exit_code == 1
        assert server.stats().token_requests == 2

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("scope: read", "scope: write"),
            ("scope: read", "scope: read\n    additional_params: {audience: b}"),
            ("{token_url}", "{token_url}?tenant=b"),
        ],
    )
    def test_another_request_is_another_token(self, tokenkeeper, config, server, old, new):
        """A changed configuration never gets the token of the previous one."""
        tokenkeeper("get", "billing")
        old = old.format(token_url=server.token_url)
        new = new.replace("{token_url}", server.token_url)
        text = config.read_text()
        config.write_text(text.replace(old, new, 1))
        assert config.read_text() != text
        tokenkeeper("get", "billing")
        assert server.stats().token_requests == 2


class TestContent:
    """What is in the store."""

    @pytest.mark.parametrize("kept", [False, True])
    def test_refresh_tokens(self, tokenkeeper, config, server, database, kept):
        """A refresh token is stored only if the provider is configured to use it."""
        setting = f"scope: read\n    refresh_tokens: {str(kept).lower()}\n"
        config.write_text(config.read_text().replace("scope: read\n", setting))
        server.refresh_tokens = True
        assert tokenkeeper("get", "billing").exit_code == 0
        assert (b'"refresh_token"' in database.read_bytes()) == kept

    def test_no_secret(self, tokenkeeper, server, database):
        """The file contains no client secret, and only its owner can read it."""
        tokenkeeper("get", "billing")
        assert server.client_secret.encode() not in database.read_bytes()
        assert database.stat().st_mode & 0o777 == 0o600

    def test_old_files_are_ignored(self, tokenkeeper, cache, server):
        """The files of an earlier version stay, and are not read."""
        for name in ("ab.json", "ab.failure", "key"):
            (cache / name).write_text("{")
        assert tokenkeeper("get", "billing").exit_code == 0
        assert tokenkeeper("clear").exit_code == 0
        assert {"ab.json", "ab.failure", "key", "tokens.db"} == set(os.listdir(cache))

    def test_a_full_disk(self, tokenkeeper, monkeypatch):
        """A token that can't be stored is printed, with a warning."""

        def publish(*_, **__):
            raise StoreUnavailableError("the disk is full. Free some space")

        monkeypatch.setattr(SQLiteTokenStore, "publish", publish)
        result = tokenkeeper("get", "billing")
        assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
        assert result.stderr == (
            "Warning: the token could not be stored for the next run: the disk is full. Free some "
            "space\n"
        )


class TestWhichStore:
    """Where the commands look for tokens."""

    def test_that_of_a_service(self, tokenkeeper, environment, config, cache, server):
        """With a store in the configuration, the command uses the token of a running service."""
        environment.delenv("TOKENKEEPER_CACHE_DIR")
        url = f"sqlite:///{cache}/fleet.db"
        config.write_text(f"{config.read_text()}store: {url}\n")
        with TokenKeeper.from_config(config) as keeper:
            token = keeper.get_token("billing")
            result = tokenkeeper("get", "billing")
            assert (result.exit_code, result.stdout.strip()) == (0, token)
            (billing,) = json.loads(tokenkeeper("status", "--json", "billing").stdout)
            assert (billing["generation"], billing["state"]) == (1, "fresh")
            assert billing["granted_to"].endswith(f":{os.getpid()}")
            renewed = tokenkeeper("get", "billing", "--force").stdout.strip()
            assert keeper.get_token("billing", force_refresh=False) in (token, renewed)
        assert server.stats().token_requests == 2

    def test_the_order(self, tokenkeeper, environment, tmp_path, cache):
        """--store comes before --cache's variable, and that before the configuration's store."""
        other, third = tmp_path / "other" / "a.db", tmp_path / "third" / "a.db"
        environment.setenv("TOKENKEEPER_STORE", f"sqlite:///{third}")
        assert tokenkeeper("get", "billing", "--store", f"sqlite:///{other}").exit_code == 0
        assert (other.exists(), third.exists(), (cache / "tokens.db").exists()) == (True, False, 0)
        assert tokenkeeper("get", "billing").exit_code == 0
        assert (third.exists(), (cache / "tokens.db").exists()) == (False, True)
        environment.delenv("TOKENKEEPER_CACHE_DIR")
        assert tokenkeeper("get", "billing").exit_code == 0
        assert third.exists()

    def test_two_stores(self, tokenkeeper, cache):
        """--store and --cache exclude each other, and --key-file needs --store."""
        both = tokenkeeper("status", "--cache", str(cache), "--store", "auto")
        assert (both.exit_code, "Leave out one" in both.stderr) == (2, True)
        alone = tokenkeeper("status", "--key-file", "keys", "--cache", str(cache))
        assert (alone.exit_code, "--key-file needs --store" in alone.stderr) == (2, True)

    def test_a_store_that_is_down(self, tokenkeeper, environment):
        """A token is printed with a warning while a store is down; status says what is wrong."""
        store = ("--store", "redis://127.0.0.1:1/0", "--key-file", "keys")
        environment.chdir(os.path.dirname(os.environ["TOKENKEEPER_CACHE_DIR"]))
        assert tokenkeeper("store", "new-key", "keys").exit_code == 0
        result = tokenkeeper("get", "billing", *store)
        assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
        assert "Warning: the token could not be stored for the next run" in result.stderr
        status = tokenkeeper("status", *store)
        assert status.exit_code == 1
        assert "nothing accepts connections there" in status.stderr

    def test_the_runtime_directory(self, tokenkeeper, environment, tmp_path, server):
        """By default tokens are stored in the user's runtime directory."""
        environment.delenv("TOKENKEEPER_CACHE_DIR")
        environment.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        for _ in range(2):
            tokenkeeper("get", "billing")
        assert server.stats().token_requests == 1
        assert (tmp_path / "tokenkeeper").stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("runtime", ["", "relative", "/nowhere/at/all", __file__])
    def test_a_runtime_directory_that_is_none(
        self, tokenkeeper, environment, tmp_path, server, runtime
    ):
        """A relative path, or one that is not a directory, is ignored."""
        environment.chdir(tmp_path)
        (tmp_path / "relative").mkdir()
        environment.delenv("TOKENKEEPER_CACHE_DIR")
        environment.setenv("XDG_RUNTIME_DIR", runtime)
        for _ in range(2):
            assert tokenkeeper("get", "billing").exit_code == 0
        assert server.stats().token_requests == 2
        assert not list((tmp_path / "relative").iterdir())

    @pytest.mark.skipif(os.name != "posix", reason="files have no owners on this platform")
    def test_the_runtime_directory_of_another_user(self, tokenkeeper, environment, tmp_path):
        """After sudo or su, nothing is created in the other user's runtime directory."""
        runtime = tmp_path / "run"
        runtime.mkdir()
        environment.delenv("TOKENKEEPER_CACHE_DIR")
        environment.setenv("XDG_RUNTIME_DIR", str(runtime))
        environment.setattr(os, "geteuid", lambda: runtime.stat().st_uid + 1)
        assert tokenkeeper("get", "billing").exit_code == 0
        assert not list(runtime.iterdir())

    @pytest.mark.skipif(os.name != "posix", reason="files have no owners on this platform")
    @pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o722])
    def test_an_open_runtime_directory(self, tokenkeeper, environment, tmp_path, mode):
        """A runtime directory that others can write is not used, with one warning."""
        runtime = tmp_path / "run"
        runtime.mkdir()
        runtime.chmod(mode)
        environment.delenv("TOKENKEEPER_CACHE_DIR")
        environment.setenv("XDG_RUNTIME_DIR", str(runtime))
        environment.setattr("tokenkeeper.cli.source._reported", set())
        result = tokenkeeper("status", "--fetch")
        assert result.stderr.count("XDG_RUNTIME_DIR is not used") == 1
        assert f"chmod 700 {runtime}" in result.stderr
        assert tokenkeeper("get", "billing").exit_code == 0
        assert not list(runtime.iterdir())
