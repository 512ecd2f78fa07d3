"""Asks a server about a token: what ``introspect()`` does once there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokenkeeper._renewal.need import Need
from tokenkeeper._runtime import provider_loop
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.models import OAuth2Token
from tokenkeeper.retry import as_oauth2_error

if TYPE_CHECKING:
    from tokenkeeper._renewal.coordinator import Coordinator

__all__ = ["introspected"]


def introspected(coordinator: Coordinator, need: Need, token: OAuth2Token) -> Mapping[str, Any]:
    """Return what the server knows of *token*, which meets *need*. Blocks.

    :raises TokenAcquisitionError: if it did not answer.
    """
    variant = need.variant
    registry = coordinator.state.registry
    provider = registry.find(need.provider_name) if variant is None else variant.provider
    try:
        return provider_loop.call(provider.introspect_token, token)
    except OAuth2Error:
        raise
    except Exception as error:
        raise as_oauth2_error(error, provider.provider_name) from error
