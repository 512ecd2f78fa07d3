"""The base class of grants: what a client presents to a server to get a token (RFC 6749 §1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenkeeper._support.checks import checked_words
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.names import TokenParameters
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.request_style import checked_grant_type

__all__ = ["ClientCredentials", "Grant", "NamedGrant", "grant_of"]


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

    def parameters(self, wanted: TokenParameters, to: Recipient) -> Mapping[str, Any]:
        """Return the parameters of one token request beside the scope and its targets.

        Called for each attempt, on a worker's thread, so that values that live shortly are
        read here. By default there are none.

        :param wanted: what a source asked for.
        :param to: whom the request is for.
        :raises OAuth2Error: if something that the grant needs is not there.
        """
        return {}

    def accepting(self, accept_token_types: object) -> tuple[str, ...]:
        """Return the values of ``token_type`` that a provider of this grant accepts.

        :param accept_token_types: those that the provider accepts itself, a string or several.
        :raises InvalidConfigurationError: for a value that can't be one.
        """
        own = checked_words(accept_token_types, "accept_token_types")
        return (*own, *self.accept_token_types)

    def identity(self) -> Mapping[str, object]:
        """Return the settings that make its tokens different from others, without a secret.

        By default there are none beside the ``grant_type``.
        """
        return {}


class ClientCredentials(Grant):
    """The client's own credentials, and nothing beside them (RFC 6749 §4.4). The default."""

    grant_type = "client_credentials"


class NamedGrant(Grant):
    """A grant whose parameters are those of the registration, ``additional_params``.

    :param grant_type: its name or URI.
    """

    def __init__(self, grant_type: str) -> None:
        self.grant_type = checked_grant_type(grant_type)


def grant_of(grant: object, grant_type: str | None) -> Grant:
    """Return the grant of a provider, which its options *grant* and *grant_type* describe.

    :raises InvalidConfigurationError: if both are given, or one can't be a grant.
    """
    if grant is None:
        if grant_type is None or grant_type == ClientCredentials.grant_type:
            return _CLIENT_CREDENTIALS
        return NamedGrant(grant_type)
    if not isinstance(grant, Grant):
        problem = f"grant must be a Grant, such as ClientCredentials(), not {type(grant).__name__}"
    elif grant_type is not None:
        problem = f"grant can't be combined with grant_type, which {type(grant).__name__} sets"
    else:
        return grant
    raise InvalidConfigurationError(problem, field="grant")


_CLIENT_CREDENTIALS = ClientCredentials()
