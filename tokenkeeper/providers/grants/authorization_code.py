"""The authorization code grant with PKCE (RFC 6749 §4.1, RFC 7636): a person signs in in a browser.

What is current practice is always on: PKCE with S256 and a random ``state`` (RFC 9700 §2.1.1), the
issuer of the answer compared (RFC 9207), the request pushed where the server can (RFC 9126), and a
token that is bound to a key from the start (RFC 9449 §10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tokenkeeper._support.arguments import check_flag
from tokenkeeper._support.checks import checked_parameters
from tokenkeeper._support.redirects import checked_redirect_port, checked_redirect_uri
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.authorization_answer import AuthorizationAnswer, read_answer
from tokenkeeper.oauth.pkce import METHOD, challenge_of, new_state, new_verifier
from tokenkeeper.providers.grants.sign_in import (
    Asked,
    ForeignAnswerError,
    PendingSignIn,
    SignIn,
    resources_in,
)

if TYPE_CHECKING:
    from tokenkeeper.oauth.client import OAuthClient

__all__ = ["AuthorizationCode"]

_OWN = frozenset({"client_id", "code_challenge", "code_challenge_method", "dpop_jkt"}) | {
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "state",
}
"""Parameters that ``authorize_parameters`` can't set."""

_TARGETS = ("resource", "audience")


class AuthorizationCode(SignIn):
    """A sign-in in a browser, with PKCE (RFC 6749 §4.1, RFC 7636). Thread-safe.

    Without a *redirect_uri*, a listener on this machine receives the answer at
    ``http://127.0.0.1:PORT/callback`` (RFC 8252 §7.3), which suits programs that a person runs. A
    web application sets the *redirect_uri* of its own, and completes the sign-in there, also in
    another process.

    :param redirect_uri: where the server sends the browser: a URL of your web application, as
        registered with the server; ``None``, the default, for the listener.
    :param redirect_port: the port of the listener, where the server compares it; ``None``, the
        default, for a free one.
    :param par: whether to push the request to the server first (RFC 9126); ``None``, the default,
        where its metadata names an endpoint for that.
    :param authorize_parameters: further parameters of the authorization request, such as
        ``{"prompt": "consent"}``, without which some servers grant no refresh token; none by
        default.
    :param resources: the resources that were authorized; ``None``, the default, for those that the
        sign-in asks for. Another one is refused before it is requested.
    :param scope_by_refresh: whether a source may narrow the scope by the request (RFC 6749 §6);
        ``False`` by default. Some servers then narrow the grant for good.
    :param on_rotated: called with each new refresh token; none by default.
    :raises InvalidConfigurationError: for an argument that can't work.
    """

    grant_type: str = "authorization_code"

    def __init__(
        self,
        *,
        redirect_uri: str | None = None,
        redirect_port: int | None = None,
        par: bool | None = None,
        authorize_parameters: Mapping[str, Any] | None = None,
        resources: str | Iterable[str] | None = None,
        scope_by_refresh: bool = False,
        on_rotated: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(
            resources=resources, scope_by_refresh=scope_by_refresh, on_rotated=on_rotated
        )
        if redirect_uri is not None and redirect_port is not None:
            raise InvalidConfigurationError(
                "redirect_port is that of the listener on this machine. Set redirect_uri or "
                "redirect_port, not both.",
                field="redirect_port",
            )
        if redirect_uri is not None:
            checked_redirect_uri(redirect_uri)
        self._redirect_uri = redirect_uri
        self._redirect_port = checked_redirect_port(redirect_port)
        if par is not None:
            check_flag(par, "par")
        self._par = par
        parameters = checked_parameters(authorize_parameters, "authorize_parameters")
        if taken := sorted(_OWN & set(parameters)):
            raise InvalidConfigurationError(
                f"authorize_parameters must not contain {taken[0]!r}, which the grant sets",
                field="authorize_parameters",
            )
        self._parameters: dict[str, Any] = dict(parameters)

    def describe(self) -> Mapping[str, object]:
        """Return where the browser is sent after the sign-in."""
        described = {"redirect_uri": self._redirect_uri, "redirect_port": self._redirect_port}
        return {name: value for name, value in described.items() if value is not None}

    def begin(self, client: OAuthClient, asked: Asked) -> PendingSignIn:
        """Return the URL to sign in at. Sends a request if it is pushed (RFC 9126 §2)."""
        endpoint = client.server.endpoint("authorization_endpoint")
        redirect_uri = self._redirect_to(asked)
        verifier, state = new_verifier(), new_state()
        request = {
            **self._wanted(client, asked),
            "response_type": "code",
            "client_id": client.config.client_id,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": METHOD,
            "dpop_jkt": asked.dpop_jkt or "",
        }
        expires_at = asked.now + asked.timeout_seconds
        resource = resources_in(request)
        if self._is_pushed(client):
            from tokenkeeper.oauth.pushed_request import push  # with the provider's client

            request = push(client, request)
        return PendingSignIn(
            asked.token_name,
            _with_query(endpoint, request),
            None,
            state,
            expires_at,
            redirect_uri=redirect_uri,
            secrets={"code_verifier": verifier},
            resource=resource,
        )

    def answer(
        self, client: OAuthClient, pending: PendingSignIn, callback_url: str | None
    ) -> Mapping[str, Any]:
        """Return code and verifier (RFC 6749 §4.1.3, RFC 7636 §4.5).

        The ``state`` is compared first, then the ``iss`` (RFC 9207), and only then an error shown.
        """
        name = client.config.provider_name
        answer = read_answer(callback_url or "")
        problem = answer.problem
        if not problem and not answer.is_for(pending.state):
            problem = "its state is not that of this sign-in"
        if not problem:
            problem = answer.issuer_problem(client.server.issuer(), client.server.metadata())
        if problem:
            raise ForeignAnswerError(
                f"provider {name!r}: the answer to the sign-in was not accepted: {problem}. "
                "Nothing was requested with it. Begin a new sign-in if this one does not complete.",
                provider_name=name,
                transient=False,
            )
        if answer.error or not answer.code:
            raise _refused(name, answer)
        return {
            "grant_type": self.grant_type,
            "code": answer.code,
            "redirect_uri": pending.redirect_uri or "",
            "code_verifier": pending.secrets["code_verifier"],
        }

    def _redirect_to(self, asked: Asked) -> str:
        """Return the redirect URI, and have it listened to if that is done here."""
        redirect_uri = asked.redirect_uri or self._redirect_uri
        if redirect_uri is not None:
            return redirect_uri
        if asked.listen is None:
            raise InvalidConfigurationError(
                "there is no redirect_uri, and nothing listens on this machine. Set redirect_uri.",
                field="redirect_uri",
            )
        return asked.listen(self._redirect_port)

    def _wanted(self, client: OAuthClient, asked: Asked) -> dict[str, Any]:
        """Return what is asked for: scope, resources (RFC 8707 §2.1) and audiences."""
        registered = client.config.additional_params or {}
        wanted: dict[str, Any] = {name: registered.get(name, "") for name in _TARGETS}
        wanted.update(self._parameters)
        for name in _TARGETS:
            if given := getattr(asked.parameters, name):
                wanted[name] = given
        wanted["scope"] = asked.scope
        if asked.login_hint is not None:
            wanted["login_hint"] = asked.login_hint
        return wanted

    def _is_pushed(self, client: OAuthClient) -> bool:
        """Return whether to push the request to the server first."""
        if self._par is not None:
            return self._par
        metadata = client.server.metadata() or {}
        return bool(
            metadata.get("pushed_authorization_request_endpoint")
            or metadata.get("require_pushed_authorization_requests") is True
            or (client.config.endpoints or {}).get("pushed_authorization_request_endpoint")
        )


def _with_query(endpoint: str, parameters: Mapping[str, Any]) -> str:
    """Return *endpoint* with *parameters* added to its query (RFC 6749 §3.1)."""
    sent = {name: _plain(value) for name, value in parameters.items() if value not in ("", ())}
    separator = "&" if "?" in endpoint else "?"
    return endpoint + separator + urlencode(sent, doseq=True)


def _plain(value: Any) -> Any:
    """Return *value* as in a form: booleans in lower case, also those in a list."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value).lower() if isinstance(value, bool) else value


def _refused(name: str, answer: AuthorizationAnswer) -> TokenAcquisitionError:
    """Return the error for an answer without a code (RFC 6749 §4.1.2.1)."""
    if not answer.error:
        reason = "the answer has neither a code nor an error"
    elif answer.description:
        reason = f'{answer.error} ("{answer.description}")'
    else:
        reason = answer.error
    advice = "Begin a new sign-in."
    if answer.error == "access_denied":
        advice = "The person, or the server, declined. " + advice
    return TokenAcquisitionError(
        f"provider {name!r}: the sign-in failed: {reason}. {advice}",
        provider_name=name,
        error=answer.error or None,
        error_description=answer.description or None,
        transient=False,
    )
