"""Tokens that a block names, because they live shortly: from a file, a variable, a provider."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenkeeper._support.checks import checked_seconds, checked_text
from tokenkeeper.config.files import located
from tokenkeeper.config.keeper_tokens import KeeperTokens, ProviderToken
from tokenkeeper.config.problems import KeyPath, shortened
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.names import TokenParameters
from tokenkeeper.oauth.late_text import LateText
from tokenkeeper.providers.kinds import did_you_mean

__all__ = ["LATE_TOKENS", "Note", "VariableText", "check_late_token", "late_token", "links_in"]

Note = Callable[[KeyPath, str], None]
"""Notes what is wrong with the value at a path in a block: the end of a sentence about it."""

LATE_TOKENS = (
    *("subject_token", "actor_token", "assertion"),
    *("login_hint", "login_hint_token", "id_token_hint"),
)
"""The keys whose value says where a token comes from."""

_PLAIN = ("login_hint",)
"""Those of them that are not secret, so that the value may be the text itself."""

_KINDS = {
    "file": "{file: PATH}",
    "env": "{env: NAME}",
    "provider": "{provider: NAME}",
    "github": "{github: AUDIENCE}",
}
_SIGNED = "private_key_file"
_OF_PROVIDER = ("scope", "resource", "audience", "tenant", "account")
_TEXTS_OF_SIGNED = (
    *("issuer", "subject", "key_id", "signing_alg"),
    *("private_key_password", "private_key_password_file"),
)
_OF_SIGNED = (
    "private_key_password",
    "private_key_password_file",
    "key_id",
    "signing_alg",
    "issuer",
    "subject",
    "audience",
    "lifetime_seconds",
    "claims",
)


@dataclass(frozen=True)
class VariableText:
    """Returns the value of an environment variable when it is called."""

    name: str

    def __call__(self) -> str:
        """Return the value at this moment."""
        text = os.environ.get(self.name, "")
        if not text.strip():
            raise TokenAcquisitionError(
                f"the environment variable {self.name} is not set or empty", transient=False
            )
        return text


def check_late_token(key: str, value: object, note: Note) -> None:
    """Note everything that is wrong with *value*, which says where the token *key* comes from."""
    kinds = {**_KINDS, **({_SIGNED: "{private_key_file: PATH}"} if key == "assertion" else {})}
    *most, last = kinds.values()
    if key in _PLAIN and isinstance(value, str):
        _check_text((key,), value, note)
        return
    if not isinstance(value, Mapping):
        what = "a string or a block" if key in _PLAIN else "a block"
        note((key,), f"must be {what}: {', '.join(most)} or {last}")
        return
    given = [each for each in kinds if each in value]
    if len(given) > 1:
        note((key, given[1]), f"can't be combined with {given[0]}")
        return
    kind = given[0] if given else None
    allowed = {"provider": _OF_PROVIDER, _SIGNED: _OF_SIGNED}.get(kind or "", ())
    known = [*kinds] if kind is None else [kind, *allowed]
    unknown = [str(each) for each in value if each not in known]
    for each in unknown:
        near = did_you_mean(each, known)
        note((key, each), f": unknown key {shortened(each)!r} for {key}{near}")
    if kind is None and not unknown:
        note((key,), f"is empty. Set it to {', '.join(most)} or {last}")
    if kind is None:
        return
    _check_text((key, kind), value[kind], note)
    if kind == "provider":
        _check_parameters(key, value, note)
    elif kind == _SIGNED:
        _check_signed(key, value, note)


def _check_text(path: KeyPath, value: object, note: Note) -> None:
    try:
        checked_text(value, "it")
    except InvalidConfigurationError as error:
        note(path, str(error).removeprefix("it "))


def _check_parameters(key: str, value: Mapping[str, Any], note: Note) -> None:
    """Note what a provider's source would refuse."""
    for name in _OF_PROVIDER:
        if name not in value:
            continue
        try:
            TokenParameters.of(**{name: value[name]})
        except InvalidConfigurationError as error:
            note((key, name), str(error).removeprefix(f"{name} "))


def _check_signed(key: str, value: Mapping[str, Any], note: Note) -> None:
    """Note what is missing in an assertion that is signed here, or does not fit."""
    if value.get("issuer") is None:
        note((key, "issuer"), "is missing. It names who signs the assertion")
    for name in _TEXTS_OF_SIGNED:
        if value.get(name) is not None:
            _check_text((key, name), value[name], note)
    if value.get("private_key_password") and value.get("private_key_password_file"):
        note((key, "private_key_password_file"), "can't be combined with private_key_password")
    if not isinstance(value.get("claims", {}), Mapping):
        note((key, "claims"), "must be a block of keys and values")
    try:
        checked_seconds(value.get("lifetime_seconds", 1), "it")
    except InvalidConfigurationError as error:
        note((key, "lifetime_seconds"), str(error).removeprefix("it "))


def links_in(content: object) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path and the name of each provider whose token the block *content* needs."""
    if not isinstance(content, Mapping):
        return
    for key in LATE_TOKENS:
        value = content.get(key)
        name = value.get("provider") if isinstance(value, Mapping) else None
        if isinstance(name, str) and name.strip():
            yield (key, "provider"), name


def late_token(value: Mapping[str, Any], directory: Path, tokens: KeeperTokens) -> LateText:
    """Return a late text for the token that *value* names, except one that is signed here.

    :param directory: where a relative path begins.
    """
    if "file" in value:
        return located(directory, value["file"])
    if "env" in value:
        return VariableText(value["env"])
    if "github" in value:
        from tokenkeeper.oauth.github_actions import GitHubActionsToken

        return GitHubActionsToken(value["github"])
    parameters = {name: value[name] for name in _OF_PROVIDER if value.get(name) is not None}
    return ProviderToken(tokens, value["provider"], parameters)
