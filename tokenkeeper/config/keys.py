"""The keys of a block: their older spellings, and the message for an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import AliasChoices, BaseModel, Field

from tokenkeeper.config.problems import shortened
from tokenkeeper.providers.kinds import nearest_to

__all__ = ["OLD_KEYS", "keys_of", "spelled", "unknown_key"]

OLD_KEYS = {"refresh_buffer_seconds": "buffer_seconds", "scopes": "scope"}
"""Older spellings, which are still accepted, and the keys that replaced them."""


def keys_of(model: type[BaseModel]) -> list[str]:
    """Return all keys that *model* accepts, the older spellings last."""
    fields = model.model_fields
    return [*fields, *(old for old, new in OLD_KEYS.items() if new in fields)]


def spelled(key: str) -> Any:
    """Return an optional field for *key* that accepts the older spelling as well."""
    old = [each for each, new in OLD_KEYS.items() if new == key]
    return Field(None, validation_alias=AliasChoices(key, *old))


def unknown_key(key: str, owner: str, names: Iterable[str]) -> str:
    """Return the message for *key*, which is not one of the *names* that *owner* accepts."""
    nearest = nearest_to(key, names)
    advice = f". Did you mean {OLD_KEYS.get(nearest, nearest)!r}?" if nearest else ""
    return f"unknown key {shortened(key)!r} for {owner}{advice}"
