"""The errors that Tokenkeeper raises, grouped by what the caller does about them.

.. code-block:: text

    OAuth2Error
    ├── InvalidConfigurationError         fix the configuration, then start again
    │   └── UnknownProviderError          no provider has that name (also a KeyError)
    ├── TokenAcquisitionError             no token was granted; the attributes say why
    │   ├── TokenRefreshError             the token held before could not be renewed
    │   ├── AuthorizationRequiredError    a person has to sign in, or to consent, again
    │   ├── TokenRejectedError            the API refuses freshly granted tokens
    │   └── TokenWaitTimeoutError         the caller's own timeout expired (also a TimeoutError)
    ├── StoreUnavailableError             the store can't be used; keepers go on without it
    └── KeeperClosedError                 the keeper was used after close()

Every message is a single line without secrets. Every error can be pickled and copied; ``__cause__``
is kept as long as the error stays in its process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from tokenkeeper.oauth.verdict import judge

__all__ = [
    "AuthorizationRequiredError",
    "ConfigurationWarning",
    "InvalidConfigurationError",
    "KeeperClosedError",
    "OAuth2Error",
    "StoreUnavailableError",
    "TokenAcquisitionError",
    "TokenRefreshError",
    "TokenRejectedError",
    "TokenWaitTimeoutError",
    "UnknownProviderError",
]


class OAuth2Error(Exception):
    """The base class of every error that Tokenkeeper raises.

    :ivar provider_name: the name of the provider that the error is about; ``None`` if it is not
        about a single one.
    """

    provider_name: str | None

    def __init__(self, message: str = "", *, provider_name: str | None = None) -> None:
        super().__init__(message)
        self.provider_name = provider_name

    def __str__(self) -> str:
        # KeyError, a base class of UnknownProviderError, would return the repr of the message.
        return str(self.args[0]) if self.args else ""


class InvalidConfigurationError(OAuth2Error):
    """A configuration can't work. Raised where the configuration is made or read.

    :ivar field: the name of the field to fix; ``None`` if no single one is to blame.
    :ivar problems: one line for each mistake, if a whole file was checked; empty otherwise.
    """

    field: str | None
    problems: tuple[str, ...]

    def __init__(
        self,
        message: str = "",
        *,
        provider_name: str | None = None,
        field: str | None = None,
        problems: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, provider_name=provider_name)
        self.field = field
        self.problems = problems


class UnknownProviderError(InvalidConfigurationError, KeyError):
    """No provider is registered under the requested name. The message lists those that are."""


class ConfigurationWarning(UserWarning):
    """A configuration works, but exposes a secret to other users of the machine."""


class TokenAcquisitionError(OAuth2Error):
    """No token was granted.

    Providers raise it. Each parameter is also an attribute; all but *message* are ``None`` by
    default.

    :param message: what happened and what to do, in a single line without secrets; empty by
        default.
    :param provider_name: the name of the provider.
    :param error: the server's error code (RFC 6749 §5.2), such as ``invalid_client``.
    :param error_description: the server's own description (RFC 6749 §5.2), sanitized and without
        secrets.
    :param status_code: the HTTP status; ``None`` if there was no response.
    :param attempts: how many requests were made before giving up.
    :param retry_after: how many seconds the server asked to wait (RFC 9110 §10.2.3).
    :param transient: whether the same request may succeed later. The attribute is always a bool:
        if it is not given, ``error``, ``error_description``, ``retry_after`` and ``status_code``
        decide, as described in the reference on errors.
    :param network_reason: why there was no response: ``dns``, ``tls``, ``proxy``, ``timeout``,
        ``connection_refused``, ``connection_broken``, ``unreachable`` or ``bad_answer``; ``None``
        if there was one.
    :param claims: what the server demands of the user's next sign-in, as JSON. Microsoft Entra ID
        sends it if a token on behalf of a user needs the user, for example for another factor.
    """

    error: str | None
    error_description: str | None
    status_code: int | None
    attempts: int | None
    retry_after: float | None
    transient: bool
    network_reason: str | None
    claims: str | None

    stands_seconds: float | None = None
    # How long a failure that another process reported still stands. Not for users.

    def __init__(
        self,
        message: str = "",
        *,
        provider_name: str | None = None,
        error: str | None = None,
        error_description: str | None = None,
        status_code: int | None = None,
        attempts: int | None = None,
        retry_after: float | None = None,
        transient: bool | None = None,
        network_reason: str | None = None,
        claims: str | None = None,
    ) -> None:
        super().__init__(message, provider_name=provider_name)
        self.error = error
        self.error_description = error_description
        self.status_code = status_code
        self.attempts = attempts
        self.retry_after = retry_after
        if transient is None:
            transient = judge(
                [error] if error else [],
                error_description or "",
                status_code,
                asked_to_wait=retry_after is not None,
            ).transient
        self.transient = bool(transient)
        self.network_reason = network_reason
        self.claims = claims


class TokenRefreshError(TokenAcquisitionError):
    """A token that was held before could not be renewed. The attributes say why."""


class AuthorizationRequiredError(TokenAcquisitionError):
    """A person has to sign in, or to consent, again: there is no refresh token that works.

    Nothing is requested until there is a new one, however many ask. A new one is used at once.
    """

    stands_seconds: float | None = 0.0  # a sign-in may be completed at any moment


class TokenRejectedError(TokenAcquisitionError):
    """An API refuses freshly granted tokens, so another one is not requested for a while.

    Only :meth:`~tokenkeeper.TokenKeeper.renew_refused` raises it. ``get_token`` continues to return
    the token, as other APIs may accept it.

    :ivar retry_after: after how many seconds a refusal may cause a token request again.
    """


class TokenWaitTimeoutError(TokenAcquisitionError, TimeoutError):
    """The caller's own ``timeout`` expired. The token request continues in the background."""


class StoreUnavailableError(OAuth2Error):
    """The store can't be used: it can't be reached, refuses the client, or has something unusable.

    Stores raise it, and only it. A keeper goes on without the store as far as that is safe, so
    callers of ``get_token`` see it at most as the ``__cause__`` of a
    :class:`TokenAcquisitionError`.

    :ivar is_misconfigured: whether waiting won't help, because something must be changed: a
        password, a permission, a key of another type.
    """

    is_misconfigured: bool

    def __init__(
        self,
        message: str = "",
        *,
        provider_name: str | None = None,
        is_misconfigured: bool = False,
    ) -> None:
        super().__init__(message, provider_name=provider_name)
        self.is_misconfigured = is_misconfigured


class KeeperClosedError(OAuth2Error):
    """The keeper was closed, before or during the call. A closed keeper returns no tokens."""


_E = TypeVar("_E", bound=OAuth2Error)


def own_copy(error: _E) -> _E:
    """Return a copy of *error* for one waiter to raise.

    An exception collects the traceback of each place that raises it, so threads must not share one.
    The copy has the same attributes and ``__cause__``, and no traceback yet.
    """
    # Not copy.copy(): the constructor of a provider's own subclass may take other arguments.
    clone = type(error).__new__(type(error))
    clone.args = error.args
    clone.__dict__.update(error.__dict__)
    clone.__cause__ = error.__cause__
    return clone


def authorization_required(error: TokenAcquisitionError, why: str) -> AuthorizationRequiredError:
    """Return *error* as an :class:`AuthorizationRequiredError` that says *why* as well."""
    required = AuthorizationRequiredError(f"{error} {why}".rstrip())
    attributes = {**error.__dict__, "transient": False}
    attributes.pop("stands_seconds", None)
    required.__dict__.update(attributes)
    required.__cause__ = error.__cause__
    return required


def as_refresh_error(error: TokenAcquisitionError) -> TokenAcquisitionError:
    """Return *error* as a :class:`TokenRefreshError` with the same attributes.

    An error of a more specific class is returned unchanged, so that code that catches a provider's
    own exception also catches it after a renewal.
    """
    if type(error) is not TokenAcquisitionError:
        return error
    renamed = TokenRefreshError(*error.args)
    renamed.__dict__.update(error.__dict__)
    renamed.__cause__ = error.__cause__
    return renamed


@contextmanager
def naming(provider_name: str) -> Iterator[None]:
    """Add the provider's name to configuration errors from code that does not know it."""
    try:
        yield
    except InvalidConfigurationError as error:
        if error.provider_name is not None:
            raise
        raise InvalidConfigurationError(
            f"provider {provider_name!r}: {error}", provider_name=provider_name, field=error.field
        ) from None
