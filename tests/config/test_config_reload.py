"""A configuration that changes while its providers are in use, without an interruption."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from kit import internals
from kit.guards import GUARD_SECONDS, until

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError, TokenKeeper
from tokenkeeper.testing import LoopbackAuthorizationServer


@pytest.fixture
def server():
    with LoopbackAuthorizationServer() as server:
        yield server


@pytest.fixture
def secret_file(tmp_path):
    """Return a secret file with the right secret."""

    def rotate(secret):
        path = tmp_path / "secret"
        path.write_text(secret)
        path.chmod(0o600)

    return rotate


@pytest.fixture
def file(write, server):
    """Write a configuration for the server; *options* are added to the block."""

    def file(**options):
        config = server.config("api")
        lines = {
            "provider_name": "api",
            "provider_type": "generic",
            "client_id": config.client_id,
            "client_secret_file": "secret",
            "token_url": config.token_url,
            **options,
        }
        block = "".join(f"  {key}: {value}\n" for key, value in lines.items())
        return write(f"oauth2:\n{block}")

    return file


@contextmanager
def readers(keeper, name):
    """Make threads ask for a token all the time; none may get an error."""
    stop = threading.Event()

    def read():
        while not stop.is_set():
            keeper.get_token(name)

    with ThreadPoolExecutor(4) as pool:
        reading = [pool.submit(read) for _ in range(4)]
        try:
            yield
        finally:
            stop.set()
        for each in reading:
            each.result(GUARD_SECONDS)


def test_a_rotated_secret(server, secret_file, file):
    """``reload()`` uses the new secret at once, and the current token until then."""
    secret_file(server.client_secret)
    with TokenKeeper.from_config(file()) as keeper:
        token = keeper.get_token("api")
        server.add_client(server.client_id, "rotated", ["read"])
        secret_file("rotated")
        assert keeper.reload() == {"added": [], "changed": ["api"], "removed": []}
        assert keeper.get_cached_token_info("api") is not None
        until(lambda: keeper.get_token("api") != token)
        assert server.stats().token_requests == 2
        assert keeper.reload() == {"added": [], "changed": [], "removed": []}
        assert server.stats().token_requests == 2


def test_a_refusal_looks_for_a_rotated_secret(server, secret_file, file):
    """After a rejection the secret is read again, so the caller gets a token and no error."""
    secret_file(server.client_secret)
    with TokenKeeper.from_config(file()) as keeper:
        server.add_client(server.client_id, "rotated", ["read"])
        secret_file("rotated")
        token = keeper.get_token("api")
        assert server.stats().token_requests == 2
        assert keeper.get_token("api", force_refresh=True) != token
        assert server.stats().token_requests == 3


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Kubernetes mounts volumes with symbolic links")
def test_a_mounted_volume(server, tmp_path):
    """A Kubernetes volume that is swapped atomically is picked up while many threads read."""
    volume = tmp_path / "volume"

    def mount(version, secret, scope):
        directory = volume / f"..{version}"
        directory.mkdir(parents=True)
        (directory / "billing").write_text(secret)
        (directory / "tokens.yaml").write_text(
            "oauth2:\n  provider_name: billing\n  provider_type: generic\n"
            f"  client_id: {server.client_id}\n  client_secret_file: billing\n"
            f"  token_url: {server.token_url}\n  scope: {scope}\n"
        )
        for name in ("billing", "tokens.yaml"):
            (directory / name).chmod(0o440)
        (volume / "..next").symlink_to(directory.name)
        (volume / "..next").rename(volume / "..data")

    mount(0, server.client_secret, "read")
    for name in ("billing", "tokens.yaml"):
        (volume / name).symlink_to(f"..data/{name}")
    with TokenKeeper.from_config(volume / "tokens.yaml") as keeper:
        keeper.get_token("billing")
        with readers(keeper, "billing"):
            for version in range(1, 6):
                scope = ("read", "write")[version % 2]
                mount(version, f"secret {version}", scope)
                server.add_client(server.client_id, f"secret {version}", ["read", "write"])
                assert keeper.get_token("billing", force_refresh=True)
                assert keeper.get_cached_token_info("billing")["scope"] == scope


def test_a_mapping_stays_where_it_was_read(server, secret_file, tmp_path, environment):
    """Relative paths of a mapping begin at the directory where the keeper was made."""
    secret_file(server.client_secret)
    environment.chdir(tmp_path)
    block = {
        "provider_name": "api",
        "provider_type": "generic",
        "client_id": server.client_id,
        "client_secret_file": "secret",
        "token_url": server.token_url,
    }
    with TokenKeeper.from_config({"oauth2": block}) as keeper:
        environment.chdir("/")
        assert keeper.reload() == {"added": [], "changed": [], "removed": []}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_in_the_middle(server, secret_file, file):
    """A child that was forked while another thread read the configuration can read it."""
    secret_file(server.client_secret)
    with TokenKeeper.from_config(file()) as keeper:
        configuration = internals.configuration(keeper)
        held, done = threading.Event(), threading.Event()

        def reload():
            with configuration.turn, configuration._lock:
                held.set()
                done.wait(GUARD_SECONDS)

        thread = threading.Thread(target=reload)
        thread.start()
        assert held.wait(GUARD_SECONDS)
        child = os.fork()
        if child == 0:
            try:
                signal.alarm(int(GUARD_SECONDS))
                secret_file("rotated")
                worked = keeper.reload()["changed"] == ["api"]
            except BaseException:  # noqa: BLE001 - a child must not go on with the tests
                worked = False
            os._exit(0 if worked else 1)
        done.set()
        thread.join(GUARD_SECONDS)
        assert os.waitpid(child, 0)[1] == 0


def test_a_refusal_of_a_secret_that_is_still_the_same(server, secret_file, file):
    """An unchanged secret is not tried twice; a later rotation ends the cooldown."""
    secret_file("wrong")
    with TokenKeeper.from_config(file(), cooldown_seconds=600) as keeper:
        for _ in range(3):
            with pytest.raises(TokenAcquisitionError, match="invalid_client"):
                keeper.get_token("api")
        assert server.stats().token_requests == 1
        secret_file(server.client_secret)
        keeper.reload()
        assert keeper.get_token("api")


def test_a_refusal_while_the_file_is_broken(server, secret_file, file, write, caplog):
    """If the file can't be read, the rejection is raised, and the mistake is logged."""
    secret_file("wrong")
    with TokenKeeper.from_config(file()) as keeper:
        write("oauth2: [")
        with pytest.raises(TokenAcquisitionError, match="invalid_client"):
            keeper.get_token("api")
        assert "the configuration could not be read again: tokens.yaml is not YAML" in caplog.text


def test_a_broken_file_changes_nothing(server, secret_file, file, write):
    """``reload()`` of an invalid file raises, and everything continues as before."""
    secret_file(server.client_secret)
    with TokenKeeper.from_config(file()) as keeper:
        token = keeper.get_token("api")
        file(token_url="nonsense")
        with pytest.raises(InvalidConfigurationError, match=r"line 6: oauth2.token_url must be"):
            keeper.reload()
        assert keeper.get_token("api") == token
        assert keeper.list_providers() == ["api"]


def test_a_refresh_token_of_the_client_before(server, secret_file, file):
    """After a change the next token is a new grant, because a refresh would keep the old scope."""
    secret_file(server.client_secret)
    server.refresh_tokens = True
    server.add_client(server.client_id, server.client_secret, ["read", "write"])
    path = file(scope="read", refresh_tokens="true")
    with TokenKeeper.from_config(path, background=False) as keeper:
        keeper.get_token("api")
        file(scope="write", refresh_tokens="true")
        keeper.reload()
        keeper.get_token("api", force_refresh=True)
        assert keeper.get_cached_token_info("api")["scope"] == "write"
        keeper.get_token("api", force_refresh=True)
        assert server.stats().token_requests_by_grant == {
            "client_credentials": 2,
            "refresh_token": 1,
        }


def test_blocks_that_come_and_go(server, secret_file, write):
    """New blocks are registered, changed ones renewed, and missing ones removed."""
    client = f"""
    provider_type: generic
    client_id: {server.client_id}
    client_secret_file: secret
    token_url: {server.token_url}
    """

    def blocks(**scopes):
        named = [f"  - provider_name: {n}{client}scope: {s}\n" for n, s in scopes.items()]
        return "oauth2:\n" + "".join(named)

    secret_file(server.client_secret)
    path = write(blocks(one="read", two="read"))
    with TokenKeeper.from_config(path) as keeper:
        tokens = {name: keeper.get_token(name) for name in ("one", "two")}
        write(blocks(two="write", three="read"))
        assert keeper.reload() == {"added": ["three"], "changed": ["two"], "removed": ["one"]}
        assert keeper.list_providers() == ["two", "three"]
        until(lambda: keeper.get_token("two") != tokens["two"])
        assert keeper.get_cached_token_info("two")["scope"] == "write"
        assert keeper.get_token("three")
        with pytest.raises(InvalidConfigurationError, match="'one'"):
            keeper.get_token("one")


@pytest.mark.slow
def test_a_crowd_reads_through_a_reload(server, secret_file, file):
    """While configurations are reloaded all the time, no reader waits."""
    secret_file(server.client_secret)
    with TokenKeeper.from_config(file()) as keeper:
        keeper.get_token("api")
        server.go_down("503")
        with readers(keeper, "api"):
            for number in range(20):
                secret_file(f"secret {number}")
                keeper.reload()


def test_a_renewal_without_a_background(server, secret_file, file):
    """Without background threads, the next reader renews a changed provider inline."""
    secret_file(server.client_secret)
    with TokenKeeper.from_config(file(), background=False) as keeper:
        token = keeper.get_token("api")
        server.add_client(server.client_id, "rotated", ["read"])
        secret_file("rotated")
        keeper.reload()
        assert keeper.get_token("api", force_refresh=True) != token
