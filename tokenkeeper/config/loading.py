"""Loads what reads a configuration, and says what to install where that is missing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokenkeeper.exceptions import InvalidConfigurationError

if TYPE_CHECKING:
    from tokenkeeper.config.configuration import Configuration

__all__ = ["load_configuration"]


def load_configuration(source: str | os.PathLike[str] | Mapping[str, Any]) -> Configuration:
    """Return the configuration that *source* holds.

    :raises InvalidConfigurationError: naming all that is wrong with it, or the extra to install.
    """
    try:
        from tokenkeeper.config.configuration import Configuration
    except ModuleNotFoundError as missing:
        if missing.name not in ("yaml", "pydantic"):
            raise
        raise InvalidConfigurationError(
            "a configuration needs an extra that is not installed: "
            'pip install "tokenkeeper-oauth2[yaml]"'
        ) from None
    return Configuration(source)
