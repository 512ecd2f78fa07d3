"""The base class of grants: what a client presents to a server to get a token (RFC 6749 §1.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenkeeper.names import TokenParameters
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.request_style import checked_grant_type

__all__ = ["ClientCredentials", "Grant", "NamedGrant"]


class Grant:
    """Builds the parameters of a token request that prove what the token is granted for.

    Derive from it for a custom grant: set ``grant_type``, and implement :meth:`parameters` if
    the grant has any. Thread-safe, and unchanged by a request: one grant serves all tokens of its
    provider.

    :ivar grant_type: the name or URI of the grant (RFC 6749 §4.5).
    """

    grant_type: str

    takes: frozenset[str] = frozenset({"scope", "resource", "audience"})
    """The parameters that a source may set, as in :attr:`BaseOAuth2Provider.takes`."""

    accept_token_types: tuple[str, ...] = ()
    """Values of ``token_type`` that the server may send for this grant besides ``Bearer``."""

    works_once: bool = False
    """Whether a request can't simply be repeated, because what it presents works once: a refresh
    token, which the response replaces."""

    def parameters(self, wanted: TokenParameters, to: Recipient) -> Mapping[str, Any]:
        """Return the parameters of one token request beside the scope and its targets.

        Called for each attempt, on a worker's thread, so that values that live shortly are
        read here. By default there are none.

        :param wanted: what a source asked for.
        :param to: whom the request is for.
        :raises OAuth2Error: if something that the grant needs is not there.
        """
        return {}

    def check(self, wanted: TokenParameters) -> None:
        """Raise if a token with the parameters *wanted* can't be had, before any request.

        By default nothing is checked.

        :raises InvalidConfigurationError: naming the parameter.
        """

    def first(self) -> str:
        """Return the first refresh token, for a grant that uses refresh tokens; by default none.

        :raises OAuth2Error: if it can't be read.
        """
        return ""

    def is_same(self, other: Grant) -> bool:
        """Return whether a refresh token that was received for *other* is one of this grant too.

        Asked after the configuration changed. ``False`` by default.
        """
        return False

    def check_authorized(self, wanted: TokenParameters, authorized: Iterable[str]) -> None:
        """Raise if *wanted* is beyond what a sign-in asked for. By default nothing is checked.

        :param authorized: the resources that it named; empty if there was none.
        :raises InvalidConfigurationError: naming the parameter.
        """

    def rotated(self, refresh_token: str) -> None:
        """Take note of a new refresh token. By default do nothing; raise nothing."""

    def describe(self) -> Mapping[str, object]:
        """Return what ``describe()`` of its provider says about it, without a secret.

        By default nothing beside the ``grant_type``.
        """
        return {}

    def identity(self) -> Mapping[str, object]:
        """Return the settings that make its tokens different from others, without a secret.

        By default there are none beside the ``grant_type``.
        """
        return {}


class ClientCredentials(Grant):
    """The client's own credentials, and nothing beside them (RFC 6749 §4.4). The default."""

    grant_type: str = "client_credentials"


class NamedGrant(Grant):
    """A grant whose parameters are those of the registration, ``additional_params``.

    :param grant_type: its name or URI.
    """

    def __init__(self, grant_type: str) -> None:
        self.grant_type: str = checked_grant_type(grant_type)
