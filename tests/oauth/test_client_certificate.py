"""Mutual TLS: the files of a certificate, what is wrong with them, and how they are replaced."""

import base64
import os
import pickle
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from kit.oauth_client import proof_of
from kit.servers.tls import ClientFiles, self_signed

from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth import certificate_files, key_pair
from tokenkeeper.oauth.client_certificate import TlsClientAuth

NOW = datetime.now(UTC)
PAST = {"not_before": NOW - timedelta(days=9), "not_after": NOW - timedelta(days=1)}
FUTURE = {"not_before": NOW + timedelta(days=1), "not_after": NOW + timedelta(days=9)}


@pytest.fixture
def files(authority, tmp_path):
    """Return the files of a client."""
    return ClientFiles(authority, tmp_path)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Read files that do not fit again at once."""
    monkeypatch.setattr(certificate_files, "PAUSES_SECONDS", (0.0, 0.0))


def presented(auth):
    """Return the thumbprint of the certificate that the next request presents."""
    return proof_of(auth).certificate.pair.thumbprint


def test_the_proof(files):
    """The request contains the identifier beside the certificate, and no other proof."""
    proof = proof_of(TlsClientAuth(*files.paths), "me")
    assert proof.parameters == {"client_id": "me"}
    assert proof.authorization is None
    assert list(proof.secrets()) == []
    assert proof.certificate.pair.thumbprint == files.thumbprint
    assert proof.certificate.file == files.paths[0]


@pytest.mark.parametrize(
    ("options", "method"),
    [({}, "tls_client_auth"), ({"self_signed": True}, "self_signed_tls_client_auth")],
)
def test_the_method(files, options, method):
    """The method has the name of RFC 8705, for certificates of a CA and for self-signed ones."""
    auth = TlsClientAuth(files.certificate, files.key, **options)
    assert auth.method == method
    assert auth.describe() == {
        "certificate_file": files.paths[0],
        "certificate_key_file": files.paths[1],
    }
    assert repr(auth) == f"<TlsClientAuth {method} with {files.paths[0]}>"


def test_one_file(files):
    """Certificate and key may be in one file, in either order."""
    certificate, key = files.issue()
    for content in (certificate + key, key + certificate):
        files.certificate.write_bytes(content)
        assert presented(TlsClientAuth(files.paths[0])) == files.thumbprint


def test_a_relative_path(files, monkeypatch, tmp_path):
    """A relative path belongs to the working directory in which the client was created."""
    monkeypatch.chdir(tmp_path)
    auth = TlsClientAuth(files.certificate.name, files.key.name)
    monkeypatch.chdir("/")
    files.replace()
    assert presented(auth) == files.thumbprint


def pem(key, password=None):
    """Return *key* in PEM, encrypted if there is a password."""
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def damage_missing(files):
    files.certificate.unlink()


def damage_missing_key(files):
    files.key.unlink()


def damage_directory(files):
    files.certificate.unlink()
    files.certificate.mkdir()


def damage_fifo(files):
    files.key.unlink()
    os.mkfifo(files.key)


def damage_large(files):
    files.key.write_bytes(b" " * (1024 * 1024 + 1))


def damage_empty(files):
    files.certificate.write_bytes(b"")


def damage_half(files):
    files.certificate.write_bytes(files.certificate.read_bytes()[:-40])


def damage_half_chain(files):
    half = files.authority.cert_pem.bytes()[:200]
    files.certificate.write_bytes(files.certificate.read_bytes() + half)


def damage_nonsense(files):
    files.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def damage_der(files):
    leaf, _, _ = files.certificate.read_text().partition("-----END")
    der = ssl.PEM_cert_to_DER_cert(leaf + "-----END CERTIFICATE-----\n")
    files.certificate.write_bytes(der)


def damage_empty_key(files):
    files.key.write_bytes(b"")


def damage_half_key(files):
    files.key.write_bytes(files.key.read_bytes()[:-40])


def damage_encrypted(files):
    files.key.write_bytes(pem(ec.generate_private_key(ec.SECP256R1()), b"hunter2"))


def damage_other_key(files):
    files.key.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))


def damage_odd_key(files):
    files.key.write_bytes(pem(ed25519.Ed25519PrivateKey.generate()))


def damage_expired(files):
    files.replace(**PAST)


def damage_too_early(files):
    files.replace(**FUTURE)


DAMAGES = [
    (damage_missing, "certificate_file", "can't be read: No such file", True),
    (damage_missing_key, "certificate_key_file", "can't be read: No such file", True),
    (damage_directory, "certificate_file", "is not a file", False),
    (damage_fifo, "certificate_key_file", "is not a file", False),
    (damage_large, "certificate_key_file", "is larger than 1 MiB", False),
    (damage_empty, "certificate_file", "contains no certificate in PEM", True),
    (damage_half, "certificate_file", "damaged or incomplete", True),
    (damage_half_chain, "certificate_file", "damaged or incomplete", True),
    (damage_nonsense, "certificate_file", "damaged or incomplete", True),
    (damage_der, "certificate_file", "Convert it to PEM", False),
    (damage_empty_key, "certificate_key_file", "contains no private key in PEM", True),
    (damage_half_key, "certificate_key_file", "damaged or incomplete", True),
    (damage_encrypted, "certificate_key_file", "is encrypted", False),
    (damage_other_key, "certificate_key_file", "does not belong to the first certificate", True),
    (damage_odd_key, "certificate_key_file", "does not belong to the first certificate", True),
    (damage_expired, "certificate_file", "expired on", False),
    (damage_too_early, "certificate_file", "is not valid before", True),
]
by_damage = pytest.mark.parametrize(
    ("damage", "field", "text", "transient"), DAMAGES, ids=[each[0].__name__ for each in DAMAGES]
)


@by_damage
def test_wrong_files_at_the_beginning(files, damage, field, text, transient):
    """Files that can't be used are an error that names the option and the file, and no content."""
    damage(files)
    with pytest.raises(InvalidConfigurationError, match=text) as raised:
        TlsClientAuth(*files.paths)
    error = raised.value
    assert error.field == field
    assert files.paths[field == "certificate_key_file"] in str(error)
    assert "\n" not in str(error)
    assert error.__cause__ is error.__context__ is None


@by_damage
def test_wrong_files_without_an_earlier_pair(files, damage, field, text, transient):
    """In a process that has read no certificate before, the request fails; some are tried again."""
    auth = pickle.loads(pickle.dumps(TlsClientAuth(*files.paths)))
    damage(files)
    with pytest.raises(TokenAcquisitionError, match=text) as raised:
        proof_of(auth)
    assert raised.value.transient is transient
    assert raised.value.__cause__ is raised.value.__context__ is None


@by_damage
def test_wrong_files_later(files, caplog, damage, field, text, transient):
    """The certificate that was read before is used as long as it is valid; one warning says so."""
    auth = TlsClientAuth(*files.paths)
    good = files.thumbprint
    damage(files)
    assert [presented(auth) for _ in range(3)] == [good] * 3
    assert len(caplog.records) == 1
    assert text in caplog.text
    files.certificate.is_dir() and files.certificate.rmdir()
    files.key.unlink(missing_ok=True)
    files.replace()
    assert presented(auth) == files.thumbprint
    assert len(caplog.records) == 1


def test_an_earlier_pair_that_expires(files, monkeypatch, clock_at):
    """A certificate that has expired is used no longer, whether or not its files are good."""
    files.replace(not_after=NOW + timedelta(days=1))
    auth = TlsClientAuth(*files.paths)
    monkeypatch.setattr(certificate_files, "SYSTEM_CLOCK", clock_at(NOW + timedelta(days=2)))
    with pytest.raises(TokenAcquisitionError, match="expired on") as raised:
        proof_of(auth)
    assert raised.value.transient is False
    files.key.unlink()
    with pytest.raises(TokenAcquisitionError, match="No such file"):
        proof_of(auth)


@pytest.fixture
def clock_at():
    """Return a factory for clocks that stand still at a time."""

    class Clock:
        def __init__(self, moment):
            self.time = moment.timestamp

    return Clock


def test_a_pair_that_fits_at_the_second_look(files, monkeypatch):
    """Files that are switched while they are read are read again at once."""
    auth = TlsClientAuth(*files.paths)
    old = files.key.read_bytes()
    files.replace()
    new = files.key.read_bytes()
    files.key.write_bytes(old)
    read = certificate_files._bytes
    reads = []

    def switched(descriptor):
        reads.append(descriptor)
        content = read(descriptor)
        if len(reads) == 2:
            files.key.write_bytes(new)
        return content

    monkeypatch.setattr(certificate_files, "_bytes", switched)
    assert presented(auth) == files.thumbprint
    assert len(reads) == 4


def test_files_that_are_written_at_the_beginning(files, monkeypatch):
    """A client that is created while the files are written waits a moment for the rest."""
    certificate, key = files.issue()
    files.certificate.write_bytes(certificate)

    class Clock:
        def time(self):
            return NOW.timestamp()

        def wait(self, event, timeout):
            files.key.write_bytes(key)

    monkeypatch.setattr(certificate_files, "SYSTEM_CLOCK", Clock())
    assert presented(TlsClientAuth(*files.paths)) == files.thumbprint


def test_a_link_that_is_switched(authority, tmp_path):
    """A new version behind a symbolic link, as Kubernetes mounts it, is noticed."""
    versions = [tmp_path / "..1", tmp_path / "..2"]
    written = []
    for version in versions:
        version.mkdir()
        written.append(ClientFiles(authority, version))
    data = tmp_path / "..data"
    data.symlink_to(versions[0])
    for name in ("client.test.crt", "client.test.key"):
        (tmp_path / name).symlink_to(data / name)
    auth = TlsClientAuth(tmp_path / "client.test.crt", tmp_path / "client.test.key")
    assert presented(auth) == written[0].thumbprint
    (tmp_path / "..next").symlink_to(versions[1])
    (tmp_path / "..next").rename(data)
    assert presented(auth) == written[1].thumbprint


def test_files_that_stay(files, monkeypatch):
    """Files that have not changed are not parsed again."""
    auth = TlsClientAuth(*files.paths)
    monkeypatch.setattr(certificate_files, "read_key_pair", None)
    assert presented(auth) == files.thumbprint


def test_a_copy_has_no_key(files):
    """A pickled copy, for another process, contains paths only."""
    copied = pickle.dumps(TlsClientAuth(*files.paths))
    assert files.key.read_bytes().splitlines()[1] not in copied
    assert presented(pickle.loads(copied)) == files.thumbprint


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((None,), "certificate_file"),
        (("",), "certificate_file"),
        ((7,), "certificate_file"),
        (("a", 7), "certificate_key_file"),
        (("a\nb",), "certificate_file"),
    ],
)
def test_paths_that_can_not_be(arguments, field):
    """A path that is not one is an error that names the option."""
    with pytest.raises(InvalidConfigurationError) as raised:
        TlsClientAuth(*arguments)
    assert raised.value.field == field


def test_a_switch_that_is_none(files):
    """``self_signed`` is a boolean."""
    with pytest.raises(InvalidConfigurationError) as raised:
        TlsClientAuth(*files.paths, self_signed="yes")
    assert raised.value.field == "self_signed"


def test_a_key_that_is_not_there(files):
    """Without a second file, the message says where the key may be."""
    with pytest.raises(InvalidConfigurationError, match="Set certificate_key_file") as raised:
        TlsClientAuth(files.paths[0])
    assert raised.value.field == "certificate_key_file"


def test_a_key_that_is_too_weak(files):
    """A key that OpenSSL rejects is reported with its reason."""
    key = rsa.generate_private_key(65537, 1024)
    files.certificate.write_bytes(self_signed(key))
    files.key.write_bytes(pem(key))
    with pytest.raises(InvalidConfigurationError, match="KEY_TOO_SMALL") as raised:
        TlsClientAuth(*files.paths)
    assert raised.value.field == "certificate_file"


@pytest.mark.parametrize("missing", ["memfd_create", "proc"])
def test_a_system_without_files_in_memory(files, monkeypatch, missing):
    """Where no file in memory can be opened by its name, TLS reads the files themselves."""
    if missing == "proc":
        monkeypatch.setattr(key_pair.os.path, "exists", lambda _: False)
    else:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    auth = TlsClientAuth(*files.paths)
    pair = proof_of(auth).certificate.pair
    pair.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    damage_other_key(files)
    with pytest.raises(key_pair.CertificateFileError, match="MISMATCH") as raised:
        pair.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert raised.value.incomplete
    files.key.unlink()
    with pytest.raises(key_pair.CertificateFileError, match="FileNotFoundError") as raised:
        pair.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert raised.value.transient


def with_an_unknown_algorithm(content, kind):
    """Return *content*, Ed25519 in PEM, with another algorithm's identifier in place of its own."""
    body = b"".join(content.splitlines()[1:-1])
    der = base64.b64decode(body).replace(b"\x06\x03\x2b\x65\x70", b"\x06\x03\x2b\x65\x7f")
    lines = [f"-----BEGIN {kind}-----", base64.b64encode(der).decode(), f"-----END {kind}-----"]
    return "\n".join([*lines, ""]).encode()


@pytest.mark.parametrize("unknown", ["certificate", "key"])
def test_an_unknown_algorithm(files, unknown):
    """A certificate or a key of an algorithm that is not supported is reported as such."""
    key = ed25519.Ed25519PrivateKey.generate()
    certificate, private = self_signed(key), pem(key)
    if unknown == "certificate":
        certificate = with_an_unknown_algorithm(certificate, "CERTIFICATE")
    else:
        private = with_an_unknown_algorithm(private, "PRIVATE KEY")
    files.certificate.write_bytes(certificate)
    files.key.write_bytes(private)
    with pytest.raises(InvalidConfigurationError, match="not supported") as raised:
        TlsClientAuth(*files.paths)
    assert raised.value.field == (
        "certificate_file" if unknown == "certificate" else "certificate_key_file"
    )


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), None])
def test_usual_keys(files, curve):
    """Keys on the usual curves work, and the parameters that OpenSSL writes before them."""
    key = ed25519.Ed25519PrivateKey.generate() if curve is None else ec.generate_private_key(curve)
    files.certificate.write_bytes(self_signed(key))
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    files.key.write_bytes(parameters + pem(key))
    assert presented(TlsClientAuth(*files.paths, self_signed=True))
