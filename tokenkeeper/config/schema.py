"""Reads one block of a configuration, and says what is wrong with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from tokenkeeper.config.blocks import Azure, Block, Client, Generic, Retry
from tokenkeeper.config.own_classes import OWN_BLOCKS, block_for, misfits
from tokenkeeper.config.problems import KeyPath, Problems
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.providers.kinds import provider_class

__all__ = ["Block", "read_block"]

_KINDS: dict[str, type[Block]] = {"azure": Azure, "generic": Generic}


class _Undecided(Azure, Generic):
    """A block whose ``provider_type`` says nothing: what is wrong beyond that."""

    provider_type: Any = None
    tenant_id: Any = None
    token_url: Any = None


def read_block(content: object, problems: Problems, path: KeyPath) -> Block | None:
    """Return the block that *content* describes, or note everything that is wrong with it."""
    if not isinstance(content, Mapping):
        problems.add(path, "must be a block of keys and values")
        return None
    model = _model_of(content, problems, path)
    if model is None:
        return None
    _check_pairs(content, model, problems, path)
    wrong = dict(misfits(model, content)) if model in OWN_BLOCKS else {}
    for own, what in wrong.items():
        problems.add((*path, own), what)
    try:
        block = model.model_validate(dict(content))
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            key = (*path, *map(str, each["loc"]))
            if key not in problems:
                problems.add(key, _words(each, content, model))
        return None
    return None if wrong or model is _Undecided else block


def _model_of(content: Mapping[Any, Any], problems: Problems, path: KeyPath) -> type[Block] | None:
    """Return how the block *content* is read, by its ``provider_type``.

    ``None`` for a class that can't be had: nobody knows what it takes.
    """
    kind = content.get("provider_type")
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind]
    try:
        return block_for(provider_class(kind))
    except InvalidConfigurationError as problem:
        what = str(problem).removeprefix("provider_type ")
        missing = "is missing: it " if kind is None else ""
        problems.add((*path, "provider_type"), missing + what)
    return None if isinstance(kind, str) and ":" in kind else _Undecided


def _check_pairs(
    content: Mapping[Any, Any], model: type[Block], problems: Problems, path: KeyPath
) -> None:
    """Note keys that exclude each other, and a secret that is needed and not given."""
    public = content.get("token_endpoint_auth_method") == "none"
    pairs = [("client_secret", "client_secret_file", issubclass(model, Client) and not public)]
    if issubclass(model, Client):
        pairs.append(("scope", "scopes", False))
    for one, other, needed in pairs:
        given = [name for name in (one, other) if content.get(name) is not None]
        if len(given) == 2:
            problems.add((*path, other), f"can't be given along with {one}")
        elif needed and not given:
            problems.add((*path, one), f"is missing: give it, or {other}")


def _words(error: Any, content: Mapping[Any, Any], model: type[Block]) -> str:
    """Return what is wrong with a value, which is not shown: it may be a secret."""
    *above, key = error["loc"]
    if not above and key in content and content[key] is None:
        return "has no value"
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden" | "invalid_key":
            return _unknown(str(key), Retry if above else model)
        case "value_error":
            return str(error["ctx"]["error"])
        case "string_type":
            return "must be a string: put it in quotes if it is meant as one"
        case "bool_type":
            return "must be true or false"
        case "model_type":
            return "must be a block of keys and values"
        case "literal_error":
            return f"must be {error['ctx']['expected']}"
    return str(error["msg"]).replace("Input should be", "must be")


def _unknown(key: str, model: type[BaseModel]) -> str:
    kind = next((name for name, each in _KINDS.items() if key in each.model_fields), None)
    if kind and model is not Retry:
        return f"is a key of provider_type {kind!r} only"
    whose: dict[type[BaseModel], str] = {Retry: "retry", _Undecided: "a provider"}
    whose |= {each: f"provider_type {name!r}" for name, each in _KINDS.items()}
    nearest = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.5)
    advice = f". Did you mean {nearest[0]!r}?" if nearest else ""
    return f"is not a key of {whose[model]}{advice}"


def _listed(words: Iterable[str]) -> str:
    return " or ".join(repr(word) for word in words)
