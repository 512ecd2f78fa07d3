"""What can go wrong, sorted by what the caller does about it.

.. code-block:: text

    OAuth2Error
    ├── InvalidConfigurationError         mend the configuration, then start again
    │   └── UnknownProviderError          ... no provider of that name (also a KeyError)
    ├── TokenAcquisitionError             no token could be had; the attributes say why
    │   ├── TokenRefreshError             ... and the token held before could not be renewed
    │   ├── TokenRejectedError            ... that the API accepts: it refuses freshly granted ones
    │   └── TokenWaitTimeoutError         ... within the caller's timeout (also a TimeoutError)
    └── KeeperClosedError                 the keeper was used after close()

Every message is one line without a secret in it. Every error can be pickled and copied;
``__cause__`` keeps the root as long as the error stays in its process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from tokenkeeper.oauth.verdict import judge

__all__ = [
    "ConfigurationWarning",
    "InvalidConfigurationError",
    "KeeperClosedError",
    "OAuth2Error",
    "TokenAcquisitionError",
    "TokenRefreshError",
    "TokenRejectedError",
    "TokenWaitTimeoutError",
    "UnknownProviderError",
]


class OAuth2Error(Exception):
    """The root of every error that Tokenkeeper raises.

    :ivar provider_name: the provider that the error is about, where there is one.
    """

    provider_name: str | None

    def __init__(self, message: str = "", *, provider_name: str | None = None) -> None:
        super().__init__(message)
        self.provider_name = provider_name

    def __str__(self) -> str:
        # KeyError, a base of one of the errors below, would print the repr of the message.
        return str(self.args[0]) if self.args else ""


class InvalidConfigurationError(OAuth2Error):
    """A configuration that can't work, found where it was made.

    :ivar field: the name of the field to mend, where one is to blame.
    :ivar problems: each mistake in a line of its own, where a whole file was looked at.
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
    """No provider is registered under the name that was asked for."""


class ConfigurationWarning(UserWarning):
    """A configuration works, and shows a secret to somebody who should not see it."""


class TokenAcquisitionError(OAuth2Error):
    """No token could be had.

    :ivar error: the server's error code (RFC 6749 §5.2), such as ``invalid_client``.
    :ivar error_description: the server's own words, tamed and without secrets.
    :ivar status_code: the HTTP status, where there was an answer.
    :ivar attempts: how many requests were made before giving up.
    :ivar retry_after: the seconds that the server asked to be left alone.
    :ivar transient: whether trying again later, with nothing changed, may work. Always a bool:
        where it is not given, ``error``, ``error_description``, ``retry_after`` and
        ``status_code`` decide, as the reference on errors says.
    :ivar network_reason: why there was no answer, in one of a few words such as ``dns``, ``tls``,
        ``timeout`` or ``connection_refused``; ``None`` where there was one.
    """

    error: str | None
    error_description: str | None
    status_code: int | None
    attempts: int | None
    retry_after: float | None
    transient: bool
    network_reason: str | None

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


class TokenRefreshError(TokenAcquisitionError):
    """A token that was held before could not be renewed."""


class TokenRejectedError(TokenAcquisitionError):
    """An API refused a token that was just granted, so another one is not requested at once.

    Only :meth:`~tokenkeeper.TokenKeeper.renew_refused` raises it. ``get_token`` goes on returning
    the token: other APIs may accept it.

    :ivar retry_after: the seconds after which a refusal may cause a token request again.
    """


class TokenWaitTimeoutError(TokenAcquisitionError, TimeoutError):
    """The caller's own ``timeout`` ended first; the token request goes on for the others."""


class KeeperClosedError(OAuth2Error):
    """The keeper was closed; a closed keeper hands out nothing."""


_E = TypeVar("_E", bound=OAuth2Error)


def own_copy(error: _E) -> _E:
    """Return an equal error that one waiter may raise as its own.

    An exception object collects the traceback of each place that raises it, so threads must not
    share one. The copy has the same attributes and ``__cause__``, and no traceback yet.
    """
    # Not copy.copy(): a provider's own subclass may need more than a message to be made.
    clone = type(error).__new__(type(error))
    clone.args = error.args
    clone.__dict__.update(error.__dict__)
    clone.__cause__ = error.__cause__
    return clone


def as_refresh_error(error: TokenAcquisitionError) -> TokenAcquisitionError:
    """Return *error* as a :class:`TokenRefreshError`, with all its attributes.

    An error of a more specific class keeps it: code that catches a provider's own exception must
    find it after a renewal as well.
    """
    if type(error) is not TokenAcquisitionError:
        return error
    renamed = TokenRefreshError(*error.args)
    renamed.__dict__.update(error.__dict__)
    renamed.__cause__ = error.__cause__
    return renamed


@contextmanager
def naming(provider_name: str) -> Iterator[None]:
    """Name the provider in configuration errors of parts that do not know whose they are."""
    try:
        yield
    except InvalidConfigurationError as error:
        if error.provider_name is not None:
            raise
        raise InvalidConfigurationError(
            f"provider {provider_name!r}: {error}", provider_name=provider_name, field=error.field
        ) from None
