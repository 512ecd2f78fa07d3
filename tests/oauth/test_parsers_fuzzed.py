"""Fuzzed responses of token endpoints: each gives a valid token or our error."""

import base64
import json
import math
import string
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from fuzz.oracle import SENT, check, fits_header, read_case
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.token_errors import retry_after

CORPUS = sorted(Path(__file__).parent.parent.joinpath("fuzz", "corpus").iterdir())

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
ANY_TEXT = st.text(st.characters(), max_size=40)  # lone surrogates and control characters too
SCOPE_TOKENS = st.text(sorted(set(VISIBLE) - set('"\\')), min_size=1, max_size=12)

DATES = st.datetimes(datetime(2000, 1, 1), datetime(2059, 12, 31)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)

# ---- responses of a token endpoint


@pytest.mark.parametrize("case", CORPUS, ids=lambda path: path.stem)
def test_the_seeds_of_the_fuzzer(case):
    """Each seed of the fuzzer is read as the RFCs say."""
    token = check(read_case(case.read_bytes()))
    assert (token is not None) == case.stem.startswith("granted")


def as_object(pairs):
    """Return a JSON object, which unlike a dictionary may have duplicate members."""
    return "{" + ", ".join(f'"{name}": {value}' for name, value in pairs) + "}"


JSON_TEXT = st.recursive(
    st.sampled_from(["null", "true", "false", "-0", "0e9", "1E-400", "1e400", "NaN", "-Infinity"])
    | st.integers(-(10**40), 10**40).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.integers(1, 5000).map(lambda digits: "9" * digits)
    | st.builds(json.dumps, st.text(st.characters(), max_size=12), ensure_ascii=st.booleans())
    | st.sampled_from(['"\\ud800"', '"\\u0000"', '"Bearer"', '"a.b-c"', '"3600"', '""']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(st.sampled_from("ab"), inner), max_size=3).map(as_object)
    ),
    max_leaves=6,
)
MEMBERS = [
    *("access_token", "token_type", "expires_in", "scope", "refresh_token", "error"),
    *("expires_on", "expiresAt", "expires_in_sec", "refresh_in", "refresh_on"),
]


@pytest.mark.slow
@settings(max_examples=500)
@given(
    members=st.lists(st.tuples(st.sampled_from([*MEMBERS, "more"]), JSON_TEXT), max_size=5),
    base=st.sampled_from([[], [("access_token", '"abc"')], [("access_token", '"abc"')]]),
    encoding=st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32-be", "latin-1"]),
    content_type=st.sampled_from(["application/json", "text/html; charset=latin-1"]) | ANY_TEXT,
    status=st.sampled_from([200, 200, 201, 302, 400, 401, 429, 503]),
    cut=st.none() | st.integers(1, 30),
)
def test_any_json(members, base, encoding, content_type, status, cut):
    """Odd values, duplicate members, encodings and truncation give a valid token or our error."""
    body = as_object(base + members).encode(encoding, "replace")[: cut and -cut]
    check(HttpAnswer(status, {"content-type": content_type}, body))


@pytest.mark.slow
@given(
    opening=st.sampled_from(['{"a":', "[", '[{"access_token":', '{"access_token": "a", "b": [']),
    depth=st.integers(1, 50_000),
)
def test_any_depth(opening, depth):
    """Nesting deeper than Python's recursion limit is refused like other invalid bodies."""
    check(HttpAnswer(200, {}, (opening * depth).encode()))


@pytest.mark.slow
@given(
    value=st.sampled_from(["[", '{"access_token":', '[{"a": "]}", "b":']),
    depth=st.integers(1, 20_000),
    at=st.sampled_from(["before", "after"]),
)
def test_any_depth_beside_a_token(value, depth, at):
    """A deeply nested member does not affect the token beside it."""
    closing = {"[": "]", '{"access_token":': "}", '[{"a": "]}", "b":': "}]"}[value]
    deep = f'"deep": {value * depth}0{closing * depth}'
    members = [deep, '"access_token": "abc"'] if at == "before" else ['"access_token": "abc"', deep]
    granted = check(HttpAnswer(200, {}, f"{{{', '.join(members)}}}".encode()))
    assert granted.access_token == "abc"
    assert "deep" in granted.extra


@given(
    token=st.text(VISIBLE, min_size=1, max_size=2000),
    kind=st.sampled_from(["Bearer", "bearer", "BEARER"]),
    seconds=st.integers(1, 10**9) | st.floats(0.001, 10**9),
    scopes=st.lists(SCOPE_TOKENS, min_size=1, max_size=4),
    refresh=st.none() | st.text(VISIBLE, min_size=1, max_size=60),
    more=st.dictionaries(st.text(max_size=5).map("x_{}".format), st.integers() | st.text()),
    status=st.integers(200, 299),
)
def test_all_that_rfc_6749_allows_is_taken(token, kind, seconds, scopes, refresh, more, status):
    """Every response that RFC 6749 allows is accepted, whatever its characters."""
    body = {
        "access_token": token,
        "token_type": kind,
        "expires_in": seconds,
        "scope": " ".join(scopes),
        **more,
    }
    if refresh is not None:
        body["refresh_token"] = refresh
    answer = HttpAnswer(status, {}, json.dumps(body, ensure_ascii=False).encode())
    granted = check(answer)
    assert granted is not None
    assert (granted.scope, granted.refresh_token) == (" ".join(scopes), refresh)


NUMBERS = st.integers(-(10**20), 10**20) | st.floats()
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2040, 1, 1)).flatmap(  # noqa: DTZ001
    lambda moment: st.sampled_from(
        [
            moment.isoformat(),
            moment.isoformat() + "Z",
            moment.timestamp(),
            int(moment.timestamp() * 1000),
            str(int(moment.timestamp())),
            format_datetime(moment.replace(tzinfo=UTC), usegmt=True),
            moment.strftime("%m/%d/%Y %I:%M:%S PM +00:00"),
        ]
    )
)


def as_jwt(claims):
    """Return an access token with *claims*; its signature is not checked here."""
    parts = ({"alg": "RS256"}, claims, 0)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
    return b".".join(encoded).replace(b"=", b"").decode()


@pytest.mark.slow
@settings(max_examples=500)
@given(
    members=st.dictionaries(
        st.sampled_from(
            [
                *("expires_in", "expires_on", "expires_at", "expires_in_sec", "expiresIn"),
                *(".expires", "exp", "expiry", "expires_in_ms", "refresh_in", "refresh_on"),
            ]
        ),
        NUMBERS | NUMBERS.map(str) | MOMENTS | ANY_TEXT,
        max_size=4,
    ),
    claims=st.none() | st.fixed_dictionaries({}, optional={"exp": NUMBERS, "iat": NUMBERS}),
    date=st.none() | DATES | ANY_TEXT,
)
def test_any_lifetime(members, claims, date):
    """Any lifetime in the members and the token results in a lifetime of at most a year."""
    token = "abc" if claims is None else as_jwt(claims)
    body = json.dumps({"access_token": token, **members}).encode()
    date = format_datetime(date, usegmt=True) if isinstance(date, datetime) else date
    check(HttpAnswer(200, {} if date is None else {"date": date}, body))


@given(
    st.text(string.ascii_letters + string.digits + "-._~+/= é\n\x00\u2003", max_size=12)
    | st.builds(
        "{}{}{}".format, st.text("aZ9", max_size=3), st.sampled_from(VISIBLE + " "), st.just("a")
    )
)
def test_any_text_as_an_access_token(text):
    """It is accepted unchanged if it can be sent in a header, and refused otherwise."""
    body = json.dumps({"access_token": text, "expires_in": 60}).encode()
    granted = check(HttpAnswer(200, {}, body))
    assert (granted is not None) == fits_header(text)


# ---- Retry-After

FORMS = {  # RFC 9110 §5.6.7: the current format, and two that recipients must accept
    "IMF-fixdate": lambda moment: format_datetime(moment, usegmt=True),
    "rfc850-date": lambda moment: moment.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
    "asctime-date": lambda moment: moment.strftime("%a %b ") + moment.strftime("%d %H:%M:%S %Y"),
}


@pytest.mark.slow
@settings(max_examples=500)
@given(
    st.one_of(
        ANY_TEXT,
        st.text("0123456789.,:+-eE \t\x0b\x1c\x1f\x85\u2003GMT", max_size=30),
        st.lists(
            st.sampled_from(["Tue,", "Jan", "01", "99", "2030", "00:02:00", "-0000", "+9999", "⁵"]),
            max_size=8,
        ).map(" ".join),
    )
)
@example("\x1f7")  # white space to strip(), but not to float()
def test_any_retry_after(value):
    """Any header value means a number of seconds or None."""
    seconds = retry_after(value, SENT.timestamp())
    assert seconds is None or 0 <= seconds < math.inf


@given(seconds=st.integers(0, 10**9), before=st.text(" \t"), after=st.text(" \t"))
def test_delay_seconds(seconds, before, after):
    """A number of seconds is read with or without white space around it."""
    assert retry_after(f"{before}{seconds}{after}", SENT.timestamp()) == seconds


@given(moment=DATES, form=st.sampled_from(sorted(FORMS)))
def test_http_dates(moment, form):
    """All three date formats are read; a date in the past means no wait."""
    wait = max(timedelta(0), moment - SENT).total_seconds()
    assert retry_after(FORMS[form](moment), SENT.timestamp()) == wait


# ---- sources of a configuration
