"""Other people's words, made fit for our messages."""

import base64
import html
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenkeeper.oauth.redaction import sanitize

SECRETS = st.text("abcXYZ019 .~-_%+/&<>\"'\\äß漢", min_size=6, max_size=40).map(
    lambda text: "q" + text.strip() + "7"  # never a part of what stands in its place
)


@pytest.mark.slow
@given(secret=SECRETS, before=st.text(max_size=300), after=st.text(max_size=300))
def test_no_secret_survives(secret, before, after):
    """Wherever a secret stands, and wherever the text is cut, it can't be read."""
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
    """A server may echo a secret as it travelled, or as it writes its pages."""
    secret = 'p&ss <w"rd> +/%'
    shown = sanitize(f"you sent {encode(secret)} to us", [secret])
    assert shown == "you sent [hidden] to us"


def test_a_secret_cut_in_two_does_not_grow_together():
    """A control character inside a secret is replaced, not removed."""
    assert "hunter2" not in sanitize("hunt\x00er2", ["hunter2"])


def test_white_space_does_not_join_to_a_secret():
    """A secret that appears when white space is joined is hidden too, and so is one with two."""
    assert sanitize("sent a  b", ["a b"]) == "sent [hidden]"
    assert sanitize("sent a  b", ["a  b"]) == "sent [hidden]"


def test_half_a_secret_does_not_stay_at_the_end():
    """Secrets are hidden before the text is cut."""
    assert "hunter" not in sanitize("x" * 290 + "hunter2hunter2", ["hunter2hunter2"])


def test_tokens_are_hidden():
    """What looks like a JSON web token is hidden, whoever's it is."""
    shown = sanitize("bad token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2ln here")
    assert shown == "bad token [hidden] here"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\r\nlines\tand  spaces ", "two??lines?and spaces"),
        ("\u202egnp.exe", "?gnp.exe"),
        ("\ud800", "?"),
        (7, "7"),
        ("", ""),
    ],
)
def test_one_line(text, shown):
    """Line ends and characters that forge what is printed are replaced."""
    assert sanitize(text) == shown


@given(st.text(max_size=50))
def test_all_that_is_shown_can_be_seen(text):
    """Whatever the characters, unassigned and private ones too, the line can be printed."""
    assert sanitize(text + "\ue000\U000e0041\u00a0end", ["\ue000"]).isprintable()


def test_short():
    """Long texts are cut."""
    assert len(sanitize("x" * 10_000)) == 300
    assert sanitize("x" * 10_000, limit=10) == "xxxxxxx..."
