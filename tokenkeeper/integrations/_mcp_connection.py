"""A client's connection with an MCP server: whose tokens it uses, and what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import httpx2

from tokenkeeper.integrations._mcp_clients import ChosenClient
from tokenkeeper.integrations.httpx2 import KeeperAuth
from tokenkeeper.oauth.protected_resource import ResourceChallenge, resource_challenge
from tokenkeeper.source import TokenSource

__all__ = ["Connection", "Demand", "union"]


class Demand(NamedTuple):
    """What a request needs.

    :ivar after: the number of the connection that does not do; 0 if there was none.
    :ivar challenge: what the response to the request says.
    :ivar scope: the scope to add to what was requested before.
    :ivar is_refused: whether the authorization server does not know the client any more.
    """

    after: int = 0
    challenge: ResourceChallenge = ResourceChallenge()
    scope: tuple[str, ...] = ()
    is_refused: bool = False

    @classmethod
    def of(cls, response: httpx2.Response, after: int = 0) -> Demand:
        """Return what *response* demands, which refused a request."""
        challenge = resource_challenge(response.headers.get("WWW-Authenticate"))
        return cls(after, challenge)


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """What was found out, and agreed with the servers. Immutable.

    :ivar number: grows with each connection of a client.
    :ivar source: the source of its tokens.
    :ivar auth: authenticates requests with them.
    :ivar client: the client that requests them.
    :ivar scope: the scope that was requested so far.
    :ivar known_scope: the scopes that the MCP server lists.
    :ivar metadata_url: where the MCP server's metadata was found; "" if it has none.
    """

    number: int
    source: TokenSource
    auth: KeeperAuth
    client: ChosenClient
    scope: tuple[str, ...]
    known_scope: tuple[str, ...]
    metadata_url: str = ""

    def meets(self, demand: Demand) -> bool:
        """Return whether it came after, and has what *demand* needs."""
        return self.number > demand.after and set(demand.scope) <= set(self.scope)


def union(*scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Return all scopes in the order of their first appearance."""
    return tuple(dict.fromkeys(each for scope in scopes for each in scope))
