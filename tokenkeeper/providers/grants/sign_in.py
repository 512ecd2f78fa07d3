"""The base class of grants that begin with a person's sign-in, and what is known while it lasts."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from tokenkeeper.exceptions import AuthorizationRequiredError, TokenAcquisitionError
from tokenkeeper.names import NO_PARAMETERS, TokenParameters
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.providers.grants.one_time import OneTimeGrant

if TYPE_CHECKING:
    from tokenkeeper.oauth.client import OAuthClient

__all__ = ["Asked", "ForeignAnswerError", "PendingSignIn", "SignIn", "resources_in"]


class ForeignAnswerError(TokenAcquisitionError):
    """An answer does not end this sign-in: it belongs to another one, or this one has ended."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a sign-in is to be begun for. Immutable.

    :ivar token_name: the name of the token that it brings: the provider's, or an account's.
    :ivar parameters: the resources and audiences to authorize, and whose account it is.
    :ivar scope: the scope to authorize; ``""`` for none.
    :ivar redirect_uri: where the browser is sent with the answer; ``None`` if the grant decides.
    :ivar login_hint: who is to sign in, as the server knows the person; ``None`` if unknown.
    :ivar now: the time, in seconds since the epoch.
    :ivar timeout_seconds: how long the sign-in may take.
    :ivar dpop_jkt: the thumbprint of the key that the token is to be bound to (RFC 9449 §10);
        ``None`` for a bearer token.
    :ivar listen: begins to listen for the answer on a port of this machine, a free one for
        ``None``, and returns the redirect URI; ``None`` where nothing can listen.
    """

    token_name: str = field(repr=False)
    parameters: TokenParameters = NO_PARAMETERS
    scope: str = ""
    redirect_uri: str | None = None
    login_hint: str | None = field(default=None, repr=False)
    now: float = 0.0
    timeout_seconds: float = 300.0
    dpop_jkt: str | None = None
    listen: Callable[[int | None], str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that has begun. Immutable; ``repr`` shows no secret.

    :ivar token_name: the name of the token that it brings. It may contain personal data.
    :ivar url: where the person signs in.
    :ivar user_code: what to enter there (RFC 8628 §3.2); ``None`` if nothing.
    :ivar state: ties the answer to this sign-in (RFC 6749 §10.12); ``""`` without a redirect.
    :ivar expires_at: until when it can be completed, in seconds since the epoch.
    :ivar interval_seconds: how long to wait between questions whether it is complete; ``None`` if
        the answer comes by a redirect.
    :ivar redirect_uri: where the browser is sent with the answer; ``None`` without a redirect.
    :ivar secrets: what the last request needs, by name, such as ``code_verifier``.
    :ivar scope: the scope that was asked for; ``""`` for none.
    :ivar resource: the resources that were asked for, wherever they were configured.
    """

    token_name: str = field(repr=False)
    url: str = field(repr=False)
    user_code: str | None = field(repr=False)
    state: str = field(repr=False)
    expires_at: float
    interval_seconds: float | None = None
    redirect_uri: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    scope: str = ""
    resource: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return it as JSON, to be sealed."""
        members = {each.name: getattr(self, each.name) for each in fields(self)}
        return json.dumps({**members, "secrets": dict(self.secrets)}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> PendingSignIn:
        """Return what :meth:`to_bytes` wrote.

        :raises ValueError: for anything else.
        """
        found = json.loads(content)
        names = {each.name for each in fields(cls)}
        if not isinstance(found, dict) or not names <= set(found):
            raise ValueError("it is not a sign-in")
        members = {name: found[name] for name in names}
        moment = members["expires_at"]
        if not isinstance(moment, (int, float)) or not math.isfinite(moment):
            raise ValueError("it does not say when the sign-in expires")
        return cls(**{**members, "resource": tuple(members["resource"])})


def resources_in(request: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the resources that *request*, which begins a sign-in, asks for."""
    value = request.get("resource") or ()
    return tuple(map(str, value)) if isinstance(value, tuple) else (str(value),)


class SignIn(OneTimeGrant, ABC):
    """The base of grants that begin with a person's sign-in, which a refresh token continues.

    The sign-in is begun with :meth:`TokenKeeper.authorize`. Without one there is no token:
    ``get_token`` never opens a browser. The refresh token that the sign-in brings is kept in the
    provider's ``custody``, for each ``account`` of a source one.

    Takes the arguments of :class:`OneTimeGrant`. Without *resources*, those of the sign-in count.
    """

    def __init__(
        self,
        *,
        resources: str | Iterable[str] | None = None,
        scope_by_refresh: bool = False,
        on_rotated: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(
            resources=resources, scope_by_refresh=scope_by_refresh, on_rotated=on_rotated
        )
        self.takes: frozenset[str] = self.takes | {"account"}

    def first(self) -> str:
        """Raise: a sign-in brings the first refresh token.

        :raises AuthorizationRequiredError: says how to begin one.
        """
        raise AuthorizationRequiredError(
            "a person has to sign in first. Call keeper.authorize(), or run 'tokenkeeper login'.",
            transient=False,
        )

    def is_same(self, other: Grant) -> bool:
        """Return whether *other* begins with a sign-in as well: its refresh token serves both."""
        return isinstance(other, SignIn)

    def identity(self) -> Mapping[str, object]:
        """Return that it is a sign-in, however it is begun.

        A refresh token is the same after a sign-in in a browser of this machine or of another.
        """
        return {"grant_type": "sign_in"}

    @abstractmethod
    def begin(self, client: OAuthClient, asked: Asked) -> PendingSignIn:
        """Begin a sign-in, and return what is known of it. May send requests.

        :param client: sends them.
        :raises OAuth2Error: if it can't be begun.
        """

    @abstractmethod
    def answer(
        self, client: OAuthClient, pending: PendingSignIn, callback_url: str | None
    ) -> Mapping[str, Any]:
        """Return the parameters of the token request that ends *pending*, with the grant type.

        Sends no token request, and may be called more than once.

        :param callback_url: the URL that the browser was sent to; ``None`` without a redirect.
        :raises ForeignAnswerError: for the answer to another sign-in.
        :raises TokenAcquisitionError: if the answer is a refusal.
        """

    def wait_seconds(self, error: TokenAcquisitionError, interval: float) -> float | None:
        """Return how long to wait before asking again, if *error* means "not yet".

        :param interval: how long the wait was so far, in seconds.
        :returns: ``None`` if the sign-in has failed, as by default.
        """
        return None
