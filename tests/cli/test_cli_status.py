"""``tokenkeeper status``: the kept tokens on any screen, and why there are none."""

import json
import re

import pytest


def test_nothing_is_asked(tokenkeeper, server):
    """Without --fetch no server is asked, and what is not there is no failure."""
    result = tokenkeeper("status")
    assert result.exit_code == 0
    assert result.stdout.count("not held") == 2
    assert server.stats().token_requests == 0


def test_a_name_twice(tokenkeeper):
    """Who is named twice is shown once."""
    assert tokenkeeper("status", "billing", "billing").stdout.count("billing") == 1


def test_due(tokenkeeper, age):
    """A token inside its buffer shows as one that is to be renewed, and a dead one as none."""
    tokenkeeper("get", "billing")
    age(3400)
    (billing,) = json.loads(tokenkeeper("status", "--json", "billing").stdout)
    assert (billing["state"], billing["renews_in_seconds"]) == ("renewing", 0.0)
    age(195)
    assert "not held" in tokenkeeper("status", "billing").stdout


def test_kept(tokenkeeper):
    """A kept token shows with what is left of it."""
    token = tokenkeeper("get", "billing").stdout.strip()
    result = tokenkeeper("status")
    line = next(line for line in result.stdout.splitlines() if line.startswith("billing"))
    assert "fresh" in line
    assert "59 min" in line
    assert "━" in line
    assert token not in result.output


def test_fetch(tokenkeeper):
    """With --fetch the tokens are asked for; one that can't be had shows why, and fails."""
    result = tokenkeeper("status", "--fetch")
    assert result.exit_code == 1
    assert "fresh" in result.stdout
    assert re.search(r"last failure, \d+ s ago: provider 'wrong'", result.stdout)
    assert tokenkeeper("status", "--fetch", "billing").exit_code == 0


def test_json(tokenkeeper):
    """The same for programs."""
    billing, wrong = json.loads(tokenkeeper("status", "--fetch", "--json").stdout)
    assert (billing["provider_name"], billing["state"]) == ("billing", "fresh")
    assert 3590 < billing["remaining_seconds"] <= billing["lifetime_seconds"] <= 3601
    assert (wrong["state"], wrong["remaining_seconds"]) == ("not held", None)
    assert "invalid_client" in wrong["last_error"]


def test_a_failure_of_another_run(tokenkeeper, server, age):
    """Why there was no token is told until there is one, or until it is cleared."""

    def told():
        billing, wrong = json.loads(tokenkeeper("status", "--json").stdout)
        return billing["last_error"], wrong["last_error"]

    tokenkeeper("get", "wrong")
    assert told()[0] is None
    assert "invalid_client" in told()[1]
    assert "last failure, " in tokenkeeper("status").stdout
    tokenkeeper("get", "billing")
    age(3400)
    with server.outage("503"):
        assert tokenkeeper("get", "billing").exit_code == 0
        assert "HTTP 503" in told()[0]
        fetched = json.loads(tokenkeeper("status", "--fetch", "--json").stdout)
        assert (fetched[0]["state"], fetched[0]["last_error"]) == ("renewing", told()[0])
    assert tokenkeeper("get", "billing").exit_code == 0
    assert told()[0] is None
    tokenkeeper("clear", "wrong")
    assert told() == (None, None)


def test_fetch_from_a_server_that_hangs(tokenkeeper, environment, server):
    """Who has no answer in time shows that as the failure, even if nothing is kept."""
    environment.delenv("TOKENKEEPER_CACHE_DIR")
    with server.outage("stall"):
        result = tokenkeeper("status", "--fetch", "--json", "--timeout", "0.2", "billing")
    assert result.exit_code == 1
    (row,) = json.loads(result.stdout)
    assert "no token within 0.2 s" in row["last_error"]


@pytest.mark.parametrize("width", [40, 80])
def test_width(tokenkeeper, environment, config, width):
    """The table fits the screen, and what is on it is whole, whatever the names."""
    name = "a-name-of-somebody-who-is-not-sparing-with-the-letters"
    config.write_text(config.read_text().replace("billing", name))
    environment.setenv("COLUMNS", str(width))
    environment.setenv("NO_COLOR", "1")
    lines = tokenkeeper("status", "--fetch").stdout.splitlines()
    assert all(len(line) <= width and "\x1b" not in line for line in lines)
    shown = " ".join(lines)
    assert re.search(r"fresh +59 min 5\d s .*5\d min \d\d s", shown)
    assert "not held" in shown
    assert ("━" in shown) == (width == 80)


def test_a_pipe(tokenkeeper, environment, config):
    """Where nobody looks, each provider is one line, and so is each failure."""
    config.write_text(config.read_text().replace("billing", "billing" * 12))
    environment.delenv("COLUMNS", raising=False)
    lines = tokenkeeper("status", "--fetch").stdout.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("billing" * 12 + "  fresh")


@pytest.mark.parametrize("name", ["[/]", "[bold]x[/bold]", ":smile:"])
def test_a_name_with_signs(tokenkeeper, config, name):
    """A name is shown as it is, whatever its signs mean to others."""
    config.write_text(config.read_text().replace("name: billing", f"name: '{name}'"))
    result = tokenkeeper("status", name)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].startswith(f"{name} ")
