"""The step ``sign-in``: the redirect, where the refresh token is kept, and whether there is one."""

import json
import socket
import sqlite3
import sys
from contextlib import closing

import pytest
import requests
from kit.guards import GUARD_SECONDS
from kit.servers.base import Answer
from kit.servers.signing_in import SECRETS, SignInServer

from tokenkeeper import AuthorizationRequiredError, TokenKeeper
from tokenkeeper.doctor.findings import Step

CONFIGURATION = """\
oauth2:
  provider_name: calendar
  provider_type: generic
  client_id: me
  token_endpoint_auth_method: none
  issuer: {issuer}
  scope: read
  grant: authorization_code
"""


@pytest.fixture
def server():
    """Return a running server that signs everybody in."""
    with SignInServer() as server:
        yield server


@pytest.fixture
def custody(tmp_path):
    """Return the URL of a store that keeps refresh tokens."""
    (tmp_path / "kept").mkdir(mode=0o700)
    return f"sqlite:///{tmp_path}/kept/tokens.db"


@pytest.fixture
def configure(environment, tmp_path, server, custody):
    """Return a function that describes the client with further keys, by default with a custody."""
    file = tmp_path / "tokens.yaml"

    def configure(beside="", **keys):
        keys = {"custody": custody, **keys}
        more = [f"  {key}: {value}\n" for key, value in keys.items() if value is not None]
        file.write_text(CONFIGURATION.format(issuer=server.issuer) + "".join(more) + beside)
        environment.setenv("TOKENKEEPER_CONFIG", str(file))
        return file

    return configure


@pytest.fixture
def sign_in(configure):
    """Return a function that signs a person in, in a web application."""

    def sign_in(account=None):
        path = configure(redirect_uri="https://app.example.com/callback")
        with TokenKeeper.from_config(path) as keeper:
            authorization = keeper.authorize("calendar", account=account)
            page = requests.get(authorization.url, allow_redirects=False, timeout=GUARD_SECONDS)
            authorization.complete(page.headers["Location"])
        configure()

    return sign_in


@pytest.fixture
def step(run):
    """Return a function that runs the doctor: its exit code, and the findings of the step."""

    def step():
        result = run("doctor", "--json", "calendar")
        assert not any(secret in result.output for secret in SECRETS)
        (provider,) = json.loads(result.stdout)["providers"]
        (found,) = [each for each in provider["steps"] if each["step"] == "sign_in"]
        return result.exit_code, found

    return step


def texts(found):
    """Return what was found, as pairs of the status and the text."""
    return [(each["status"], each["text"]) for each in found["findings"]]


def advice(found):
    """Return what to do, in one text."""
    return " ".join(each["advice"] or "" for each in found["findings"])


def test_nobody_has_signed_in(configure, step):
    """Without a sign-in, the step fails and names the command."""
    configure()
    code, found = step()
    assert code == Step.SIGN_IN == 21
    assert texts(found)[-1] == ("failed", "no person has signed in yet")
    assert "run: tokenkeeper login calendar" in advice(found)


def test_a_sign_in(sign_in, step, custody):
    """With one, the step says where it is kept, and when it was last used."""
    sign_in()
    code, found = step()
    assert code == 0
    redirect, kept, present = texts(found)
    assert redirect == ("ok", "the answer goes to a free port of 127.0.0.1")
    assert kept == ("ok", f"the refresh token is kept in {custody}")
    assert present[1].startswith("signed in; the refresh token was last used ")
    assert found["facts"]["signed_in"] is True


def test_a_refused_refresh_token(sign_in, configure, server, step):
    """Once the server refused it, the step fails with the server's reason."""
    sign_in()
    server.refusal = Answer(400, {"error": "invalid_grant", "error_description": "revoked"})
    keeper = TokenKeeper.from_config(configure(), background=False)
    with keeper, pytest.raises(AuthorizationRequiredError):
        keeper.get_token("calendar", force_refresh=True)
    code, found = step()
    assert code == Step.SIGN_IN
    assert texts(found)[-1][1].startswith("a new sign-in is needed: ")
    assert "revoked" in texts(found)[-1][1]
    assert "tokenkeeper login calendar" in advice(found)


def test_accounts(sign_in, step):
    """If only accounts have signed in, that is fine: callers may name one."""
    sign_in("acme")
    sign_in("globex")
    code, found = step()
    assert code == 0
    assert texts(found)[-1] == ("note", "2 accounts have signed in, and none without an account")


def test_in_memory(configure, step):
    """Without a custody and a store, the refresh token would be lost, and the step says where."""
    configure(custody=None)
    code, found = step()
    assert code == Step.SIGN_IN
    assert texts(found)[-1][1].startswith("the refresh token would be kept in memory")
    assert "custody" in advice(found)


def test_a_store(configure, step, tmp_path):
    """Without a custody, the store of the configuration keeps it."""
    store = f"sqlite:///{tmp_path}/kept/store.db"
    configure(f"store: {store}\n", custody=None)
    _, found = step()
    assert ("ok", f"the refresh token is kept in {store}") in texts(found)


def test_a_runtime_directory(configure, step, environment, tmp_path):
    """A place that is emptied at logout is a warning."""
    (tmp_path / "runtime").mkdir(mode=0o700)
    environment.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    configure(custody="auto")
    _, found = step()
    status, text = texts(found)[1]
    assert status == "warning"
    assert "is emptied when you log out" in text


def test_a_custody_that_is_damaged(sign_in, step, tmp_path):
    """What keeps it is examined like a store, and nothing is said about the sign-in then."""
    sign_in()
    (tmp_path / "kept" / "tokens.db").write_bytes(b"not a database" * 1000)
    code, found = step()
    assert code == Step.SIGN_IN
    assert texts(found)[-1][0] == "failed"
    assert texts(found)[-1][1].startswith("custody: ")


def test_an_unreadable_record(sign_in, step, tmp_path):
    """A record that can't be opened is a failure."""
    sign_in()
    path = tmp_path / "kept" / "tokens.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE records SET sealed = ?", (b"0.\x00{}",))
    code, found = step()
    assert code == Step.SIGN_IN
    assert "can't be read" in " ".join(text for _, text in texts(found))


def test_an_unreadable_record_of_the_store(sign_in, configure, step, custody, tmp_path):
    """The same in the store of the configuration, which has a section of its own."""
    sign_in()
    configure(f"store: {custody}\n", custody=None)
    with closing(sqlite3.connect(tmp_path / "kept" / "tokens.db")) as connection, connection:
        connection.execute("UPDATE records SET sealed = ?", (b"0.\x00{}",))
    code, found = step()
    assert code == Step.SIGN_IN
    assert texts(found)[-1][1].startswith("the refresh token can't be read: ")


def test_a_store_that_fails(sign_in, configure, step, custody, tmp_path):
    """A store that can't be read is a failure, with what is wrong with it."""
    sign_in()
    configure(f"store: {custody}\n", custody=None)
    (tmp_path / "kept" / "tokens.db").write_bytes(b"not a database" * 1000)
    code, found = step()
    assert code == Step.SIGN_IN
    assert "is not an SQLite database" in texts(found)[-1][1]


def test_a_port_in_use(configure, step):
    """A port that something else listens on is a warning, and a free one is not."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        configure(redirect_port=port)
        _, found = step()
        assert texts(found)[0][0] == "warning"
        assert texts(found)[0][1].startswith(f"redirect_port {port} can't be used: ")
        assert "register another redirect_port" in advice(found)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a bound port can't be bound again")
def test_a_free_port(configure, step):
    """A port that nothing listens on is fine."""
    with closing(socket.socket()) as reserved:  # so that no other program takes it meanwhile
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        configure(redirect_port=port)
        _, found = step()
    assert texts(found)[0] == ("ok", f"the answer goes to port {port} of 127.0.0.1, which is free")


def test_a_web_application(configure, step):
    """A redirect to a web application is shown."""
    configure(redirect_uri="https://app.example.com/callback")
    _, found = step()
    expected = "the answer goes to your application: https://app.example.com/callback (https)"
    assert texts(found)[0] == ("ok", expected)


def test_a_device_code(configure, step, server):
    """A grant without a redirect has no finding about one."""
    file = configure()
    file.write_text(file.read_text().replace("authorization_code", "device_code"))
    _, found = step()
    assert texts(found)[0][1].startswith("the refresh token is kept in")
    assert server.forms("/token") == server.forms("/device") == []
