"""Sanitizing text from servers for our messages."""

import base64
import html
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenkeeper.oauth.redaction import sanitize

SECRETS = st.text("abcXYZ019 .~-_%+/&<>\"'\\äß漢", min_size=6, max_size=40).map(
    lambda text: "q" + text.strip() + "7"  # never a part of the replacement
)


@pytest.mark.slow
@given(secret=SECRETS, before=st.text(max_size=300), after=st.text(max_size=300))
def test_no_secret_survives(secret, before, after):
    """A secret is hidden wherever it is, and wherever the text is truncated."""
    assert secret not in sanitize(before + secret + after, [secret]).replace("[hidden]", "")


@pytest.mark.parametrize(
    "encode",
    [
        str,
        lambda s: quote(s, safe=""),
        quote_plus,
        lambda s: base64.b64encode(s.encode()).decode(),
        html.escape,
        lambda s: html.escape(s, quote=False),
        lambda s: html.escape(s).replace("&quot;", "&#34;"),
        lambda s: re.sub("%..", lambda found: found[0].lower(), quote(s, safe="")),
        lambda s: s.replace('"', '\\"'),
    ],
)
def test_encoded_secrets_are_hidden_too(encode):
    """A secret is hidden in the encodings of requests and of web pages."""
    secret = 'p&ss <w"rd> +/%'
    shown = sanitize(f"you sent {encode(secret)} to us", [secret])
    assert shown == "you sent [hidden] to us"


def test_a_secret_cut_in_two_does_not_grow_together():
    """A control character inside a secret is replaced, not removed."""
    assert "hunter2" not in sanitize("hunt\x00er2", ["hunter2"])


def test_white_space_does_not_join_to_a_secret():
    """A secret that appears when white space is collapsed is hidden."""
    assert sanitize("sent a  b", ["a b"]) == "sent [hidden]"
    assert sanitize("sent a  b", ["a  b"]) == "sent [hidden]"


def test_half_a_secret_does_not_stay_at_the_end():
    """Secrets are hidden before the text is truncated."""
    assert "hunter" not in sanitize("x" * 290 + "hunter2hunter2", ["hunter2hunter2"])


def test_tokens_are_hidden():
    """Text that looks like a JSON Web Token is hidden."""
    shown = sanitize("bad token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2ln here")
    assert shown == "bad token [hidden] here"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\r\nlines\tand  spaces ", "two??lines?and spaces"),
        ("\u202egnp.exe", "?gnp.exe"),
        ("a\u00a0b \ue000\U000e0041c", "a b ??c"),
        ("\ud800", "?"),
        (7, "7"),
        ("", ""),
    ],
)
def test_one_line(text, shown):
    """Line breaks and characters that forge output are replaced."""
    assert sanitize(text) == shown


@given(st.text(max_size=50))
def test_all_that_is_shown_can_be_seen(text):
    """The line is printable, whatever the characters, including unassigned and private ones."""
    assert sanitize(text + "\ue000\U000e0041\u00a0end", ["\ue000"]).isprintable()


def test_short():
    """A long text is truncated."""
    assert len(sanitize("x" * 10_000)) == 300
    assert sanitize("x" * 11, limit=10) == "xxxxxxx..."
    assert sanitize("x" * 10, limit=10) == "xxxxxxxxxx"
