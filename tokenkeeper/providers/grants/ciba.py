"""CIBA (OpenID Connect Client-Initiated Backchannel Authentication): the server asks the person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tokenkeeper._support.arguments import check_number
from tokenkeeper._support.checks import checked_text
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.late_text import LateText, checked_late_text
from tokenkeeper.providers.grants.polled_sign_in import PolledSignIn
from tokenkeeper.providers.grants.presented import read_for
from tokenkeeper.providers.grants.sign_in import Asked, PendingSignIn

if TYPE_CHECKING:
    from tokenkeeper.oauth.client import OAuthClient

__all__ = ["Ciba"]

_REQUEST = "backchannel authentication request"
_HINTS = ("login_hint", "id_token_hint", "login_hint_token")
_UNSUPPORTED = {
    "client_notification_token": "ping and push mode are not supported, only poll mode",
    "request": "signed authentication requests are not supported",
    "user_code": "user codes are not supported",
}


class Ciba(PolledSignIn):
    """A sign-in that the server asks a person for, such as on a phone (CIBA Core). Thread-safe.

    :meth:`TokenKeeper.authorize` names the person, and returns an :class:`Authorization` whose
    ``wait()`` polls the server until the person has approved; there is no ``url`` to open. The
    client is registered for poll mode (§10.1). Ping and push mode, signed requests and
    ``user_code`` (§7.1) are not supported. The scope must contain ``openid``.

    Exactly one hint names the person: one of the three below, or else the ``login_hint`` of
    ``authorize()``, or else the ``account``. A hint is a text, a ``Path``, or a function such as a
    :class:`~tokenkeeper.TokenSource`; the last two are read for each request.

    :param login_hint: a name that the server knows, such as an email address.
    :param id_token_hint: an ID token that it issued before.
    :param login_hint_token: a token that names the person.
    :param binding_message: a short text that both devices show, so that the person sees what is
        being approved; none by default.
    :param requested_expiry_seconds: how long the person should have time; ``None``, the default,
        leaves that to the server.
    :param authorize_parameters: further parameters of the request, such as ``acr_values``; none by
        default.
    :param resources: the resources that were authorized; ``None``, the default, for those that the
        sign-in asks for. Another one is refused before it is requested.
    :param scope_by_refresh: whether a source may narrow the scope by the request (RFC 6749 §6);
        ``False`` by default. Some servers then narrow the grant for good.
    :param on_rotated: called with each new refresh token; none by default.
    :raises InvalidConfigurationError: for an argument that can't work, or more than one hint.
    """

    grant_type: str = "urn:openid:params:grant-type:ciba"
    _code_parameter: str = "auth_req_id"
    _sets: frozenset[str] = frozenset({*_HINTS, "binding_message", "requested_expiry"}) | set(
        _UNSUPPORTED
    )

    def __init__(
        self,
        *,
        login_hint: LateText | str | None = None,
        id_token_hint: LateText | str | None = None,
        login_hint_token: LateText | str | None = None,
        binding_message: str | None = None,
        requested_expiry_seconds: int | None = None,
        authorize_parameters: Mapping[str, Any] | None = None,
        resources: str | Iterable[str] | None = None,
        scope_by_refresh: bool = False,
        on_rotated: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(
            authorize_parameters=authorize_parameters,
            resources=resources,
            scope_by_refresh=scope_by_refresh,
            on_rotated=on_rotated,
        )
        self._hint = _one_hint(
            login_hint=login_hint, id_token_hint=id_token_hint, login_hint_token=login_hint_token
        )
        self._request: dict[str, Any] = {}
        if binding_message is not None:
            self._request["binding_message"] = checked_text(binding_message, "binding_message")
        if requested_expiry_seconds is not None:
            check_number(requested_expiry_seconds, "requested_expiry_seconds", least=1, whole=True)
            self._request["requested_expiry"] = requested_expiry_seconds

    def _why_not(self, parameter: str) -> str:
        """Return why *parameter* can't be among *authorize_parameters*."""
        return _UNSUPPORTED.get(parameter) or super()._why_not(parameter)

    def begin(self, client: OAuthClient, asked: Asked) -> PendingSignIn:
        """Have the server ask the person (CIBA Core §7.1).

        :raises InvalidConfigurationError: if the person is named by no hint, or by two.
        :raises OAuth2Error: if a hint can't be read, or the server refuses.
        """
        from tokenkeeper.oauth.endpoint_answer import read_endpoint_answer  # with the client

        name, hint = self._person(asked)
        wanted = {**self._wanted(client, asked), **self._request}

        def parameters(to: Recipient) -> dict[str, Any]:
            text = hint if isinstance(hint, str) else read_for(hint, f"the {name}", to)
            return {**wanted, name: text}

        exchange = client.post("backchannel_authentication_endpoint", parameters)
        content = read_endpoint_answer(
            client, exchange, _REQUEST, grant=self.grant_type, needs=("auth_req_id",)
        )
        return self._pending(client, asked, exchange, content, what=_REQUEST)

    def _person(self, asked: Asked) -> tuple[str, LateText | str]:
        """Return the one hint that names the person, and its parameter."""
        if self._hint is None:
            person = asked.login_hint or asked.parameters.account
            if person is None:
                raise InvalidConfigurationError(
                    "no hint says who is to sign in. Set login_hint of authorize(), account, or "
                    "a hint of the grant.",
                    field="login_hint",
                )
            return "login_hint", person
        if asked.login_hint is not None:
            raise InvalidConfigurationError(
                f"login_hint of authorize() can't be combined with {self._hint[0]} of the grant",
                field="login_hint",
            )
        return self._hint


def _one_hint(**hints: LateText | str | None) -> tuple[str, LateText | str] | None:
    """Return the hint that was given, with its name, or ``None``."""
    given = [
        (name, checked_text(hint, name) if isinstance(hint, str) else checked_late_text(hint, name))
        for name, hint in hints.items()
        if hint is not None
    ]
    if len(given) > 1:
        raise InvalidConfigurationError(
            f"{given[0][0]} and {given[1][0]} can't be combined: one hint names the person",
            field=given[1][0],
        )
    return given[0] if given else None
