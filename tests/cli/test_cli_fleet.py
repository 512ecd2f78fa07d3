"""The command as one process of a fleet: claims, and what it leaves to others."""

import json

import pytest
import requests
from kit.stored import StoredFleet

from tokenkeeper.stores.sqlite import SQLiteTokenStore


@pytest.fixture
def database(cache):
    """Return the file of the store."""
    return cache / "tokens.db"


class TestClaims:
    """Claims of other processes, and those of a command that gives up."""

    def test_a_claim_is_shown(self, tokenkeeper, database):
        """``status`` shows who is requesting the next token."""
        tokenkeeper("get", "billing")
        store = SQLiteTokenStore(database)
        (key,) = store.keys()
        StoredFleet(store).claim(key)
        (billing,) = json.loads(tokenkeeper("status", "--json", "billing").stdout)
        assert billing["holder"] == "web-1:4711 is about to request a token"
        assert "claimed, 0 s ago: web-1:4711 is about to" in tokenkeeper("status").stdout

    def test_a_command_that_gives_up(self, tokenkeeper, server, database):
        """After a timeout no claim is left, so that the next command need not wait."""
        with server.outage("stall"):
            assert tokenkeeper("get", "billing", "--timeout", "0.2").exit_code == 1
            store = SQLiteTokenStore(database)
            (key,) = store.keys()
            assert not store.read(key).is_claimed


class TestClear:
    """``tokenkeeper clear`` in a store that services use as well."""

    def test_refresh_tokens_are_kept(self, tokenkeeper, database):
        """Without a name, records that can't be had again are kept, and counted."""
        tokenkeeper("get", "billing")
        fleet = StoredFleet(SQLiteTokenStore(database))
        kept = fleet.token("sign-in")
        unreadable = fleet.sealed(fleet.key("old"), b"1.k0." + bytes(80))
        result = tokenkeeper("clear")
        assert "1 token deleted." in result.stderr
        assert "2 records were kept" in result.stderr
        assert fleet.store.read(kept).sealed
        assert fleet.store.read(unreadable).sealed

    def test_another_client_of_the_same_name(self, tokenkeeper, database):
        """With a name, the records of another client with that name are neither shown nor lost."""
        tokenkeeper("get", "billing")
        fleet = StoredFleet(SQLiteTokenStore(database))
        own, chosen = fleet.token("billing"), fleet.token("billing", scope="write")
        assert len(json.loads(tokenkeeper("status", "--json", "billing").stdout)) == 1
        assert "1 token deleted." in tokenkeeper("clear", "billing").stderr
        assert fleet.store.read(own).sealed
        assert fleet.store.read(chosen).sealed


@pytest.mark.slow
def test_a_refresh_token_that_works_once(start, tokenkeeper, config, server):
    """After a timeout the command waits for the answer and stores it, as nothing else has it."""
    server.refresh_tokens = True
    granted = requests.post(
        server.token_url,
        data={"grant_type": "client_credentials"},
        auth=(server.client_id, server.client_secret),
        timeout=20,
    ).json()
    setting = (
        "scope: read\n    grant_type: refresh_token\n"
        f"    additional_params: {{refresh_token: {granted['refresh_token']}}}\n"
    )
    config.write_text(config.read_text().replace("scope: read\n", setting))
    server.latency_seconds = 2.0
    process = start("get", "billing", "--timeout", "1")
    printed, errors = process.communicate(timeout=100)
    assert (process.returncode, printed) == (1, "")
    assert "no token within 1 s (--timeout)" in errors
    server.latency_seconds = 0.0
    assert tokenkeeper("get", "billing").exit_code == 0
    assert tokenkeeper("get", "billing", "--force").exit_code == 0
    assert server.stats().token_requests == 3
    assert "1 record was kept" in tokenkeeper("clear").stderr
