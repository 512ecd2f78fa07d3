"""Clients whose refresh tokens work once, and processes that end in the middle of a request."""

import itertools
import os
import random
import signal
import time
from contextlib import suppress

from kit.guards import PROGRAM_SECONDS, until
from kit.processes import Child
from tokenkeeper import GenericOAuth2Provider, TokenKeeper

TOTAL_SECONDS = 4.0
"""How long a request may take. A claim is taken over after that."""

_numbers = itertools.count(1)


class Family:
    """A grant of a strict server: the second use of a refresh token revokes all of its tokens.

    :param server: the oidc-provider.
    :param folder: where the store is; only this user may write it.
    :param detached: whether helper processes make the requests.
    """

    def __init__(self, server, folder, *, detached=False, hold_seconds=0.0):
        self.server = server
        self.client_id = f"family-{next(_numbers)}"
        self.slow_down(hold_seconds)
        self.first = server.sign_in(self.client_id)
        folder.chmod(0o700)
        self.store = {"url": f"sqlite:///{folder / 'store.db'}", "detached": detached}

    def slow_down(self, hold_seconds):
        """Have the server wait between a grant and its answer."""
        self.server.add_client(
            self.client_id,
            "family-secret",
            grant_types=["authorization_code", "refresh_token"],
            redirect_uris=["https://client.example.com/"],
            response_types=["code"],
            scope="openid offline_access",
            hold_seconds=hold_seconds,
        )

    def keeper(self, **options):
        """Return a keeper that knows the first refresh token, and shares all others."""
        parameters = {"refresh_token": self.first}
        config = self.server.config("api", self.client_id, scope=None, additional_params=parameters)
        keeper = TokenKeeper(store=self.store, **options)
        keeper.add_provider(
            GenericOAuth2Provider(config, grant_type="refresh_token", total_timeout=TOTAL_SECONDS)
        )
        return keeper

    @property
    def arrivals(self):
        """How many requests have arrived at the server."""
        return self._stats["arrivals"]

    @property
    def _stats(self):
        return self.server.stats(self.client_id)

    @property
    def is_alive(self):
        """Whether the stored refresh token brings a token that the API accepts."""
        self.slow_down(0.0)
        with self.keeper() as keeper:
            token = keeper.get_token("api", force_refresh=True)
        return self.server.call(token)[0] == 200 and not self._stats["families_revoked"]

    def ask_in_child(self):
        """Fork a child that asks for a new token, as the worker of a service does."""

        def ask():
            with suppress(Exception), self.keeper() as keeper:
                keeper.get_token("api", force_refresh=True)

        return Child(ask)

    def kill(self, child):
        """Kill *child* with ``SIGKILL``."""
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        os.close(child._reader)

    def kill_in_mid_flight(self):
        """Kill a child while the server works on its request."""
        child = self.ask_in_child()
        until(lambda: self._stats["grants"], "the grant to the child", limit=PROGRAM_SECONDS)
        self.kill(child)


def kill_at_random(server, folder, rounds, seed=13):
    """Kill *rounds* workers of a family with helpers, at random moments; return the family."""
    chance = random.Random(seed)
    family = Family(server, folder, detached=True, hold_seconds=0.2)
    for _ in range(rounds):
        child = family.ask_in_child()
        time.sleep(chance.uniform(0.3, 1.3))
        family.kill(child)
    return family
