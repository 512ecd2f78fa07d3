"""The doctor's section on the store."""

import json

import pytest


@pytest.fixture
def url(tmp_path):
    """Return the URL of a store in a directory that does not exist yet."""
    return f"sqlite:///{tmp_path / 'private' / 'tokens.db'}"


def test_a_good_store(run, describe, environment, url):
    """The store is examined after the providers."""
    describe()
    environment.setenv("TOKENKEEPER_STORE", url)
    result = run("doctor")
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())  # the columns' widths are those of a version of rich
    assert f"oauth2: ok store {url} ok reachable " in words
    assert result.stdout.rstrip().endswith("store: ok")


def test_no_store(run, describe):
    """Without a store, nothing is said about one."""
    describe()
    assert "store" not in run("doctor").stdout
    assert "store" not in json.loads(run("doctor", "--json").stdout)


def test_a_store_that_fails(run, describe, tmp_path, url):
    """A fault of the store makes the exit code 20, and is in the JSON output."""
    describe()
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "private" / "tokens.db").write_bytes(b"garbage" * 999)
    result = run("doctor", "--json", "--store", url)
    document = json.loads(result.stdout)
    assert result.exit_code == document["exit_code"] == document["store"]["exit_code"] == 20
    assert document["providers"][0]["exit_code"] == 0
    (found,) = [e for e in document["store"]["findings"] if e["check"] == "reachable"]
    assert found["status"] == "failed"
    assert "tokens.db" in found["text"]


def test_a_store_that_is_not_valid(run, describe, environment):
    """A mistake in its configuration is a finding; the providers are examined all the same."""
    describe()
    environment.setenv("TOKENKEEPER_STORE", "rediss//:hunter2@host")
    result = run("doctor")
    assert result.exit_code == 20
    assert "oauth2: ok" in result.stdout
    words = " ".join(result.stdout.split())
    assert "failed configuration TOKENKEEPER_STORE must be a URL" in words
    assert "hunter2" not in result.output
    assert result.stdout.rstrip().endswith("store: failed")


def test_a_provider_comes_first(run, describe, environment, server):
    """The exit code is that of a provider's failed step, if there is one."""
    describe()
    server.stop()
    environment.setenv("TOKENKEEPER_STORE", "typo")
    assert run("doctor").exit_code == 13
