"""``tokenkeeper store``: what it lists, deletes and rotates, without a secret in its output."""

import json
import sys

import pytest
from kit.stored import ACCESS_TOKEN, ACCOUNT, REFRESH_TOKEN, StoredFleet, fill

from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.key_file import read_key_file
from tokenkeeper.stores.sealed import KeyRing
from tokenkeeper.stores.sqlite import SQLiteTokenStore


@pytest.fixture
def fleet(cache):
    """Return the store of the command line, with a record of each kind."""
    fleet = StoredFleet(SQLiteTokenStore(cache / "tokens.db"))
    fill(fleet)
    return fleet


@pytest.fixture
def store(tokenkeeper, environment):
    """Return a function that runs ``tokenkeeper store`` and looks for secrets in its output."""

    def store(*arguments):
        result = tokenkeeper("store", *arguments)
        assert not isinstance(result.exception, Exception), result.exception
        for secret in (ACCESS_TOKEN, REFRESH_TOKEN, ACCOUNT):
            assert secret not in result.output
        return result

    return store


class TestList:
    """``store ls``."""

    def test_a_table(self, store, fleet):
        """Each record is a row, with problems first; claims and failures follow."""
        result = store("ls")
        assert result.exit_code == 0
        names = [line.partition("  ")[0] for line in result.stdout.splitlines()[1:10]]
        assert names[0] == "payments"
        assert {"crm", "warehouse", "storage tenant=contoso.example"} < set(names)
        assert "crm: claimed, 0 s ago: worker-3:190 is about to" in result.stdout
        assert "reports: last failure, 0 s ago, by web-1:4711: token request" in result.stdout
        assert "9 records in sqlite:///" in result.stderr

    @pytest.mark.parametrize("width", [44, 80])
    def test_width(self, store, fleet, environment, width):
        """It fits the screen, and shows where tokens come from if there is room."""
        environment.setenv("COLUMNS", str(width))
        lines = store("ls").stdout.splitlines()
        assert all(len(line) <= width for line in lines)
        assert ("worker-7:2201" in " ".join(lines)) == (width == 80)

    def test_json(self, store, fleet):
        """All of it is printed as JSON."""
        content = json.loads(store("ls", "--json").stdout)
        assert content["totals"]["records"] == 9
        crm = next(each for each in content["records"] if each["name"] == "crm")
        assert (crm["generation"], crm["granted_to"]) == (1, "worker-7:2201")
        assert crm["claim"]["intent"].startswith("worker-3:190")

    def test_no_store(self, store, environment):
        """Without a store, the error says how to name one."""
        environment.delenv("TOKENKEEPER_CACHE_DIR")
        for command in ("ls", "check", "purge"):
            result = store(command)
            assert (result.exit_code, result.stdout) == (2, "")
            assert "no store is configured. Set --store, TOKENKEEPER_STORE" in result.stderr


class TestPurge:
    """``store purge``."""

    def test_names(self, store, fleet):
        """A provider's name means all of its records, and the beginning of a key means one."""
        legacy = fleet.key("legacy")
        result = store("purge", "mail", legacy[:12], "--yes", "--json")
        assert json.loads(result.stdout) == {"deleted": 3}
        assert "mail account=…" in result.stderr
        left = set(fleet.store.keys())
        assert legacy not in left
        assert fleet.key("crm") in left
        assert len(left) == 6

    @pytest.mark.parametrize("name", ["mial", "", "a"])
    def test_a_name_that_means_none(self, store, fleet, name):
        """A name that means no record deletes nothing."""
        result = store("purge", "crm", name, "--yes")
        assert result.exit_code == 2
        assert "the store has no record of" in result.stderr
        assert len(list(fleet.store.keys())) == 9

    def test_expired(self, store, tokenkeeper, fleet, age):
        """Only what expired and can be requested again is deleted with --expired."""
        tokenkeeper("get", "billing")
        assert "0 records deleted" in store("purge", "--expired", "--yes").stderr
        age(4000)
        assert "1 record deleted" in store("purge", "--expired", "--yes").stderr
        assert len(list(fleet.store.keys())) == 9

    def test_a_damaged_record(self, store, fleet, environment):
        """A record that the store can't delete is reported, and the others are deleted."""
        forget = SQLiteTokenStore.forget

        def refuse(self, key, **options):
            if key == fleet.key("crm"):
                raise StoreUnavailableError("another program uses its key", is_misconfigured=True)
            return forget(self, key, **options)

        environment.setattr(SQLiteTokenStore, "forget", refuse)
        result = store("purge", "--yes")
        assert result.exit_code == 1
        assert "Error: crm: another program uses its key" in result.stderr
        assert "8 records deleted" in result.stderr

    def test_no_one_to_ask(self, store, fleet):
        """Without a terminal, --yes is needed."""
        result = store("purge")
        assert (result.exit_code, "Set --yes" in result.stderr) == (2, True)
        assert len(list(fleet.store.keys())) == 9

    @pytest.mark.parametrize(("answer", "left"), [(False, 9), (True, 0)])
    def test_a_question(self, store, fleet, monkeypatch, answer, left):
        """A person is asked first, after what can't be had again was named."""
        asked = []

        def confirm(question, **_):
            asked.append(question)
            if not answer:
                sys.exit(1)

        monkeypatch.setattr("tokenkeeper.cli.purge.is_terminal", lambda: True)
        monkeypatch.setattr("click.confirm", confirm)
        result = store("purge")
        (question,) = asked
        assert question.startswith("Delete 9 records of sqlite:///")
        assert "it has a refresh token" in result.stderr
        assert "sealed with the key 'k0'" in result.stderr
        assert len(list(fleet.store.keys())) == left


class TestKeys:
    """``store new-key`` and ``store rotate-key``."""

    def test_a_line(self, store):
        """Without a file, a line for a key file is printed, another one each time."""
        one, two = store("new-key").stdout, store("new-key").stdout
        assert one.startswith("k1-")
        assert one != two

    def test_a_rotation(self, store, tmp_path):
        """Each step is named, with what to do next, and keys are never shown."""
        file = tmp_path / "keys"
        steps = [
            (("new-key",), "new key k1-"),
            (("rotate-key",), "Added the key k2-"),
            (("rotate-key",), "encrypts from now on"),
            (("rotate-key", "--drop-unused"), "Dropped k1-"),
        ]
        for arguments, words in steps:
            result = store(*arguments, str(file))
            assert (result.exit_code, result.stdout) == (0, "")
            assert words in result.stderr
            lines = [line.partition(":")[2] for line in file.read_text().splitlines()]
            assert not any(key and key in result.output for key in lines)
        assert file.stat().st_mode & 0o777 == 0o600
        assert [each[:3] for each in read_key_file(file).kids] == ["k2-"]

    def test_a_file_that_exists(self, store, tmp_path):
        """A key file is never overwritten."""
        file = tmp_path / "keys"
        file.write_text("precious")
        result = store("new-key", str(file))
        assert (result.exit_code, file.read_text()) == (2, "precious")
        assert "exists already. Rotate its key" in result.stderr

    def test_no_file(self, store, tmp_path):
        """A missing file can't be rotated; the error says how to create it."""
        result = store("rotate-key", str(tmp_path / "keys"))
        assert result.exit_code == 2
        assert "Create it with: tokenkeeper store new-key" in result.stderr


class TestCheck:
    """``store check``: the doctor's part on the store alone."""

    def test_a_good_store(self, store, tokenkeeper):
        """Every check is shown, and the exit code is 0."""
        tokenkeeper("get", "billing")
        result = store("check")
        assert result.exit_code == 0
        for check in ("reachable", "writable", "permissions", "clock", "readable"):
            assert f"ok {check}" in " ".join(result.stdout.split())
        assert result.stdout.rstrip().endswith("store: ok")

    def test_records_that_can_not_be_read(self, store, fleet):
        """Unreadable records are counted by reason, and make the exit code 20."""
        result = store("check", "--json")
        report = json.loads(result.stdout)
        assert result.exit_code == report["exit_code"] == 20
        (found,) = [each for each in report["findings"] if each["status"] == "failed"]
        assert found["check"] == "readable"
        assert found["text"].startswith("1 of 9 can't be read: it is sealed with the key 'k0'")
        assert "key file of the others" in found["advice"]

    def test_the_keys(self, store, tmp_path, cache):
        """With a key file, the key that encrypts is named; records of another key are counted."""
        file, url = tmp_path / "keys", f"sqlite:///{cache}/tokens.db"
        store("new-key", str(file))
        ring = KeyRing({"k9": bytes(32)})
        StoredFleet(SQLiteTokenStore(cache / "tokens.db"), sealer=ring).token("api")
        result = store("check", "--store", url, "--key-file", str(file), "--json")
        findings = json.loads(result.stdout)["findings"]
        by_check = {each["check"]: each["text"] for each in findings}
        (kid,) = read_key_file(file).kids
        assert by_check["key"] == f"{file}: {kid} seals"
        assert "sealed with the key 'k9'" in by_check["readable"]

    def test_a_store_that_is_down(self, store, tmp_path):
        """A store that can't be reached is one finding, with advice and without a password."""
        file = tmp_path / "keys"
        store("new-key", str(file))
        url = "redis://user:hunter2@127.0.0.1:1/0"
        result = store("check", "--store", url, "--key-file", str(file))
        assert result.exit_code == 20
        assert "nothing accepts connections there" in result.stdout
        assert "readable" not in result.stdout

    @pytest.mark.parametrize("strict", [False, True])
    def test_a_warning(self, store, environment, strict):
        """A warning makes the exit code 20 with --strict only."""
        environment.setattr("tokenkeeper.stores.sqlite_examination.LEAST_FREE_BYTES", 1 << 62)
        result = store("check", *["--strict"] * strict)
        assert result.exit_code == (20 if strict else 0)
        assert "store: ok, with warnings: space" in result.stdout
