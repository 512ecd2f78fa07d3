"""Which grant a provider was given."""

from __future__ import annotations

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.providers.grants.base import ClientCredentials, Grant, NamedGrant
from tokenkeeper.providers.grants.refresh_token import RefreshToken

__all__ = ["grant_of"]

_CLIENT_CREDENTIALS = ClientCredentials()


def grant_of(grant: object, grant_type: str | None, config: OAuth2Config) -> Grant:
    """Return the grant of a provider, which its options *grant* and *grant_type* describe.

    :param config: its registration, whose further parameters may contain a refresh token.
    :raises InvalidConfigurationError: if both are given, or one can't be a grant.
    """
    seed = str((config.additional_params or {}).get("refresh_token", ""))
    if grant is None and grant_type == RefreshToken.grant_type:
        if not seed.strip():
            raise InvalidConfigurationError(
                "additional_params must contain the first refresh_token, because grant_type is "
                "'refresh_token'.",
                field="additional_params",
            )
        return RefreshToken(seed)
    if seed:
        raise InvalidConfigurationError(
            "additional_params contains a refresh_token. Set grant_type: refresh_token, or remove "
            "it.",
            field="additional_params",
        )
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
