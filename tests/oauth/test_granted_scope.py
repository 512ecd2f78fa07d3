"""The warning about a scope that is narrower than the requested one."""

import logging
from datetime import UTC, datetime

import pytest

from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.exchange import Expected
from tokenkeeper.oauth.granted_scope import warn_if_narrowed


@pytest.fixture
def warn(caplog):
    """Return a function that returns the warnings about one grant."""
    expected = Expected("api", 0.0, secrets=["hunter2"])

    def warnings(granted, requested):
        caplog.clear()
        expires = datetime(2030, 1, 1, tzinfo=UTC)
        token = OAuth2Token("abc", "Bearer", expires, scope=granted)
        warn_if_narrowed(token, requested, expected)
        assert all(record.levelno == logging.WARNING for record in caplog.records)
        return [record.getMessage() for record in caplog.records]

    return warnings


def test_what_is_missing(warn):
    """The warning names the missing scopes and says what to do."""
    (warning,) = warn("read", "read write admin")
    assert warning == (
        "provider 'api': the server granted a narrower scope than requested. Missing: write admin. "
        "Have the server allow it for this client, or do not request it."
    )


@pytest.mark.parametrize(
    ("granted", "requested"),
    [
        ("read", "read"),
        ("read write", "write"),
        ("read", None),
        ("read", ""),
        (None, None),
        ("read", "read openid offline_access profile email"),
        ("read", "api://app/.default"),
    ],
)
def test_nothing_is_missing(warn, granted, requested):
    """Scopes that servers do not list, and those that only Entra ID knows, are not missing."""
    assert warn(granted, requested) == []


def test_no_scope_at_all(warn):
    """A token without a scope lacks all that was requested."""
    assert "Missing: read." in warn(None, "read")[0]


def test_once_for_each_part(warn):
    """The same missing part is logged once, in any order, and another one again."""
    assert len(warn("read", "read a b")) == 1
    assert warn("read", "b read a") == []
    assert len(warn("read a", "read a b")) == 1


def test_what_the_warning_shows(warn):
    """A long list of scopes is truncated, and a secret among them is hidden."""
    (warning,) = warn("read", "hunter2 " + " ".join(f"scope-{number}" for number in range(1000)))
    assert "Missing: [hidden] scope-0 scope-1 " in warning
    assert len(warning.partition("Missing: ")[2].partition("... ")[0]) < 200


@pytest.mark.parametrize(("length", "shown"), [(200, "x" * 200), (201, f"{'x' * 197}...")])
def test_long_scopes(warn, length, shown):
    """Up to 200 characters of what is missing are shown."""
    (warning,) = warn("read", "x" * length)
    assert f"Missing: {shown}. Have" in warning
