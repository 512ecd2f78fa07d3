"""Small files that expand to something huge: rejected with their line, before they take minutes."""

import time

import pytest

from tokenkeeper import InvalidConfigurationError, TokenKeeper
from tokenkeeper.config.document import read_document

AT_MOST_SECONDS = 60
"""Of the processor: far more than a slow machine needs, far less than each would take."""


def bomb(levels, width):
    """Return YAML in which each level uses the one before *width* times."""
    lines = ["a0: &a0 x"]
    for level in range(1, levels):
        inner = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} [{inner}]")
    return "\n".join(lines), f"*a{levels - 1}"


def used(bomb, key="client_id"):
    text, last = bomb
    return f"{text}\noauth2:\n  - {key}: {last}\n"


MERGES = "a0: &a0 {k0: v}\n" + "\n".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: v}}" for n in range(1, 10)
)

CASES = {
    "lists": used(bomb(10, 9)),
    "blocks": used(
        (
            "a0: &a0 x\n"
            + "\n".join(
                f"a{n}: &a{n} {{{', '.join(f'k{m}: *a{n - 1}' for m in range(9))}}}"
                for n in range(1, 10)
            ),
            "*a9",
        )
    ),
    "a long text": "a: &a " + "x" * 500_000 + "\noauth2: [" + "*a, " * 10_000 + "]\n",
    "many texts": "a: &a [" + "x, " * 5_000 + "]\noauth2: [" + "*a, " * 5_000 + "]\n",
    "merges": MERGES + "\noauth2:\n  - <<: *a9\n",
    "merges at the top": MERGES + "\n<<: *a9\noauth2: {}\n",
    "a deep chain": "a0: &a0 x\n"
    + "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 300))
    + "\noauth2: *a299\n",
    "deep lists": "oauth2: " + "[" * 60 + "]" * 60,
    "very deep lists": "oauth2: " + "[" * 200_000,
    "deep blocks": "oauth2:\n" + "".join(f"{' ' * n}k:\n" for n in range(1, 200)),
    "deep elsewhere": "a: " + "{b: " * 5_000,
    "a list that contains itself": "oauth2: &a [*a]",
    "a block that contains itself": "oauth2: &a\n  b: *a",
    "a block that merges itself": "oauth2: &a\n  <<: *a",
    "a block that merges itself at the top": "a: &a\n  <<: *a\n<<: *a\noauth2: {}",
    "two that contain each other": "oauth2: &a\n  b: &b\n    c: *a\n    d: *b",
    "many values": "oauth2: [" + "1," * 400_000 + "1]",
    "many values elsewhere": "a:\n" + "  - x\n" * 150_000 + "oauth2: {}\n",
    "many keys": "oauth2:\n" + "".join(f"  key{n}: v\n" for n in range(50_000)),
    "a long number": "oauth2: {client_id: " + "9" * 5_000 + "}",
    "a very long number": "oauth2: {client_id: " + "9" * 900_000 + "}",
    "a hexadecimal number": "oauth2: {client_id: 0x" + "f" * 900_000 + "}",
    "a number to the base of 60": "oauth2: {client_id: 1" + ":11" * 250_000 + "}",
    "a fraction to the base of 60": "oauth2: {client_id: 1" + ":11" * 250_000 + ".5}",
    "a long fraction": "oauth2: {client_id: 1." + "1" * 900_000 + "}",
    "a number by its tag": "oauth2: {client_id: !!int '" + "9" * 900_000 + "'}",
    "a date that is none": "oauth2: {client_id: 2026-13-45}",
    "a moment that is none": "oauth2: {client_id: !!timestamp '" + "1" * 900_000 + "'}",
    "a key that is a list": "oauth2: {? [a, b] : c}",
    "a key that is a bomb": bomb(9, 9)[0] + "\noauth2:\n  ? *a8\n  : c\n",
    "a long key": "oauth2:\n  ? " + "k" * 900_000 + "\n  : c\n",
    "a key that is a number": "oauth2:\n  ? " + "9" * 6_000 + "\n  : c\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_bounds(write, text):
    """A file that is too large or can't be read is one clear error with file and line."""
    path = write(text)
    began = time.process_time()
    with pytest.raises(InvalidConfigurationError) as raised:
        TokenKeeper.from_config(path)
    assert time.process_time() - began < AT_MOST_SECONDS
    message = str(raised.value)
    assert "tokens.yaml" in message
    assert "line " in message
    assert len(message) < 2000
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CASES["lists"], "is too large (line 6): a value expands to more than 50000 others"),
        (CASES["a long text"], "is too large (line 2): a value expands to more than 50000 others"),
        (CASES["merges at the top"], "is too large (line 6): a value expands to more than"),
        (CASES["many values"], "is too large (line 1): more than 20000 values"),
        (CASES["deep lists"], "is nested too deeply (line 1): more than 50 levels"),
        (CASES["deep blocks"], "is nested too deeply (line 51): more than 50 levels"),
        (CASES["a deep chain"], "is nested too deeply (line 249): more than 50 levels"),
        (CASES["a block that merges itself"], "is not YAML (line 1): an alias refers to itself"),
        (CASES["a long number"], "is not YAML (line 1): a number has more than 100 characters"),
        (CASES["a key that is a list"], "is not YAML (line 1): a key must be a string"),
    ],
)
def test_words(write, text, words):
    """The error names the limit and the line."""
    with pytest.raises(InvalidConfigurationError) as raised:
        TokenKeeper.from_config(write(text))
    assert str(raised.value).startswith(f"tokens.yaml {words}")


def test_what_others_have(write):
    """Aliases under other keys than ours are not expanded."""
    text, last = bomb(10, 9)
    block = (
        "oauth2: {provider_name: a, provider_type: generic, client_id: b, client_secret_file: s,"
        " token_url: 'https://id.example.com'}"
    )
    write("s", name="s")
    with TokenKeeper.from_config(write(f"{text}\nother: {last}\n{block}\n")) as keeper:
        assert keeper.list_providers() == ["a"]


def test_a_large_configuration(write):
    """Hundreds of providers that share most of their keys are accepted."""
    shared = "s: &s {provider_type: generic, client_secret: '${API_SECRET}', client_id: c}\n"
    blocks = "".join(
        f"  - {{<<: *s, provider_name: p{n}, token_url: 'https://id.example.com/{n}'}}\n"
        for n in range(800)
    )
    document = read_document(write(shared + "oauth2:\n" + blocks))
    assert len(document.content["oauth2"]) == 800


def selfish():
    block = {}
    block["retry"] = block
    return block


def wide():
    value = ["x"]
    for _ in range(12):
        value = [value] * 9
    return value


def deep():
    value = "x"
    for _ in range(3000):
        value = [value]
    return value


@pytest.mark.parametrize("make", [selfish, wide, deep])
def test_a_mapping(make):
    """A mapping that contains itself or is too large is a clear error as well."""
    with pytest.raises(InvalidConfigurationError, match=r"^configuration: oauth2 can't be read: "):
        TokenKeeper.from_config({"oauth2": make()})


@pytest.mark.parametrize("number", [10**400, -(10**400), 10**5000], ids=["400", "-400", "5000"])
@pytest.mark.parametrize("key", ["total_timeout", "client_id", "buffer_seconds", "verify"])
def test_numbers_of_a_mapping(key, number):
    """A number that is too large for a clock or a float is a clear error."""
    block = {
        "provider_name": "api",
        "provider_type": "generic",
        "client_id": "worker",
        "client_secret": "s",
        "token_url": "https://id.example.com/token",
        key: number,
    }
    with pytest.raises(InvalidConfigurationError, match=rf"oauth2\.{key} must be"):
        TokenKeeper.from_config({"oauth2": block})
