"""Tokens and failures as they are stored: they come back, and anything else is rejected."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenkeeper import OAuth2Token, TokenAcquisitionError
from tokenkeeper.stores.contents import StoredFailure, StoredToken
from tokenkeeper.stores.sealed import UnreadableError

EXPIRES_AT = datetime(2026, 11, 29, 12, 0, 0, 123456, tzinfo=UTC)
TOKEN = OAuth2Token(
    "access-secret",
    "Bearer",
    EXPIRES_AT,
    scope="a b",
    refresh_token="refresh-secret",
    extra={"id_token": "id-secret", "nested": {"list": [1, None, {"x": True}]}, "null": None},
    refresh_at=EXPIRES_AT - timedelta(minutes=5),
)
STORED = StoredToken(TOKEN, "graph#tenant=t", 1_000_000.25, "host:1")
FAILURE = StoredFailure(
    message="the server refused",
    token_name="graph",
    stands_seconds=30.0,
    failures=2,
    reported_by="host:1",
    transient=False,
    error="invalid_client",
    error_description="no such client",
    status_code=401,
    retry_after=12.5,
    network_reason=None,
)

TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXT, inside, max_size=3),
    max_leaves=8,
)


def test_token_comes_back_whole():
    """Every member of a token is stored, to the microsecond."""
    assert StoredToken.from_bytes(STORED.to_bytes()) == STORED


def test_smallest_token_comes_back():
    """A token without optional members is stored without them."""
    stored = StoredToken(OAuth2Token("a", "Bearer", EXPIRES_AT), "api", 0.0, "host:1")
    assert StoredToken.from_bytes(stored.to_bytes()) == stored
    assert not json.loads(stored.to_bytes()).keys() & {"scope", "refresh_token", "extra"}


@given(extra=st.dictionaries(TEXT, JSON, max_size=4), name=TEXT, scope=st.none() | TEXT)
def test_any_members_of_a_response_come_back(extra, name, scope):
    """Whatever JSON a server sends beside a token is stored."""
    stored = StoredToken(OAuth2Token("a", "b", EXPIRES_AT, scope, extra=extra), name, 1.5, "h:1")
    assert StoredToken.from_bytes(stored.to_bytes()) == stored


def test_what_is_not_json_is_left_out():
    """A custom provider may put anything into a token; what can't be shared is not."""
    extra = {"at": EXPIRES_AT, "kept": [1, b"bytes", {"object": object(), 5: "x", "y": "z"}]}
    stored = StoredToken(OAuth2Token("a", "b", EXPIRES_AT, extra=extra), "api", 1.0, "h:1")
    found = StoredToken.from_bytes(stored.to_bytes())
    assert found.token.extra == {"kept": (1, {"y": "z"})}


def test_failure_comes_back_whole():
    """Every member of a failure is stored."""
    assert StoredFailure.from_bytes(FAILURE.to_bytes()) == FAILURE


@given(
    error=st.builds(
        TokenAcquisitionError,
        TEXT,
        error=st.none() | TEXT,
        error_description=st.none() | TEXT,
        status_code=st.none() | st.integers(100, 599),
        retry_after=st.none() | st.floats(0, 1e6),
        network_reason=st.none() | st.sampled_from(["dns", "tls"]),
    ),
    age=st.floats(0, 1e6),
)
def test_error_comes_back(error, age):
    """Other processes get an error with the same attributes, and what is left of its wait."""
    stored = StoredFailure.of(
        error, token_name="api", stands_seconds=30.0, failures=1, reported_by="h:1"
    )
    found = StoredFailure.from_bytes(stored.to_bytes()).as_error("api", age)
    names = ("error", "error_description", "status_code", "transient", "network_reason")
    assert [getattr(found, name) for name in names] == [getattr(error, name) for name in names]
    assert str(found) == str(error)
    assert found.provider_name == "api"
    if error.retry_after is None:
        assert found.retry_after is None
    else:
        assert found.retry_after == max(0.0, error.retry_after - age)


@pytest.mark.parametrize("stored", [STORED, FAILURE], ids=["token", "failure"])
def test_members_of_newer_versions_are_ignored(stored):
    """A member that a newer version adds does not spoil a record."""
    content = json.loads(stored.to_bytes()) | {"new_member": {"a": [1]}}
    assert type(stored).from_bytes(json.dumps(content).encode()) == stored


FOREIGN = "it is not something that Tokenkeeper wrote"


def newer(shown):
    return (
        f"it has the version {shown}, which this version of Tokenkeeper does not know. Upgrade it"
    )


NOT_OURS = {
    "empty": (b"", FOREIGN),
    "garbage": (b"\xff\x00garbage", FOREIGN),
    "text": (b"access-secret", FOREIGN),
    "a list": (b"[1]", FOREIGN),
    "a string": (b'"access-secret"', FOREIGN),
    "null": (b"null", FOREIGN),
    "deep": (b"[" * 100_000, FOREIGN),
    "a long number": (b"1" * 5000, FOREIGN),
    "no version": (b'{"access_token": "access-secret"}', FOREIGN),
    "a version that is a text": (b'{"v": "1"}', FOREIGN),
    "a version that is true": (b'{"v": true}', FOREIGN),
    "a version that is null": (b'{"v": null}', FOREIGN),
    "a fraction of a version": (b'{"v": 1.0}', FOREIGN),
    "a newer version": (b'{"v": 2, "access_token": "access-secret"}', newer(2)),
    "a huge version": (b'{"v": 1234567890123}', newer("123456789")),
}


@pytest.mark.parametrize(("content", "expected"), NOT_OURS.values(), ids=NOT_OURS)
@pytest.mark.parametrize("kind", [StoredToken, StoredFailure])
def test_foreign_contents_are_rejected(kind, content, expected):
    """What Tokenkeeper did not write, or a newer version did, is explained without its content."""
    with pytest.raises(UnreadableError) as raised:
        kind.from_bytes(content)
    assert str(raised.value) == expected


@pytest.mark.parametrize("stored", [STORED, FAILURE], ids=["token", "failure"])
def test_truncated_contents_are_rejected(stored):
    """No beginning of a record is taken for the record."""
    content = stored.to_bytes()
    for length in range(len(content)):
        with pytest.raises(UnreadableError):
            type(stored).from_bytes(content[:length])


WRONG = [
    *[(STORED, name, value) for name in ("name", "token_type", "granted_to")
      for value in (None, 5, ["x"], {}, True)],
    *[(STORED, name, value) for name in ("expires_at", "requested_at")
      for value in (None, "soon", True, [], float("nan"), float("inf"))],
    *[(STORED, "expires_at", value) for value in (1e300, -1e300, 10**400)],
    *[(STORED, "access_token", value)
      for value in (None, "", " ", "line\nbreak", "not-ascii-é", 5, ["x"])],
    *[(STORED, name, value) for name in ("scope", "refresh_token") for value in (5, ["x"], False)],
    *[(STORED, "refresh_at", value) for value in ("soon", float("nan"), True)],
    *[(STORED, "extra", value) for value in ("x", ["x"], 5)],
    *[(FAILURE, name, value) for name in ("message", "token_name", "reported_by")
      for value in (None, 5, ["x"])],
    *[(FAILURE, name, value) for name in ("stands_seconds", "failures")
      for value in (None, "x", float("nan"), True)],
    *[(FAILURE, "transient", value) for value in (None, "false", 0)],
    *[(FAILURE, name, value) for name in ("error", "error_description", "network_reason")
      for value in (5, ["x"])],
    *[(FAILURE, name, value) for name in ("status_code", "retry_after")
      for value in ("x", float("inf"), [])],
]  # fmt: skip


@pytest.mark.parametrize(("stored", "name", "value"), WRONG)
def test_wrong_types_are_rejected(stored, name, value):
    """A member of the wrong type makes the record unreadable; it raises no other error."""
    content = json.loads(stored.to_bytes()) | {name: value}
    what = "token" if stored is STORED else "failure"
    with pytest.raises(UnreadableError) as raised:
        type(stored).from_bytes(json.dumps(content).encode())
    assert str(raised.value) == f"it is not a {what} of this version of Tokenkeeper"


@pytest.mark.parametrize("stored", [STORED, FAILURE], ids=["token", "failure"])
def test_missing_members_are_rejected(stored):
    """Each member that is needed is missed."""
    required = {
        StoredToken: {"name", "requested_at", "granted_to", "access_token", "token_type",
                      "expires_at"},
        StoredFailure: {"message", "token_name", "stands_seconds", "failures", "reported_by",
                        "transient"},
    }  # fmt: skip
    content = json.loads(stored.to_bytes())
    for name in required[type(stored)]:
        rest = {key: value for key, value in content.items() if key != name}
        with pytest.raises(UnreadableError):
            type(stored).from_bytes(json.dumps(rest).encode())


@given(content=st.dictionaries(TEXT, JSON, max_size=4))
def test_no_content_raises_another_error(content):
    """Whatever JSON is found, it is a token, or unreadable."""
    for kind in (StoredToken, StoredFailure):
        with pytest.raises(UnreadableError):
            kind.from_bytes(json.dumps({"v": 1} | content).encode())


def test_no_secret_is_shown():
    """Neither a representation nor a message shows a secret, or a name that may be personal."""
    shown = repr(STORED) + repr(FAILURE)
    for secret in ("access-secret", "refresh-secret", "id-secret", "graph"):
        assert secret not in shown
    content = STORED.to_bytes().replace(b'"Bearer"', b"5")
    with pytest.raises(UnreadableError) as raised:
        StoredToken.from_bytes(content)
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
