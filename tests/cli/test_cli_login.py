"""``tokenkeeper login`` and ``logout``: a person signs in once, and services go on."""

import json
import os
import signal
import sys
import webbrowser
from importlib import import_module
from types import SimpleNamespace

import click
import pytest
import requests
from click.testing import CliRunner
from kit.guards import OF_THE_LIBRARY, PROGRAM_SECONDS, remove_variables
from kit.servers.base import Answer
from kit.servers.signing_in import ACCESS_TOKEN, REFRESH_TOKEN, SECRETS, SignInServer

from tokenkeeper import StoreUnavailableError
from tokenkeeper.cli import pasting, sign_ins
from tokenkeeper.cli.group import cli
from tokenkeeper.cli.source import Source, in_memory
from tokenkeeper.cli.watch import _Glance, _Watched
from tokenkeeper.names import NO_PARAMETERS
from tokenkeeper.oauth import pending_answers

login = import_module("tokenkeeper.cli.login")

CONFIGURATION = """\
oauth2:
  - provider_name: calendar
    provider_type: generic
    client_id: me
    token_endpoint_auth_method: none
    issuer: {server.issuer}
    scope: read
    grant: authorization_code
    {more}
  - provider_name: billing
    provider_type: generic
    client_id: me
    token_endpoint_auth_method: none
    issuer: {server.issuer}
"""
KEPT = "custody: sqlite:///{directory}/kept/tokens.db"


@pytest.fixture
def server():
    """Return a running server that signs everybody in."""
    with SignInServer() as server:
        yield server


@pytest.fixture
def environment(monkeypatch):
    """Remove the machine's variables that could change a result."""
    remove_variables(monkeypatch, *OF_THE_LIBRARY, "XDG_RUNTIME", "COLUMNS", "BROWSER")
    return monkeypatch


@pytest.fixture
def configure(environment, tmp_path, server):
    """Return a function that describes the client, by default with a custody."""

    def configure(more=KEPT):
        (tmp_path / "kept").mkdir(mode=0o700, exist_ok=True)
        file = tmp_path / "tokens.yaml"
        more = more.format(directory=tmp_path)
        file.write_text(CONFIGURATION.format(server=server, more=more))
        environment.setenv("TOKENKEEPER_CONFIG", str(file))

    configure()
    return configure


@pytest.fixture
def browser(environment):
    """Return the URLs that a browser was sent to: a person, who signs in at each."""
    opened = []

    def follow(url):
        opened.append(url)
        return requests.get(url, timeout=PROGRAM_SECONDS).ok

    environment.setattr(webbrowser, "open", follow)
    return opened


@pytest.fixture
def run(configure, browser):
    """Return a function that runs the command in this process, which shows no secret."""

    def run(*arguments):
        result = CliRunner().invoke(cli, arguments)
        assert not isinstance(result.exception, Exception), result.exception
        shown = SECRETS if arguments[0] != "get" else set(SECRETS) - {ACCESS_TOKEN}
        assert not any(secret in result.output for secret in shown)
        return result

    return run


def grant_types(server):
    """Return the grant types of the token requests, in order."""
    return [form["grant_type"] for form in server.forms("/token")]


class TestLogin:
    """A person signs in in a browser."""

    def test_a_sign_in(self, run, server, browser, tmp_path):
        """A browser is opened, and the command says what was granted and where it is kept."""
        result = run("login", "calendar")
        assert result.exit_code == 0
        assert len(browser) == 1
        assert browser[0] in result.stderr
        assert "calendar: signed in. Granted: read" in result.stderr
        assert f"kept in sqlite:///{tmp_path}/kept/tokens.db" in result.stderr
        assert result.stdout == ""
        assert run("get", "calendar").stdout.strip() == ACCESS_TOKEN
        assert grant_types(server) == ["authorization_code"]

    def test_for_programs(self, run, tmp_path):
        """With --json, standard output has one document, and no token."""
        result = run("login", "calendar", "--json")
        content = json.loads(result.stdout)
        del content["expires_at"]
        assert content == {
            "provider_name": "calendar",
            "scope": "read",
            "has_refresh_token": True,
            "kept_in": f"sqlite:///{tmp_path}/kept/tokens.db",
        }

    def test_what_to_authorize(self, run, server):
        """The options say which scope, resource and audience the sign-in is for."""
        options = ["--scope", "write", "--scope", "read", "--resource", "https://api.example.com"]
        run("login", "calendar", *options, "--audience", "api")
        (page,) = server.pages
        assert set(page["scope"].split()) == {"write", "read"}
        assert (page["resource"], page["audience"]) == ("https://api.example.com", "api")

    def test_accounts(self, run, server):
        """Each account has a sign-in of its own."""
        assert run("login", "calendar", "--account", "acme").exit_code == 0
        assert run("get", "calendar", "--account", "acme").exit_code == 0
        result = run("get", "calendar", "--account", "globex & co")
        assert result.exit_code == 1
        advice = "sign-in needed: tokenkeeper login calendar --account 'globex & co'"
        assert advice in result.stderr
        assert run("login", "calendar", "--account", "").exit_code == 2

    def test_without_a_browser(self, run, environment):
        """If no browser can be opened, the command says so, and waits for the person."""

        def none(url):
            requests.get(url, timeout=PROGRAM_SECONDS)  # the person, on another screen
            raise webbrowser.Error("could not locate runnable browser")

        environment.setattr(webbrowser, "open", none)
        result = run("login", "calendar")
        assert (result.exit_code, "No browser could be opened." in result.stderr) == (0, True)

    def test_a_refusal(self, run, server):
        """If the person declines, that is the error, and nothing is kept."""
        server.declines = True
        result = run("login", "calendar")
        assert result.exit_code == 1
        assert "access_denied" in result.stderr
        assert "sign-in needed" in run("get", "calendar").stderr

    def test_without_a_refresh_token(self, run, server):
        """A sign-in that no service can go on with is reported, with what to change."""
        server.refresh_tokens = False
        result = run("login", "calendar")
        assert "Warning: the server granted no refresh token" in result.stderr
        assert "offline_access" in result.stderr

    def test_a_new_sign_in_after_a_refusal(self, run, server):
        """Once the refresh token is refused, status says so, and a sign-in makes it work again."""
        run("login", "calendar")
        server.refusal = Answer(400, {"error": "invalid_grant"})
        result = run("get", "calendar", "--force")
        assert "sign-in needed: tokenkeeper login calendar" in result.stderr
        assert "sign-in needed: tokenkeeper login calendar" in run("status").stdout
        server.refusal = None
        run("login", "calendar")
        assert run("get", "calendar", "--force").exit_code == 0
        assert "sign-in needed" not in run("status").stdout

    def test_on_the_person_s_phone(self, run, server, browser, environment, tmp_path):
        """With CIBA, the server asks the person, and no page is opened."""
        environment.setattr(pending_answers, "SHORTEST_INTERVAL_SECONDS", 0.0)
        file = tmp_path / "tokens.yaml"
        text = file.read_text().replace("authorization_code", "ciba\n    login_hint: ann", 1)
        file.write_text(text)
        result = run("login", "calendar")
        assert result.exit_code == 0, result.output
        assert "confirm the request on the device" in result.stderr
        assert server.forms("/backchannel")[0]["login_hint"] == "ann"
        assert browser == []

    def test_by_a_device(self, run, server, browser, environment):
        """With --device, a code is shown, no browser is opened, and the sign-in is the same one."""
        environment.setattr(pending_answers, "SHORTEST_INTERVAL_SECONDS", 0.0)
        result = run("login", "calendar", "--device")
        assert result.exit_code == 0, result.output
        assert "enter the code WDJB-MJHT" in result.stderr
        assert browser == []
        run("get", "calendar", "--force")
        assert grant_types(server) == [
            "urn:ietf:params:oauth:grant-type:device_code",
            "refresh_token",
        ]
        assert server.forms("/token")[-1]["refresh_token"] == REFRESH_TOKEN


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX terminal")
class TestPasting:
    """A person pastes the address that the browser ended at."""

    WEB = f"{KEPT}\n    redirect_uri: https://app.example.com/callback"

    @pytest.fixture
    def keyboard(self, environment):
        """Return what a person types at: the other end of the command's terminal."""
        ours, theirs = os.openpty()
        environment.setattr(login, "terminal", lambda: theirs)
        with open(ours, "wb", buffering=0) as keyboard:
            yield keyboard
        os.close(theirs)

    @pytest.fixture
    def person(self, environment, keyboard):
        """Return a function that says what a person types once signed in elsewhere."""

        def types(write):
            def open_page(url):
                answer = requests.get(url, timeout=PROGRAM_SECONDS, allow_redirects=False)
                for line in write(answer.headers["Location"]):
                    keyboard.write(line.encode())
                return False

            environment.setattr(webbrowser, "open", open_page)

        return types

    def test_from_a_web_application(self, run, configure, person, server):
        """What is not the answer is refused and spends nothing; the right address is accepted."""
        configure(self.WEB)
        other = "https://app.example.com/callback?code=1&state=2\r"
        person(lambda address: ["nothing\r", other, f"\x1b[200~{address}\x1b[201~\r"])
        result = run("login", "calendar")
        assert result.exit_code == 0, result.output
        assert result.stderr.count("the answer to the sign-in was not accepted") == 2
        assert "paste it here and press Enter. It is not shown." in result.stderr
        assert grant_types(server) == ["authorization_code"]
        assert run("get", "calendar").stdout.strip() == ACCESS_TOKEN

    def test_from_another_machine(self, run, person, server):
        """If no browser can be opened here, a pasted answer replaces the listener's."""
        person(lambda address: [f"{address}\n"])
        result = run("login", "calendar")
        assert result.exit_code == 0, result.output
        assert "If the browser is on another machine" in result.stderr
        assert grant_types(server) == ["authorization_code"]

    def test_the_answer_arrives_all_the_same(self, run, environment, keyboard):
        """While the terminal is read, the listener still takes the answer."""
        environment.setattr(webbrowser, "open", lambda url: not requests.get(url, timeout=60).ok)
        assert run("login", "calendar").exit_code == 0

    def test_a_denial(self, run, configure, person):
        """An answer that the person declined ends the command."""
        configure(self.WEB)
        denial = "https://a.test/?error=access_denied&{}\r"
        person(lambda address: [denial.format(address.partition("&")[2])])
        result = run("login", "calendar")
        assert result.exit_code == 1
        assert "access_denied" in result.stderr

    def test_too_late(self, keyboard):
        """Once the sign-in has expired, nothing is read any more."""
        expired = SimpleNamespace(is_due=lambda: True, proceed=lambda: "the outcome")
        assert pasting.completed_by_paste(expired, login.terminal(), print) == "the outcome"

    @pytest.mark.parametrize("typed", [b"\x04", b""], ids=["ctrl-d", "hang-up"])
    def test_giving_up(self, typed):
        """The end of the input ends the command."""
        reader, writer = os.pipe()
        with open(reader, "rb"):
            with open(writer, "wb") as keyboard:
                keyboard.write(typed)
            with pytest.raises(click.Abort):
                pasting._Lines(reader).next(60)

    def test_the_terminal(self, keyboard):
        """It shows nothing and cuts nothing off meanwhile, and is as before afterwards."""
        import termios

        number = login.terminal()
        before = termios.tcgetattr(number)
        with pasting._unseen(number):
            assert not termios.tcgetattr(number)[3] & (termios.ECHO | termios.ICANON)
        assert termios.tcgetattr(number) == before

    def test_a_long_address(self):
        """An address may be longer than a line of a terminal, and comes in parts."""
        address = f"https://app.example.com/?code={'a' * 9000}"
        reader, writer = os.pipe()
        with open(reader, "rb"), open(writer, "wb", buffering=0) as keyboard:
            lines = pasting._Lines(reader)
            keyboard.write(address[:5000].encode())
            assert lines.next(60) == ""
            keyboard.write(f"{address[5000:]}\rmore".encode())
            assert lines.next(60) == address
            assert lines.next(0) == ""

    def test_where_nobody_can_paste(self, environment):
        """Input that is not a terminal, or that is closed, is not read."""
        reader, writer = os.pipe()
        with open(reader) as pipe, open(writer, "wb"):
            environment.setattr(sys, "stdin", pipe)
            assert pasting.terminal() is None
        environment.setattr(sys, "stdin", None)
        assert pasting.terminal() is None


class TestRefusedBefore:
    """What ends the command before anybody signs in."""

    def test_nothing_keeps_it(self, run, configure, server):
        """Without a place for the refresh token, the person is not asked to sign in."""
        configure("redirect_port: 8400")
        result = run("login", "calendar")
        assert result.exit_code == 2
        assert "nothing would keep the refresh token" in result.stderr
        assert "Set custody" in result.stderr
        assert server.received == []

    def test_a_store_keeps_it(self, run, configure, tmp_path):
        """The store of the command line is a place as well."""
        configure("par: false")
        store = f"sqlite:///{tmp_path}/kept/store.db"
        result = run("login", "calendar", "--store", store)
        assert f"kept in {store}" in result.stderr
        assert "Warning" not in result.stderr

    def test_a_place_that_is_emptied(self, run, configure, environment, tmp_path):
        """A place that does not outlive the user's session is used, with a warning."""
        configure("par: false")
        (tmp_path / "runtime").mkdir(mode=0o700)
        environment.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
        result = run("login", "calendar")
        assert result.exit_code == 0
        assert "Warning: that is emptied when you log out" in result.stderr

    def test_another_grant(self, run, server):
        """A provider whose grant needs no person says so."""
        for command in ("login", "logout"):
            result = run(command, "billing")
            assert result.exit_code == 2
            assert "provider 'billing' needs no sign-in" in result.stderr
        assert server.received == []

    def test_a_web_application(self, run, configure, server):
        """With a redirect to a web application, only that can complete the sign-in."""
        configure(f"{KEPT}\n    redirect_uri: https://app.example.com/callback")
        result = run("login", "calendar")
        assert result.exit_code == 2
        assert "belongs to a web application" in result.stderr
        assert "--device" in result.stderr
        assert server.pages == []

    def test_a_store_that_lost_it(self, run, environment):
        """If the refresh token is not there afterwards, the command fails."""
        lost = sign_ins.sign_in_of

        def forgetting(provider, place, now):
            place.store.forget(next(iter(place.store.keys())))
            return lost(provider, place, now)

        environment.setattr(sign_ins, "sign_in_of", forgetting)
        result = run("login", "calendar")
        assert result.exit_code == 1
        assert "could not be stored" in result.stderr

    def test_a_store_that_fails(self, run, environment):
        """If the place can't be read afterwards, the command fails with the store's reason."""

        def failing(provider, place, now):
            raise StoreUnavailableError("the disk is full")

        environment.setattr(sign_ins, "sign_in_of", failing)
        result = run("login", "calendar")
        assert result.exit_code == 1
        assert "the disk is full. Sign in again once that works" in result.stderr


class TestLogout:
    """The sign-in is revoked and forgotten."""

    def test_revoked(self, run, server):
        """The refresh token is revoked at the server, and the next call needs a sign-in."""
        run("login", "calendar")
        assert run("logout", "calendar").exit_code == 0
        assert server.revoked == [REFRESH_TOKEN]
        assert "sign-in needed" in run("get", "calendar").stderr

    def test_one_account(self, run, server):
        """The sign-ins of other accounts stay."""
        run("login", "calendar", "--account", "acme")
        run("login", "calendar", "--account", "globex")
        run("logout", "calendar", "--account", "acme")
        assert run("get", "calendar", "--account", "acme").exit_code == 1
        assert run("get", "calendar", "--account", "globex").exit_code == 0

    def test_a_server_that_does_not_revoke(self, run, server):
        """The sign-in is forgotten anyway."""
        server.revokes = False
        run("login", "calendar")
        assert run("logout", "calendar").exit_code == 0
        assert "sign-in needed" in run("get", "calendar").stderr

    def test_a_server_that_fails(self, run, server, monkeypatch):
        """The sign-in is forgotten anyway, and the command says that it was not revoked."""
        run("login", "calendar")
        server.revocation = Answer(503)
        result = run("logout", "calendar", "--json")
        assert result.exit_code == 1
        assert "was forgotten, and not revoked" in result.stderr
        assert "HTTP 503" in json.loads(result.stdout)["error"]
        assert "sign-in needed" in run("get", "calendar").stderr

    def test_nothing_to_revoke(self, run, server):
        """Without a sign-in, there is nothing to do."""
        assert run("logout", "calendar").exit_code == 0
        assert server.revoked == []


def test_status_without_a_sign_in(run):
    """The table says which command is needed, and the commands that need a token do as well."""
    for command in ("status", "status --fetch", "get calendar", "introspect calendar"):
        assert "sign-in needed: tokenkeeper login calendar" in run(*command.split()).output


def test_watch_looks_where_the_token_is(run, tmp_path):
    """The table shows the record in the provider's custody, not that of another store."""
    run("login", "calendar")
    source = Source(config=tmp_path / "tokens.yaml")
    (provider,) = source.select(["calendar"]).providers
    token = _Watched.of(in_memory(), provider, NO_PARAMETERS)
    view = _Glance().view(token)
    assert (view.generation, round(view.lifetime_seconds)) == (1, 3600)


def test_clear_forgets_what_custody_has(run):
    """``clear NAME`` deletes from the provider's custody."""
    run("login", "calendar")
    assert "1 token deleted" in run("clear", "calendar").stderr
    assert "sign-in needed" in run("get", "calendar").stderr


@pytest.mark.slow
def test_on_a_terminal_of_another_machine(configure, start, server):
    """A process prints the URL, waits for the person, and ends with the sign-in."""
    process = start("login", "calendar", "--no-browser")
    lines = iter(process.stderr.readline, "")
    url = next(line.strip() for line in lines if line.startswith("  http"))
    assert requests.get(url, timeout=PROGRAM_SECONDS).ok
    output, errors = process.communicate(timeout=PROGRAM_SECONDS)
    assert (process.returncode, output) == (0, "")
    assert "signed in" in errors


@pytest.mark.slow
def test_giving_up(configure, start, server):
    """Ctrl-C ends the wait at once, with the exit code that a shell gives it."""
    process = start("login", "calendar", "--no-browser")
    lines = iter(process.stderr.readline, "")
    assert any(line.startswith("Waiting for the sign-in") for line in lines)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PROGRAM_SECONDS)
    assert process.returncode == 130
    assert server.forms("/token") == []
