"""Key files that are replaced, damaged and removed while the program runs."""

import datetime as dt
import hashlib
import json
import logging
import os
import pickle
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from kit.crowds import at_once
from kit.guards import until
from kit.processes import exit_code_of
from kit.signing_keys import jwk_of, pem_of, private_key, verified

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth import key_options
from tokenkeeper.oauth.jws import base64url
from tokenkeeper.oauth.signing import SigningKey
from tokenkeeper.testing import SteppedClock

CLAIMS = {"iss": "me"}
OLD, NEW = private_key("P-256"), private_key("P-256", 1)
DAY = dt.timedelta(days=1)


def certificate(key, days=1):
    """Return a certificate of *key* in PEM, and in DER, that expires in *days*."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - 10 * DAY)
        .not_valid_after(now + days * DAY)
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM), made.public_bytes(Encoding.DER)


def replace(path, content):
    """Replace a file in one step, as deployments do."""
    other = path.with_suffix(".new")
    other.write_bytes(content)
    os.replace(other, path)


def rewrite(path, content):
    """Write a file in place, as an editor may do."""
    path.write_bytes(content)


@pytest.fixture
def file(tmp_path):
    """Return a file with the old key."""
    path = tmp_path / "key.pem"
    path.write_bytes(pem_of(OLD))
    return path


@pytest.mark.parametrize(
    "content", [pem_of(NEW), json.dumps(jwk_of(NEW)).encode()], ids=["PEM", "JWK"]
)
def test_a_byte_order_mark(file, content):
    """The mark that some editors put before a text does not hide the key."""
    rewrite(file, b"\xef\xbb\xbf" + content)
    verified(SigningKey.of(private_key_file=file).sign(CLAIMS), NEW, "ES256")


def signs_with(key, private):
    """Return whether *key* signs with *private*."""
    try:
        verified(key.sign(CLAIMS), private, "ES256")
    except Exception:  # noqa: BLE001 - PyJWT's, for a signature of another key
        return False
    return True


@pytest.mark.parametrize("write", [replace, rewrite])
def test_a_file_that_is_replaced(file, write):
    """The next JWT is signed with the new key, with its kid, however soon after the last one."""
    key = SigningKey.of(private_key_file=file)
    for _ in range(3):
        assert signs_with(key, OLD)
        write(file, pem_of(NEW))
        assert signs_with(key, NEW)
        write(file, pem_of(OLD))
    write(file, b'{"kid": "k2",' + json.dumps(jwk_of(NEW)).encode()[1:])
    assert signs_with(key, NEW)
    assert key.key_id == "k2"


def test_another_kind_of_key(file):
    """A file may be replaced by a key of another kind, if no algorithm is set."""
    key = SigningKey.of(private_key_file=file)
    replace(file, pem_of(private_key("RSA")))
    verified(key.sign(CLAIMS), private_key("RSA"), "RS256")
    assert key.public_jwk()["kty"] == "RSA"


def test_a_link_that_is_switched(tmp_path):
    """A mounted Kubernetes secret is replaced by switching a link above it."""
    for name, private in (("old", OLD), ("new", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key.pem").write_bytes(pem_of(private))
    link = tmp_path / "data"
    link.symlink_to("old")
    key = SigningKey.of(private_key_file=link / "key.pem")
    (tmp_path / "next").symlink_to("new")
    os.replace(tmp_path / "next", link)
    assert signs_with(key, NEW)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda file: rewrite(file, pem_of(NEW)[:90]), "is damaged, or only a part of the key"),
        (lambda file: rewrite(file, b""), "is not a private key in PEM or JWK"),
        (lambda file: file.unlink(), "can't be read: No such file"),
        (lambda file: rewrite(file, pem_of(private_key("RSA"))), "'ES256' does not fit the key"),
        (lambda file: rewrite(file, b" " * 300_000), "is larger than 256 KiB"),
    ],
)
def test_a_file_that_can_not_be_used(file, caplog, damage, says):
    """The last good key is used, with one warning, until the file is right again."""
    key = SigningKey.of(private_key_file=file, signing_alg="ES256")
    for _ in range(2):
        damage(file)
        for _ in range(5):
            assert signs_with(key, OLD)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.name == "tokenkeeper.oauth"
        assert says in record.getMessage()
        assert "the last good key is used" in record.getMessage()
        replace(file, pem_of(OLD))
        assert signs_with(key, OLD)
        caplog.clear()
    replace(file, pem_of(NEW))
    assert signs_with(key, NEW)
    assert not caplog.records


def test_a_file_that_is_not_looked_into_again(file, monkeypatch):
    """A file is read again only if it changed, or if it had changed just before it was read."""
    clock = SteppedClock(wall=file.stat().st_ctime)
    read = []
    original = key_options._content_of
    monkeypatch.setattr(
        key_options, "_content_of", lambda path: read.append(path) or original(path)
    )
    key = SigningKey.of(private_key_file=file, clock=clock)
    for _ in range(3):
        key.sign(CLAIMS)
    assert len(read) == 4  # the file is too young for its stamp to be believed
    clock.step(2.5)
    for _ in range(3):
        key.sign(CLAIMS)
    assert len(read) == 5
    replace(file, b"broken")
    clock.step(2.5)
    for _ in range(3):
        assert signs_with(key, OLD)
    assert len(read) == 6


@pytest.mark.parametrize("path", ["missing.pem", ".", "a\0b"])
def test_a_file_that_is_not_there(tmp_path, path):
    """A key file that can't be read is an error when the key is made."""
    with pytest.raises(InvalidConfigurationError) as caught:
        SigningKey.of(private_key_file=f"{tmp_path}/{path}")
    assert caught.value.field == "private_key_file"
    assert caught.value.__context__ is None


def test_a_key_in_another_process(file):
    """What is pickled of a key file is its path; without a good key, the error is transient."""
    key = SigningKey.of(private_key_file=file)
    pickled = pickle.dumps(key)
    assert b"PRIVATE" not in pickled
    replace(file, pem_of(NEW)[:90])
    assert signs_with(key, OLD)
    twin = pickle.loads(pickled)
    assert repr(twin) == f"<SigningKey in {file}>"
    for _ in range(2):
        with pytest.raises(
            TokenAcquisitionError, match=r"private_key_file .* is damaged"
        ) as caught:
            twin.sign(CLAIMS)
        assert caught.value.transient
        assert caught.value.__context__ is None
    replace(file, pem_of(NEW))
    assert signs_with(twin, NEW)


@pytest.mark.parametrize("given", ["object", "file"])
def test_the_thumbprint_of_a_certificate(tmp_path, file, given):
    """The header has the SHA-256 of the certificate, without padding, beside the kid."""
    pem, der = certificate(OLD)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(pem + certificate(NEW)[0])
    source = {"private_key": OLD} if given == "object" else {"private_key_file": file}
    key = SigningKey.of(**source, certificate_file=chain, key_id="k1")
    header, _ = verified(key.sign(CLAIMS), OLD, "ES256")
    assert header["x5t#S256"] == base64url(hashlib.sha256(der).digest()).decode()
    assert len(header["x5t#S256"]) == 43
    assert header["kid"] == "k1"


def test_one_file_with_both(tmp_path):
    """One file may hold the certificate and the key, in any order."""
    for content in (pem_of(OLD) + certificate(OLD)[0], certificate(OLD)[0] + pem_of(OLD)):
        both = tmp_path / "both.pem"
        both.write_bytes(content)
        key = SigningKey.of(private_key_file=both, certificate_file=both)
        assert "x5t#S256" in verified(key.sign(CLAIMS), OLD, "ES256")[0]


def test_a_certificate_that_follows_its_key(tmp_path, file, caplog):
    """While only one of the two files is replaced, the last pair that fits is used."""
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificate(OLD)[0])
    key = SigningKey.of(private_key_file=file, certificate_file=chain)
    before, _ = verified(key.sign(CLAIMS), OLD, "ES256")
    replace(file, pem_of(NEW))
    for _ in range(3):
        assert verified(key.sign(CLAIMS), OLD, "ES256")[0] == before
    (record,) = caplog.records
    assert f"certificate_file {chain} is for another key" in record.getMessage()
    replace(chain, certificate(NEW)[0])
    assert verified(key.sign(CLAIMS), NEW, "ES256")[0]["x5t#S256"] != before["x5t#S256"]


def test_a_certificate_that_is_renewed(tmp_path):
    """A new certificate for the same key is named in the next header."""
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificate(OLD)[0])
    key = SigningKey.of(OLD, certificate_file=chain)
    before, _ = verified(key.sign(CLAIMS), OLD, "ES256")
    replace(chain, certificate(OLD)[0])
    assert verified(key.sign(CLAIMS), OLD, "ES256")[0] != before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "can't be read: No such file"),
        (b"x", "is not a certificate in PEM."),
        (pem_of(OLD), "is not a certificate in PEM."),
        (certificate(NEW)[0], "is for another key."),
        (certificate(private_key("RSA"))[0], "is for another key."),
        (certificate(OLD, days=-2)[0], "expired on 2"),
    ],
    ids=["missing", "text", "key", "of another key", "of another kind", "expired"],
)
def test_a_certificate_that_can_not_be_used(tmp_path, content, says):
    """A certificate that is missing, damaged, expired or another's is an error at once."""
    chain = tmp_path / "chain.pem"
    if content is not None:
        chain.write_bytes(content)
    with pytest.raises(InvalidConfigurationError) as caught:
        SigningKey.of(OLD, certificate_file=chain)
    assert caught.value.field == "certificate_file"
    assert f"certificate_file {chain} {says}" in str(caught.value)


def test_a_forked_child(file):
    """A forked child signs with the key of its parent, and notices a new one."""
    key = SigningKey.of(private_key_file=file)

    def child():
        assert signs_with(key, OLD)
        replace(file, pem_of(NEW))
        assert signs_with(key, NEW)
        return 0

    assert exit_code_of(child) == 0
    assert signs_with(key, NEW)


def test_threads_that_sign_while_the_file_is_replaced(file, caplog):
    """Eight threads sign without a failure, each JWT with one of the two keys, whole."""
    key = SigningKey.of(private_key_file=file)
    stop = threading.Event()
    signed = [[] for _ in range(8)]

    def sign(found):
        while not stop.is_set():
            found.append(key.sign(CLAIMS))

    def rotate():
        try:
            for round_number in range(60):
                write = (replace, rewrite)[round_number % 2]
                write(file, pem_of((NEW, OLD)[round_number % 2]))
                counts = [len(found) for found in signed]
                until(
                    lambda counts=counts: all(
                        len(found) > count for found, count in zip(signed, counts, strict=True)
                    )
                )
            replace(file, pem_of(NEW))
        finally:
            stop.set()

    results = at_once(rotate, *[lambda found=found: sign(found) for found in signed])
    assert results == [None] * 9
    assert signs_with(key, NEW)
    tokens = [token for found in signed for token in found]
    good = [any(_is_by(token, private) for private in (OLD, NEW)) for token in tokens[-400:]]
    assert all(good)


def _is_by(token, private):
    try:
        verified(token, private, "ES256")
    except Exception:  # noqa: BLE001 - PyJWT's, for a signature of another key
        return False
    return True


def test_threads_that_notice_a_fault_together(file, caplog):
    """A fault that several threads notice at the same time is logged once."""
    key = SigningKey.of(private_key_file=file)
    replace(file, b"broken")
    assert all(isinstance(each, str) for each in at_once(*[lambda: key.sign(CLAIMS)] * 8))
    assert len(caplog.records) == 1


def test_the_system_clock_is_the_default(file):
    """Without a clock, a file's age is measured with the system's."""
    assert SigningKey.of(private_key_file=file)._clock is SYSTEM_CLOCK
