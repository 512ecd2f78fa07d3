"""The error classes: their tree, attributes and pickling."""

import pickle
import traceback

import pytest

from tokenkeeper import exceptions
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2Error,
    TokenAcquisitionError,
    TokenRefreshError,
    TokenRejectedError,
    TokenWaitTimeoutError,
    UnknownProviderError,
    as_refresh_error,
    own_copy,
)

NAMED = [getattr(exceptions, name) for name in exceptions.__all__]
FAMILY = [kind for kind in NAMED if issubclass(kind, OAuth2Error)]


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (InvalidConfigurationError, OAuth2Error),
        (UnknownProviderError, InvalidConfigurationError),
        (UnknownProviderError, KeyError),
        (TokenAcquisitionError, OAuth2Error),
        (TokenRefreshError, TokenAcquisitionError),
        (TokenRejectedError, TokenAcquisitionError),
        (TokenWaitTimeoutError, TokenAcquisitionError),
        (TokenWaitTimeoutError, TimeoutError),
        (KeeperClosedError, OAuth2Error),
    ],
)
def test_tree(error, base):
    """A handler for the base class catches the error."""
    assert issubclass(error, base)


@pytest.mark.parametrize("kind", FAMILY)
def test_message_and_pickle(kind):
    """Every error prints its message, and keeps its attributes when pickled."""
    error = kind("do this", provider_name="api")
    error.extra = 7
    for same in (pickle.loads(pickle.dumps(error)), own_copy(error)):
        assert type(same) is kind
        assert str(same) == "do this"
        assert same.__dict__ == error.__dict__
        assert same is not error


@pytest.mark.parametrize("kind", FAMILY)
def test_no_message(kind):
    """An error without a message prints an empty string."""
    assert str(kind()) == ""


def test_acquisition_error_knows():
    """The details of an acquisition error are attributes."""
    error = TokenAcquisitionError(
        "no",
        provider_name="api",
        error="invalid_client",
        error_description="who?",
        status_code=401,
        attempts=2,
        retry_after=7.5,
        transient=False,
    )
    assert (error.provider_name, error.error, error.error_description) == (
        "api",
        "invalid_client",
        "who?",
    )
    assert (error.status_code, error.attempts, error.retry_after) == (401, 2, 7.5)
    assert error.transient is False


def test_own_copy_keeps_the_root_and_no_traceback():
    """A copy has the original's cause, and no traceback."""
    root = OSError("unplugged")
    try:
        raise TokenAcquisitionError("no") from root
    except TokenAcquisitionError as error:
        copied = own_copy(error)
    assert copied.__cause__ is root
    assert copied.__traceback__ is None
    assert copied.__suppress_context__


def test_own_copy_of_a_stranger():
    """A custom subclass is copied without calling its __init__."""

    class OddError(TokenAcquisitionError):
        def __init__(self, code, *, needed):
            super().__init__(f"odd {code}")
            self.needed = needed

    copied = own_copy(OddError(7, needed="x"))
    assert (type(copied), str(copied), copied.needed) == (OddError, "odd 7", "x")


def test_as_refresh_error():
    """An acquisition error becomes a refresh error with the same attributes, once."""
    error = TokenAcquisitionError("no", provider_name="api", status_code=500)
    error.__cause__ = OSError("root")
    renamed = as_refresh_error(error)
    assert isinstance(renamed, TokenRefreshError)
    assert (str(renamed), renamed.status_code) == ("no", 500)
    assert renamed.__cause__ is error.__cause__
    assert as_refresh_error(renamed) is renamed


def test_unknown_provider_prints_like_the_others():
    """The error that is a KeyError does not print the repr of its message."""
    lines = traceback.format_exception_only(UnknownProviderError("no provider 'x'"))
    assert lines[-1].endswith("no provider 'x'\n")
