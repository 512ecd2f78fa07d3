"""Validates one block of a configuration, and describes every mistake in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from tokenkeeper.config.blocks import Azure, Block, Generic, Retry
from tokenkeeper.config.combinations import check_any, check_azure, check_generic, check_pairs
from tokenkeeper.config.keys import OLD_KEYS, keys_of, unknown_key
from tokenkeeper.config.own_classes import OWN_BLOCKS, block_for, check_arguments, keys_taken
from tokenkeeper.config.problems import KeyPath, Problems
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.providers.kinds import provider_class

__all__ = ["Block", "model_of", "read_block"]

_KINDS: dict[str, type[Block]] = {"azure": Azure, "generic": Generic}


class _AnyKind(Azure, Generic):
    """A block with an invalid ``provider_type``, to find what else is wrong with it."""

    provider_type: Any = None
    tenant_id: Any = None
    token_url: Any = None
    client_id: Any = None


def read_block(
    content: object, model: type[Block] | None, problems: Problems, path: KeyPath
) -> Block | None:
    """Return the block that *content* describes, or note everything that is wrong with it.

    :param model: what :func:`model_of` returned for it.
    """
    if not isinstance(content, Mapping):
        problems.add(path, "must be a block of keys and values")
        return None
    if model is None:
        return None
    taken = keys_taken(model, str(content.get("provider_type")))
    ours = {key: value for key, value in content.items() if key not in taken}
    _check_combinations(ours, model, problems, path)
    fits = model not in OWN_BLOCKS or check_arguments(model, content, problems, path)
    try:
        block = model.model_validate(dict(content))
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            _note(each, content, model, problems, path)
        return None
    return block if fits and model is not _AnyKind else None


def model_of(content: object, problems: Problems, path: KeyPath) -> type[Block] | None:
    """Return the model for the ``provider_type`` of the block *content*.

    ``None`` for what is not a block, or a class that can't be imported: its keys are unknown.
    """
    if not isinstance(content, Mapping):
        return None
    kind = content.get("provider_type")
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind]
    try:
        return block_for(provider_class(kind))
    except InvalidConfigurationError as problem:
        what = str(problem).removeprefix("provider_type ")
        missing = "is missing: it " if kind is None else ""
        problems.add((*path, "provider_type"), missing + what)
    return None if isinstance(kind, str) and ":" in kind else _AnyKind


def _check_combinations(
    content: Mapping[Any, Any], model: type[Block], problems: Problems, path: KeyPath
) -> None:
    """Note keys that exclude each other, are missing, or mean nothing in this block."""

    def note(key: KeyPath, what: str) -> None:
        if what.startswith(": "):
            problems.add_key((*path, *key), what.removeprefix(": "))
        else:
            problems.add((*path, *key), what)

    for old, new in OLD_KEYS.items():
        if new in model.model_fields and old in content and new in content:
            note((old,), f"can't be combined with {new}, which is the same setting")
    check_pairs(content, note)
    if model is _AnyKind:
        check_any(content, note)
    elif issubclass(model, Generic):
        check_generic(content, note)
    elif issubclass(model, Azure):
        check_azure(content, note)


def _note(
    error: Any, content: Mapping[Any, Any], model: type[Block], problems: Problems, path: KeyPath
) -> None:
    """Note one mistake that pydantic found. Values are not shown, because they may be secrets."""
    *above, key = error["loc"]
    place = (*path, *map(str, error["loc"]))
    if place in problems:
        return
    if error["type"] in ("extra_forbidden", "invalid_key"):
        problems.add_key(place, _unknown(str(key), Retry if above else model))
    elif not above and key in content and content[key] is None:
        problems.add(place, "has no value")
    else:
        problems.add(place, _words(error))


def _words(error: Any) -> str:
    """Return what is wrong with a value, to follow its key in a sentence."""
    match error["type"]:
        case "missing":
            return "is missing"
        case "value_error":
            return str(error["ctx"]["error"])
        case "string_type":
            return "must be a string. Put it in quotes"
        case "bool_type":
            return "must be true or false"
        case "model_type":
            return "must be a block of keys and values"
        case "literal_error":
            return f"must be {error['ctx']['expected']}"
    return str(error["msg"]).replace("Input should be", "must be")


def _unknown(key: str, model: type[BaseModel]) -> str:
    kind = next((name for name, each in _KINDS.items() if key in keys_of(each)), None)
    if kind and model is not Retry:
        return f"key {key!r} is only valid for provider_type {kind!r}"
    owners: dict[type[BaseModel], str] = {Retry: "retry", _AnyKind: "a provider"}
    owners |= {each: f"provider_type {name!r}" for name, each in _KINDS.items()}
    return unknown_key(key, owners.get(model, "this provider_type"), keys_of(model))
