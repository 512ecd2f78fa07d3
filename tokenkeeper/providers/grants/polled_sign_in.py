"""What device codes and CIBA have in common: the server is polled until the person has approved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tokenkeeper._support.checks import checked_parameters
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.pending_answers import interval_in, next_interval
from tokenkeeper.oauth.time_values import as_duration
from tokenkeeper.providers.grants.sign_in import Asked, PendingSignIn, SignIn, resources_in
from tokenkeeper.schedule import LONGEST_LIFE_SECONDS

if TYPE_CHECKING:
    from tokenkeeper.oauth.client import Exchange, OAuthClient
    from tokenkeeper.oauth.exchange import Purpose

__all__ = ["PolledSignIn"]

_TARGETS = ("resource", "audience")


class PolledSignIn(SignIn):
    """The base of grants whose sign-in happens on another device, at a time the server reports.

    :param authorize_parameters: further parameters of the request that begins the sign-in; none by
        default. Other arguments are those of :class:`SignIn`.
    :raises InvalidConfigurationError: for an argument that can't work.
    """

    _code_parameter: str
    """The parameter of the token request that names the sign-in: a secret."""

    _sets: frozenset[str] = frozenset()
    """Parameters of the first request that can't be among *authorize_parameters*."""

    def __init__(
        self,
        *,
        authorize_parameters: Mapping[str, Any] | None = None,
        resources: str | Iterable[str] | None = None,
        scope_by_refresh: bool = False,
        on_rotated: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(
            resources=resources, scope_by_refresh=scope_by_refresh, on_rotated=on_rotated
        )
        parameters = checked_parameters(authorize_parameters, "authorize_parameters")
        if taken := sorted(self._sets & set(parameters)):
            raise InvalidConfigurationError(
                f"authorize_parameters must not contain {taken[0]!r}: {self._why_not(taken[0])}",
                field="authorize_parameters",
            )
        self._parameters: dict[str, Any] = dict(parameters)

    def _why_not(self, parameter: str) -> str:
        """Return why *parameter* can't be among *authorize_parameters*."""
        return "the grant sets it"

    def answer(
        self, client: OAuthClient, pending: PendingSignIn, callback_url: str | None
    ) -> Mapping[str, Any]:
        """Return the code (RFC 8628 §3.4, CIBA §10.1). *callback_url* is not used."""
        code = pending.secrets[self._code_parameter]
        return {"grant_type": self.grant_type, self._code_parameter: code}

    def wait_seconds(self, error: TokenAcquisitionError, interval: float) -> float | None:
        """Return the interval from now on, if *error* means "not yet": 5 s more if too fast.

        :param interval: the interval so far, in seconds.
        :returns: ``None`` for any other error.
        """
        return next_interval(error, interval)

    def _wanted(self, client: OAuthClient, asked: Asked) -> dict[str, Any]:
        """Return what is asked for: scope, resources (RFC 8707 §2) and audiences.

        The ``client_id`` is always sent: servers look it up before they authenticate the client.
        """
        registered = client.config.additional_params or {}
        wanted: dict[str, Any] = {name: registered.get(name, "") for name in _TARGETS}
        wanted.update(self._parameters)
        for name in _TARGETS:
            if given := getattr(asked.parameters, name):
                wanted[name] = given[0] if len(given) == 1 else given
        return {**wanted, "client_id": client.config.client_id, "scope": asked.scope}

    def _pending(
        self,
        client: OAuthClient,
        asked: Asked,
        exchange: Exchange,
        content: Mapping[str, Any],
        *,
        purpose: Purpose,
        url: str = "",
        user_code: str | None = None,
    ) -> PendingSignIn:
        """Return the sign-in that a server has begun with *content*.

        Its lifetime, which the server must state, counts from the request, so that the code is
        never taken for valid after it has expired.

        :param purpose: what the request was for.
        :raises TokenAcquisitionError: without a lifetime.
        """
        from tokenkeeper.oauth.endpoint_answer import unusable  # with the client

        lifetime = as_duration(content.get("expires_in"))
        if lifetime is None or not 0 < lifetime < math.inf:
            raise unusable(client, exchange, purpose, "has no usable expires_in")
        return PendingSignIn(
            asked.token_name,
            url,
            user_code,
            "",
            exchange.sent_at + min(lifetime, LONGEST_LIFE_SECONDS),
            interval_seconds=interval_in(content.get("interval")),
            secrets={self._code_parameter: content[self._code_parameter]},
            resource=resources_in(self._wanted(client, asked)),
        )
