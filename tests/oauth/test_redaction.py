"""Echoed secrets are hidden in every encoding; our own words never are."""

import base64
import binascii
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenAcquisitionError
from tokenkeeper.oauth import redaction
from tokenkeeper.oauth.exchange import Expected, HttpAnswer, LateSecrets
from tokenkeeper.oauth.redaction import SecretPieces, sanitize
from tokenkeeper.oauth.token_errors import refusal

SECRETS = [
    "hunter2-and-more",
    'p&ss <w"rd> +/%=é',
    "漢字だけの秘密の言葉",
    "aB3~xY.z_Q-9!$'()*,;:@",
    "0123456789abcdef0123456789abcdef",
    "C:\\path\\to\\u0041%41&amp;",
    "\U0001f511 key with \U0001f5dd",
    "cl\u00e9-secr\u00e8te-\u00e9t\u00e9-9",  # of two bytes each in UTF-8
    "\u0e23\u0e2b\u0e31\u0e2a\u0e25\u0e31\u0e1a\u0e02\u0e2d\u0e07\u0e09\u0e31\u0e19-7",  # of three
    "\uffff\U00010000 around the edge of a plane",
]


def every_byte(text, written):
    return "".join(written.format(byte) for byte in text.encode())


def units(text):
    octets = text.encode("utf-16-be")
    return "".join(f"\\u{octets[i]:02x}{octets[i + 1]:02x}" for i in range(0, len(octets), 2))


def basic(text, *, user="id", strip=False, safe=False):
    encode = base64.urlsafe_b64encode if safe else base64.b64encode
    encoded = encode(f"{user}:{text}".encode()).decode()
    return encoded.rstrip("=") if strip else encoded


ECHOES = {
    "as it is": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "swapped case": str.swapcase,
    "all but the last": lambda s: s[:-1],
    "all but the first": lambda s: s[1:],
    "the first half, with dots": lambda s: s[: max(8, len(s) // 2)] + "...",
    "the last half": lambda s: s[-max(8, len(s) // 2) :],
    "the middle": lambda s: s[1:-1],
    "percent": lambda s: quote(s, safe=""),
    "percent, lower case": lambda s: quote(s, safe="").lower(),
    "percent, twice": lambda s: quote(quote(s, safe=""), safe=""),
    "percent, three times": lambda s: quote(quote(quote(s, safe=""), safe=""), safe=""),
    "percent, each byte": lambda s: every_byte(s, "%{:02x}"),
    "form": quote_plus,
    "form, twice": lambda s: quote_plus(quote_plus(s)),
    "HTML": html.escape,
    "HTML, twice": lambda s: html.escape(html.escape(s)),
    "HTML, each character": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "HTML, each in hex": lambda s: "".join(f"&#x{ord(c):X};" for c in s),
    "JSON": lambda s: json.dumps(s)[1:-1],
    "JSON in JSON": lambda s: json.dumps(json.dumps(s))[1:-1],
    "JSON, each character": units,
    "JSON in HTML": lambda s: html.escape(json.dumps(s)),
    "percent in JSON": lambda s: json.dumps(quote(s, safe=""))[1:-1],
    "repr": lambda s: repr(s)[1:-1],
    "hex": lambda s: s.encode().hex(),
    "hex, cut short": lambda s: s.encode().hex()[:14],
    "HEX": lambda s: s.encode().hex().upper(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64, without padding": lambda s: base64.b64encode(s.encode()).decode().rstrip("="),
    "base64url": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "Basic": basic,
    "Basic of another id": lambda s: basic(s, user="abc"),
    "Basic of a third id": lambda s: basic(s, user="abcd"),
    "Basic, without padding": lambda s: basic(s, strip=True),
    "Basic, base64url": lambda s: basic(s, safe=True),
    "Basic of the form": lambda s: basic(quote(s, safe="")),
    "Basic in percent": lambda s: quote(basic(s), safe=""),
    "Basic cut short": lambda s: basic(s)[:-6],
}


def letters(text):
    return [c for c in text.casefold() if c.isalnum()]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_echoes(secret, echo):
    """However a server encodes a secret, no six characters of it are shown."""
    said = echo(secret)
    shown = sanitize(f"<< {said} >>", [secret])
    assert "[hidden]" in shown
    rest = shown.replace("[hidden]", "\0").removeprefix("<< ").removesuffix(" >>")
    assert all(said.strip() == "" or len(part) < 9 for part in rest.split("\0")), rest
    for decoded in (rest, html.unescape(rest), quote(rest)):
        assert not any(secret[i : i + 8] in decoded for i in range(len(secret) - 7))


@pytest.mark.parametrize("short", ["s3cr3t", "pa55word", "x9!", "k7", "tr0ub4dor"])
def test_short_secrets(short):
    """A short secret is hidden whole; a very short one only where it is a whole word."""
    assert sanitize(f"you sent {short}.", [short]) == "you sent [hidden]."
    assert sanitize(f"you sent {short.upper()}.", [short]) == "you sent [hidden]."


@pytest.mark.parametrize("around", ["", "a", "ab", "abc", "abcd"])
@pytest.mark.parametrize("secret", ["k7x9q", "k7x9qz", "k7x9qzw", "k7x9qzw8"])
def test_short_secrets_in_base64(secret, around):
    """A secret of five characters is hidden in base64, whatever is before and after it."""
    for text in (f"{around}:{secret}", f"{around}:{secret}:{around}", f"{secret}:{around}"):
        encoded = base64.b64encode(text.encode()).decode()
        assert "[hidden]" in sanitize(encoded, [secret])


def test_a_letter_is_hidden_only_alone():
    """A secret of one letter does not make the rest unreadable."""
    assert sanitize("a bad client sent 'a'", ["a"]) == "[hidden] bad client sent '[hidden]'"


@pytest.mark.parametrize(
    ("cut", "shown"),
    [("tr0ub4...", "[hidden]..."), ("...b4dor&3", "...b[hidden]"), ("correct", "correct")],
)
def test_pieces_of_short_secrets(cut, shown):
    """Six characters at either end are hidden, unless they are only letters."""
    assert sanitize(cut, ["tr0ub4dor&3", "correcthorse"]) == shown


@pytest.mark.parametrize(
    ("text", "secret", "shown"),
    [
        ("a%2Bb-c7d%2Fe", "a+b-c7d/e", "[hidden]"),  # from the first character on
        ("you sent  s3cr3t7.", " s3cr3t7", "you sent[hidden]."),
        ("you sent s3cr3t7  .", "s3cr3t7 ", "you sent [hidden]."),
        ("you sent k7x9q.", "k7x9q\n", "you sent [hidden]."),
        ("you sent k7x9qz.", " k7x9qz\n", "you sent [hidden]."),
        ("sent  k7", " k7", "sent [hidden]"),
        ("sent it", "  ", "sent it"),
        ("du wei\u00dft: s3cr3t7!", "s3cr3t7", "du wei\u00dft: [hidden]!"),
        ("half \\ud83d s3cr3t7!", "s3cr3t7", "half \\ud83d [hidden]!"),
        ("half \ud83d-s3cr3t7!", "\ud83d-s3cr3t7", "half [hidden]!"),
        ("ak7 k7a k7, and k7", "k7", "ak7 k7a [hidden], and [hidden]"),
        ("k7k7 ak7", "k7", "k7k7 ak7"),
        ("xk7x9y", "k7x9", "x[hidden]y"),
        ("in hex 6b377839.", "k7x9", "in hex [hidden]."),
        ("%E9%6B%37%78%39.", "k7x9", "%E9[hidden]."),  # not UTF-8
        ("half of it in hex 6b3778397132.", "k7x9q-1w", "half of it in hex 6b3778397132."),
        ("\\ud800\\udc00\\u006b\\u0037\\u0078\\u0039.", "k7x9", "\\ud800\\udc00[hidden]."),
    ],
)
def test_what_is_around_a_secret_stays(text, secret, shown):
    """The whole secret is hidden, and not one character beside it."""
    assert sanitize(text, [secret]) == shown


@pytest.mark.parametrize(
    "echoed",
    [
        base64.urlsafe_b64encode(b"???" * 4).decode(),
        base64.urlsafe_b64encode(b">>>" * 4).decode(),
        basic(quote("/ / / ?", safe="")),
        basic(quote_plus("/ / / ?")),
    ],
)
def test_signs_in_base64(echoed):
    """A secret of which base64, or the form in it, has only signs is hidden too."""
    assert sanitize(echoed[8:16], ["???" * 4, ">>>" * 4, "/ / / ?"]) == redaction.HIDDEN


@pytest.mark.parametrize(("times", "is_hidden"), [(1, True), (3, True), (4, False)])
def test_text_that_is_encoded_often(times, is_hidden):
    """A text is decoded three times."""
    echoed = "@#@#@#@#"
    for _ in range(times):
        echoed = quote(echoed)
    assert sanitize(echoed, ["@#@#@#@#"]) == (redaction.HIDDEN if is_hidden else echoed)


def test_other_words_stay():
    """Text without a secret is shown unchanged."""
    said = "AADSTS7000215: Invalid client secret provided. Trace ID: 8a9b-11; 50% &amp; more \\o/"
    assert sanitize(said, ["hunter2-and-more", "Y2xpZW50OmFiYw=="]) == said


@pytest.mark.parametrize(
    "secret",
    ["client", "secret", "check", "token", "server", "the", "id", "refused", "invalid_client"],
)
@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("401 No", {"error": "invalid_client"}),
        ("400 Bad", {"error": "invalid_scope"}),
        ("500 Oops", {}),
        ("404 Not Found", {}),
        ("200 OK", {}),
    ],
)
def test_our_own_sentence_hides_no_word(make_server, secret, status, said):
    """A secret that is a common word is not hidden in our own sentences, which would reveal it."""

    def message(secret):
        server = make_server(make_server.reply(json.dumps(said).encode(), status=status))
        provider = GenericOAuth2Provider(OAuth2Config("api", "id", secret, server.url))
        with pytest.raises(TokenAcquisitionError) as raised:
            provider.acquire_token()
        return str(raised.value)

    assert message(secret) == message("hunter2-and-more")


@given(
    st.text("%0123456789abcdefABCDEFu\\x&#;amp +", max_size=400),
    st.lists(st.text(min_size=1, max_size=30), max_size=3),
)
def test_any_text(text, secrets):
    """Broken escapes are shown, and raise nothing."""
    assert sanitize(text, secrets).isprintable()


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "%25" * 400_000,
        "\\" * 1_000_000,
        "&" * 1_000_000,
        "&#x0000041;" * 100_000,
        "a" * 1_000_000,
        "eyJ" + "a." * 500_000,
        "\\u0041" * 200_000,
        "%u" * 500_000,
        "+ " * 500_000,
    ],
    ids=range(9),
)
def test_bounded_work(text):
    """Only the beginning of a long text is examined, however it is encoded."""
    secrets = ["a" * 100_000, "%25" * 1000, "\\" * 1000]
    beginning = text[: redaction.LONGEST_TEXT]
    assert sanitize(text, secrets) == sanitize(beginning, secrets)


def test_the_binary_is_no_secret():
    """A secret that is not valid UTF-8 is hidden too."""
    secret = b"caf\xe9-latin-1-secret".decode("latin-1")
    assert "secret" not in sanitize("caf%E9-latin-1-secret", [secret])
    assert binascii.hexlify(secret.encode()).decode() not in sanitize(
        secret.encode().hex(), [secret]
    )


def test_the_limits_are_as_they_say():
    """A secret that crosses the limit of the examined text is not partly shown."""
    secret = "hunter2-and-more"
    text = "[" * (redaction.LONGEST_TEXT - 3) + secret
    assert "hunt" not in sanitize(text, [secret], limit=100_000)


@pytest.mark.parametrize("escape", ["%u{:04x}", "\\x{:02x}"])
def test_other_escapes(escape):
    """The escapes of old JavaScript, and of bytes in most languages, are decoded too."""
    secret = "correct-horse-7"
    echoed = "".join(escape.format(ord(each)) for each in secret)
    assert sanitize(f"bad secret: {echoed}", [secret]) == f"bad secret: {redaction.HIDDEN}"


def test_an_empty_secret():
    """An empty secret hides nothing, and does not stop others from being hidden."""
    assert sanitize("wrong hunter-2", ["", "hunter-2"]) == f"wrong {redaction.HIDDEN}"


class Counted:
    """Secrets that count how often they were collected."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return ["hunter2-and-more"]


def test_several_texts():
    """Secrets are collected and cut once for several texts, and hidden in each."""
    counted = Counted()
    pieces = SecretPieces(LateSecrets(counted))
    assert sanitize("", pieces) == ""
    assert counted.times == 0
    for text in ("no hunter2-and-more", "no HUNTER2-AND-MORE"):
        assert sanitize(text, pieces) == f"no {redaction.HIDDEN}"
    assert counted.times == 1


@pytest.mark.parametrize(
    ("body", "times"),
    [(b"", 0), (b'{"error": "x", "error_description": "hunter2-and-more"}', 1)],
    ids=["nothing said", "an echo"],
)
def test_a_refusal_collects_secrets_once(body, times):
    """A refusal costs one search for secrets at most: a long token takes milliseconds to cut."""
    counted = Counted()
    expected = Expected("api", 1e9, secrets=LateSecrets(counted))
    error = refusal(HttpAnswer(503, {}, body), expected, "")
    assert "hunter2" not in str(error)
    assert counted.times == times
