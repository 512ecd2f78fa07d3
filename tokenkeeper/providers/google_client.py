"""Requests to Google's token services, and the tokens in their answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokenkeeper._support.checks import checked_text
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.exchange import Expected, HttpAnswer, Purpose
from tokenkeeper.oauth.token_response import parse_token_response

if TYPE_CHECKING:
    from tokenkeeper.oauth.transport import HttpTransport

__all__ = ["CLOUD_PLATFORM", "GoogleClient", "Sent", "checked_account"]

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"

_FOR_A_TOKEN = Purpose()

_IN_A_PATH = re.compile(r"[^\s/?#%\\]+")


def checked_account(value: object) -> str:
    """Return *value* if it can be the address or the number of a service account.

    :raises InvalidConfigurationError: for anything else, such as more of a URL's path.
    """
    account = checked_text(value, "service_account")
    if not _IN_A_PATH.fullmatch(account):
        raise InvalidConfigurationError(
            "service_account must be the address or the number of a service account, without a "
            "path",
            field="service_account",
        )
    return account


@dataclass(slots=True, eq=False, repr=False)
class Sent:
    """An answer, and what its reader must know of the request. Never changed."""

    answer: HttpAnswer
    at: float
    secrets: Iterable[str]


@dataclass(frozen=True, slots=True, eq=False)
class GoogleClient:
    """Sends requests for the token of one provider. Thread-safe."""

    provider_name: str
    transport: HttpTransport = field(repr=False)
    clock: Clock = field(repr=False)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
        **request: Any,
    ) -> Sent:
        """Send one request.

        :param secrets: texts in it that no message may show.
        :param request: further arguments of :meth:`HttpTransport.request`.
        :raises TokenAcquisitionError: if there is no answer.
        """
        at = self.clock.time()
        answer = self.transport.request(
            method,
            url,
            provider_name=self.provider_name,
            headers={"Accept": "application/json", **(headers or {})},
            **request,
        )
        return Sent(answer, at, secrets)

    def token_in(
        self,
        sent: Sent,
        scope: str | None,
        grant: str | None = None,
        purpose: Purpose = _FOR_A_TOKEN,
    ) -> OAuth2Token:
        """Return the token that an answer grants.

        :param scope: the scope that was requested.
        :param grant: the ``grant_type`` of the request, if it has one.
        :param purpose: what the request is for; by default for a token.
        :raises TokenAcquisitionError: if it grants none, with what to do.
        """
        expected = Expected(
            self.provider_name, sent.at, scope, sent.secrets, grant=grant, purpose=purpose
        )
        return parse_token_response(sent.answer, expected)

    def impersonate(
        self, url: str, token: str, scope: str, lifetime_seconds: float, delegates: Iterable[str]
    ) -> OAuth2Token:
        """Return a token of the service account that *url* names, granted to the holder of *token*.

        This is not a token endpoint: request and answer are JSON with names of their own.

        :param url: ends with ``:generateAccessToken``.
        :raises TokenAcquisitionError: if it grants none.
        """
        body = {
            "delegates": list(delegates),
            "scope": scope.split(" "),
            "lifetime": f"{lifetime_seconds:g}s",
        }
        sent = self.send(
            "POST",
            url,
            authorization=f"Bearer {token}",
            data=json.dumps(body),
            headers={"Content-Type": "application/json"},
            secrets=[token],
        )
        sent.answer = _with_usual_names(sent.answer, lifetime_seconds)
        return self.token_in(sent, scope)


def _with_usual_names(answer: HttpAnswer, lifetime_seconds: float) -> HttpAnswer:
    """Return *answer* with the token and its expiry under the names of RFC 6749 §5.1.

    The lifetime that was asked for is the most that is granted. It holds whatever our clock says.
    """
    try:
        content = json.loads(answer.body)
        usual = {
            "access_token": content["accessToken"],
            "expires_at": content["expireTime"],
            "expires_in": lifetime_seconds,
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        return answer  # an error, or an answer that will be reported as it is
    return HttpAnswer(answer.status, answer.headers, json.dumps(usual).encode())
