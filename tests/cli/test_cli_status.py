"""``tokenkeeper status``: stored tokens on any screen, and the reasons of failures."""

import json
import re

import pytest


def test_nothing_is_asked(tokenkeeper, server):
    """Without --fetch no request is sent, and a missing token is not a failure."""
    result = tokenkeeper("status")
    assert result.exit_code == 0
    assert result.stdout.count("not held") == 2
    assert server.stats().token_requests == 0


def test_a_name_twice(tokenkeeper):
    """A name that is given twice is shown once."""
    assert tokenkeeper("status", "billing", "billing").stdout.count("billing") == 1


def test_due(tokenkeeper, age):
    """A token inside its buffer is shown as renewing, then as expired."""
    tokenkeeper("get", "billing")
    age(3400)
    (billing,) = json.loads(tokenkeeper("status", "--json", "billing").stdout)
    assert (billing["state"], billing["renews_in_seconds"]) == ("renewing", 0.0)
    age(195)  # its margin
    (billing,) = json.loads(tokenkeeper("status", "--json", "billing").stdout)
    assert (billing["state"], billing["renews_in_seconds"]) == ("expired", None)


def test_kept(tokenkeeper):
    """A stored token is shown with its remaining time."""
    token = tokenkeeper("get", "billing").stdout.strip()
    result = tokenkeeper("status")
    line = next(line for line in result.stdout.splitlines() if line.startswith("billing"))
    assert "fresh" in line
    assert "59 min" in line
    assert "━" in line
    assert token not in result.output


def test_fetch(tokenkeeper):
    """With --fetch, missing tokens are requested, and a failure shows its reason."""
    result = tokenkeeper("status", "--fetch")
    assert result.exit_code == 1
    assert "fresh" in result.stdout
    assert re.search(r"last failure, \d+ s ago: provider 'wrong'", result.stdout)
    assert tokenkeeper("status", "--fetch", "billing").exit_code == 0


def test_json(tokenkeeper):
    """The rows are printed as JSON."""
    billing, wrong = json.loads(tokenkeeper("status", "--fetch", "--json").stdout)
    assert (billing["provider_name"], billing["state"]) == ("billing", "fresh")
    assert 3590 < billing["remaining_seconds"] <= billing["lifetime_seconds"] <= 3601
    assert (wrong["state"], wrong["remaining_seconds"]) == ("not held", None)
    assert "invalid_client" in wrong["last_error"]


def test_a_failure_of_another_run(tokenkeeper, server, age):
    """A failure is shown until a request succeeds, or until it is cleared."""

    def failures():
        billing, wrong = json.loads(tokenkeeper("status", "--json").stdout)
        return billing["last_error"], wrong["last_error"]

    tokenkeeper("get", "wrong")
    assert failures()[0] is None
    assert "invalid_client" in failures()[1]
    assert "last failure, " in tokenkeeper("status").stdout
    tokenkeeper("get", "billing")
    age(3400)
    with server.outage("503"):
        assert tokenkeeper("get", "billing").exit_code == 0
        assert "HTTP 503" in failures()[0]
        fetched = json.loads(tokenkeeper("status", "--fetch", "--json").stdout)
        assert (fetched[0]["state"], fetched[0]["last_error"]) == ("renewing", failures()[0])
    age(10)  # after several failures in a row, no command asks again for up to five seconds
    assert tokenkeeper("get", "billing").exit_code == 0
    assert failures()[0] is None
    tokenkeeper("clear", "wrong")
    assert failures() == (None, None)


def test_fetch_from_a_server_that_hangs(tokenkeeper, environment, server):
    """A timeout is shown as the failure, even without stored tokens."""
    environment.delenv("TOKENKEEPER_CACHE_DIR")
    with server.outage("stall"):
        result = tokenkeeper("status", "--fetch", "--json", "--timeout", "0.2", "billing")
    assert result.exit_code == 1
    (row,) = json.loads(result.stdout)
    assert "no token within 0.2 s" in row["last_error"]


@pytest.mark.parametrize("width", [40, 80])
def test_width(tokenkeeper, environment, config, width):
    """The table fits the screen and truncates nothing, whatever the names are."""
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
    """In a pipe, each provider is one line, and so is each failure."""
    config.write_text(config.read_text().replace("billing", "billing" * 12))
    environment.delenv("COLUMNS", raising=False)
    lines = tokenkeeper("status", "--fetch").stdout.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("billing" * 12 + "  fresh")


@pytest.mark.parametrize("name", ["[/]", "[bold]x[/bold]", ":smile:"])
def test_a_name_with_signs(tokenkeeper, config, name):
    """Markup in a name is shown unchanged."""
    config.write_text(config.read_text().replace("name: billing", f"name: '{name}'"))
    result = tokenkeeper("status", name)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].startswith(f"{name} ")
