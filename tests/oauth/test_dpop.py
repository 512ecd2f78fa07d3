"""Keys that tokens are bound to, and their proofs, read by PyJWT with the key that they state."""

import copy
import gc
import hashlib
import json
import pickle
import time

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from kit.frames import recorded_variables
from kit.servers.dpop import encoded, opened, thumbprint

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth import dpop, dpop_servers
from tokenkeeper.oauth.dpop import DPoPKey, ForeignKey, dpop_key_of, key_with, restored_key

URL = "https://api.example.com/orders"
AS = "authorization server"

KEYS = {
    "P-256": (lambda: ec.generate_private_key(ec.SECP256R1()), "ES256"),
    "P-384": (lambda: ec.generate_private_key(ec.SECP384R1()), "ES384"),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate, "EdDSA"),
    "RSA": (lambda: rsa.generate_private_key(65537, 2048), "RS256"),
}


def pem_of(key, password=None):
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def jwk_of(key):
    return json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key))


@pytest.fixture
def key():
    return DPoPKey()


@pytest.mark.parametrize(("make", "alg"), KEYS.values(), ids=KEYS)
def test_what_a_proof_states(make, alg):
    """A proof of each kind of key has the claims of the request, and is signed by its own key."""
    key = DPoPKey(make())
    before = int(time.time())
    header, claims = opened(key.proof("POST", URL + "?page=2#top", token="abc"))
    assert header["alg"] == key.alg == alg
    assert thumbprint(header["jwk"]) == key.thumbprint
    assert header.keys() == {"alg", "typ", "jwk"}
    assert before <= claims.pop("iat") <= time.time()
    assert len(claims.pop("jti")) == 22
    ath = encoded(hashlib.sha256(b"abc").digest())
    assert claims == {"htm": "POST", "htu": URL, "ath": ath}
    other = opened(key.proof('"', URL, token="abcd"))[1]
    assert (other["htm"], other["ath"]) == ('"', encoded(hashlib.sha256(b"abcd").digest()))


def test_thumbprint():
    """The thumbprint is that of RFC 7638, as the example of RFC 9449 §6.1 has it."""
    public = {
        "kty": "EC",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        "crv": "P-256",
    }
    assert thumbprint(public) == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


@pytest.mark.parametrize("method", ["GET", "get", "Get"])
def test_method(key, method):
    """A proof states the method as HTTP clients send it: in upper case."""
    assert opened(key.proof(method, URL))[1]["htm"] == "GET"


def test_each_proof_works_once(key):
    """No two proofs of one request are alike, as a server takes each once."""
    claims = [opened(key.proof("GET", URL, token="abc"))[1] for _ in range(50)]
    assert len({each["jti"] for each in claims}) == 50
    assert len({each["ath"] for each in claims}) == 1


TARGETS = {
    "HTTPS://API.Example.COM:443/a%2fb?x=1#y": "https://api.example.com/a%2Fb",
    "http://127.0.0.1:8080": "http://127.0.0.1:8080/",
    "http://[::1]:80/x": "http://[::1]/x",
    "wss://api.example.com/live": "https://api.example.com/live",
    "ws://localhost:1/live": "http://localhost:1/live",
    "https://user:pass@api.example.com/": "https://api.example.com/",
    "https://bücher.example/straße": "https://xn--bcher-kva.example/stra%C3%9Fe",
    "https://Straße.example/": "https://xn--strae-oqa.example/",
}


@pytest.mark.parametrize(("url", "htu"), TARGETS.items())
def test_target(key, url, htu):
    """A proof states the URL in its normal form, without query, fragment and user."""
    assert opened(key.proof("GET", url))[1]["htu"] == htu


@pytest.mark.parametrize("host", ["bücher.example", "Straße.example", "日本.example"])
def test_a_host_that_is_not_ascii(key, host):
    """A proof names the host that the request is sent to."""
    sent = requests.Request("GET", f"https://{host}/").prepare().url
    assert opened(key.proof("GET", f"https://{host}/"))[1]["htu"] == sent


@pytest.mark.parametrize(
    "url",
    [
        *("/orders", "ftp://example.com/x", "https:///x", "", 'https://a"b.example/'),
        *("https://a:b/", "https://☃.example/"),
    ],
)
def test_a_target_that_is_none(key, url):
    """A URL without a valid host or of another scheme is refused."""
    with pytest.raises(ValueError, match=r"URL|[Pp]ort|☃"):
        key.proof("GET", url)


def nonce_in(key, url=URL, **role):
    return opened(key.proof("GET", url, **role))[1].get("nonce")


def test_nonces_by_role_and_origin(key):
    """A nonce is sent back to the origin and the role that it came from, and to no other."""
    key.note_nonce(URL, "one")
    key.note_nonce(URL, "two", role=AS)
    key.note_nonce("https://other.example.com/", "three")
    assert nonce_in(key, URL + "/12") == "one"
    assert nonce_in(key, role=AS) == "two"
    assert nonce_in(key, "https://other.example.com/orders") == "three"
    assert nonce_in(key, "https://api.example.com:8443/orders") is None


@pytest.mark.parametrize("nonce", [None, "", "a b", 'a"b', "ü", "x" * 2001])
def test_what_is_no_nonce(key, nonce):
    """What can't be a nonce does not replace the one that is known."""
    key.note_nonce(URL, "good")
    key.note_nonce(URL, nonce)
    assert nonce_in(key) == "good"


def test_servers_are_bounded(key, monkeypatch):
    """The servers that said something first are forgotten first."""
    monkeypatch.setattr(dpop_servers, "MOST_SERVERS", 3)
    urls = [f"https://{number}.example.com/" for number in range(5)]
    for url in urls:
        key.note_nonce(url, "nonce")
    assert [nonce_in(key, url) for url in urls] == [None, None, *["nonce"] * 3]


DATES = [
    ("Fri, 01 Jan 2027 00:10:00 GMT", 600),
    ("Fri, 01 Jan 2027 00:00:03 GMT", None),
    ("soon", None),
    (None, None),
]


@pytest.mark.parametrize(("date", "ahead"), DATES)
def test_time_of_a_server(key, monkeypatch, date, ahead):
    """After a refused proof, the next one has the server's time if that differs from ours."""
    now = 1798761600.0  # 2027-01-01
    monkeypatch.setattr(dpop.SYSTEM_CLOCK, "time", lambda: now)
    headers = {} if date is None else {"date": date}
    again = key.is_worth_another("invalid_dpop_proof", URL, headers)
    assert again is (ahead is not None)
    assert opened(key.proof("GET", URL))[1]["iat"] == now + (ahead or 0)
    assert not key.is_worth_another("invalid_dpop_proof", URL, headers)


def test_a_nonce_is_worth_another_proof(key):
    """A server that wants a nonce gets another proof only if it has sent one."""
    assert not key.is_worth_another("use_dpop_nonce", URL, {})
    key.note_nonce(URL, "nonce")
    assert key.is_worth_another("use_dpop_nonce", URL, {})


FILES = {
    "PEM": (pem_of, {}),
    "encrypted PEM": (lambda key: pem_of(key, b"pass"), {"password": "pass"}),
    "JWK": (lambda key: json.dumps(jwk_of(key)).encode(), {}),
}


@pytest.mark.parametrize(("write", "options"), FILES.values(), ids=FILES)
def test_key_files(tmp_path, write, options):
    """A file holds the key in PEM or as a JWK, and its proofs are signed with it."""
    private = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "key"
    path.write_bytes(write(private))
    key = DPoPKey(private_key_file=path, **options)
    assert not key.is_generated
    assert key.exported() is None
    assert key == DPoPKey(jwk_of(private))
    assert hash(key) == hash(DPoPKey(pem_of(private)))
    assert key != DPoPKey()


def test_an_algorithm_of_ones_choice():
    """An RSA key signs with the algorithm that is set."""
    key = DPoPKey(KEYS["RSA"][0](), signing_alg="PS256")
    assert opened(key.proof("GET", URL))[0]["alg"] == "PS256"


def test_unusable_keys(tmp_path):
    """A key that can't be read or can't sign proofs is an error at once, which shows no key."""
    pem = pem_of(ec.generate_private_key(ec.SECP256R1())).decode()
    junk = tmp_path / "junk"
    junk.write_text("hunter2")
    unusable = [
        {"private_key": pem, "private_key_file": junk},
        {"private_key": pem.replace("M", "?")},
        {"private_key": "hunter2"},
        {"private_key": 7},
        {"private_key": {"kty": "oct", "k": "aHVudGVyMg"}},
        {"private_key": pem, "signing_alg": "HS256"},
        {"private_key": DPoPKey()._signing},
        {"private_key_file": junk},
        {"private_key_file": tmp_path / "missing"},
    ]
    for options in unusable:
        with pytest.raises(InvalidConfigurationError) as raised:
            DPoPKey(**options)
        assert raised.value.field in ("private_key", "private_key_file", "signing_alg"), options
        assert "hunter2" not in str(raised.value)
        assert "PRIVATE" not in str(raised.value)


BAD_FILES = {
    "a number": (7, "private_key_file must be a path, not int."),
    "bytes": (b"key.pem", "private_key_file must be a path, not bytes."),
    "an empty path": ("", "private_key_file is empty. Set it, or check the variable"),
    "a null byte": ("key\0pem", "private_key_file contains a control character"),
    "missing": ("{}/missing", "private_key_file {}/missing can't be read: "),
    "a directory": ("{}", "private_key_file {} can't be read: "),
    "junk": ("{}/junk", "private_key_file {}/junk is not a private key in PEM or JWK."),
    "too large": ("{}/large", "private_key_file {}/large is larger than 256 KiB."),
}


@pytest.mark.parametrize(("path", "problem"), BAD_FILES.values(), ids=BAD_FILES)
def test_unusable_files(tmp_path, path, problem):
    """A path or a file that can't be a key's is an error that names the option and the file."""
    (tmp_path / "junk").write_text("hunter2")
    (tmp_path / "large").write_bytes(b" " * (256 * 1024 + 1))
    given = path.format(tmp_path) if isinstance(path, str) else path
    with pytest.raises(InvalidConfigurationError) as raised:
        DPoPKey(private_key_file=given)
    assert str(raised.value).startswith(problem.format(tmp_path))
    assert raised.value.field == "private_key_file"


@pytest.mark.parametrize("is_file", [False, True], ids=["given", "file"])
def test_what_an_error_tracker_records(tmp_path, is_file):
    """The variables of frames that an error passed through show no key and no password."""
    pem = pem_of(ec.generate_private_key(ec.SECP256R1())).decode()
    path = tmp_path / "key"
    path.write_text(pem)
    options = {"private_key_file": path} if is_file else {"private_key": pem}
    with pytest.raises(InvalidConfigurationError, match="Remove password") as raised:
        DPoPKey(**options, password="hunter2")
    assert raised.value.__context__ is None
    for written in recorded_variables(raised.value):
        assert "PRIVATE KEY" not in written
        assert "hunter2" not in written


@pytest.mark.parametrize("given", [None, 1, "ES256", {}])
def test_what_dpop_may_be(given):
    """The option takes a switch or a key, and nothing that could be mistaken for one."""
    with pytest.raises(InvalidConfigurationError, match="dpop must be True, False or a DPoPKey"):
        dpop_key_of(given)


def test_the_option():
    """``True`` generates a key, and a key stays the same one."""
    key = dpop_key_of(True)
    assert key.is_generated
    assert dpop_key_of(key) is key


def test_copies_are_the_same_key(key):
    """A key that was pickled is the same object in its process, with the nonces that it learned."""
    for twin in (pickle.loads(pickle.dumps(key)), copy.deepcopy(key)):
        assert twin is key


def test_a_key_in_another_process(key, monkeypatch):
    """A key that was pickled goes on to sign with the same key elsewhere."""
    pickled, pem = pickle.dumps(key), key.exported()
    monkeypatch.setattr(dpop, "_known", {})
    for twin in (pickle.loads(pickled), restored_key(pem, key.thumbprint)):
        dpop._known.clear()
        assert twin is not key
        assert twin == key
        assert twin.is_generated
        assert opened(twin.proof("GET", URL))
    given = DPoPKey(ec.generate_private_key(ec.SECP256R1()))
    pickled = pickle.dumps(given)
    dpop._known.clear()
    assert not pickle.loads(pickled).is_generated


def test_keys_of_records(key):
    """A record's key is that of this process if it has it, and no other than the record says."""
    assert restored_key("", key.thumbprint) is key
    assert key_with(key.thumbprint) is key
    with pytest.raises(InvalidConfigurationError, match="another one"):
        restored_key(key.exported(), "x" * 43)
    foreign = key_with("x" * 43)
    assert isinstance(foreign, ForeignKey)
    with pytest.raises(InvalidConfigurationError, match="which this process does not have"):
        foreign.proof("GET", URL)
    foreign.note_nonce(URL, "nonce")
    assert not foreign.is_worth_another("use_dpop_nonce", URL, {})
    assert foreign.exported() is None


def test_a_key_that_was_given_twice():
    """A key is known as long as an object of it lives, though another one has gone before."""
    private = ec.generate_private_key(ec.SECP256R1())
    first, second = DPoPKey(private), DPoPKey(private)
    thumbprint = first.thumbprint
    del first
    gc.collect()
    assert key_with(thumbprint) == second


def test_nothing_shows_the_key(key):
    """Neither the representation nor a record of its attributes shows the private key."""
    assert repr(key) == f"<DPoPKey ES256 {key.thumbprint}>"
    body = key.exported().splitlines()[1]
    for name in DPoPKey.__slots__:
        if name != "__weakref__":
            assert body not in repr(getattr(key, name))
