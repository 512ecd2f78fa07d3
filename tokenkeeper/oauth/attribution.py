"""Says which provider an error is about, if the code that raised it could not know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tokenkeeper.exceptions import TokenAcquisitionError, own_copy

__all__ = ["attributed_to", "unattributed"]


@contextmanager
def attributed_to(provider_name: str) -> Iterator[None]:
    """Add the provider's name to errors that name none, such as one about a missing file.

    An error that names another provider stays unchanged: that one's token was needed first.
    """
    try:
        yield
    except TokenAcquisitionError as error:
        if error.provider_name is not None:
            raise
        message = f"provider {provider_name!r}: {error}"
        raise _about(error, provider_name, message) from error.__cause__


@contextmanager
def unattributed(provider_name: str) -> Iterator[None]:
    """Remove the name of a provider that is only there because a request must have one."""
    try:
        yield
    except TokenAcquisitionError as error:
        message = str(error).removeprefix(f"provider {provider_name!r}: ")
        raise _about(error, None, message) from error.__cause__


def _about(
    error: TokenAcquisitionError, provider_name: str | None, message: str
) -> TokenAcquisitionError:
    # A copy, because a source of its own may raise one object again and again.
    failure = own_copy(error)
    failure.args = (message,)
    failure.provider_name = provider_name
    return failure
