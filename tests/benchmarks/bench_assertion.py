"""What a client assertion costs more than its signature."""

import tempfile
import time
from pathlib import Path

import jwt
from jwt.algorithms import get_default_algorithms
from kit.signing_keys import pem_of, private_key
from measure import Rounds, calls
from report import Section, Table, short

from tokenkeeper.oauth.client_assertions import PrivateKeyJwt
from tokenkeeper.oauth.client_proof import Recipient

ALGORITHMS = {
    "RS256": "RSA",
    "PS256": "RSA",
    "ES256": "P-256",
    "ES384": "P-384",
    "EdDSA": "Ed25519",
}
TO = Recipient("https://id.example.com/oauth2/token", "https://id.example.com/oauth2/token")
AIM = 1.2
SETTLED_SECONDS = 2.5
"""After this time a file's stamp is believed, so that the file is not read each time."""


def run(quick):
    rounds = 15 if quick else 60
    table = Table(("algorithm", "signature", "assertion", "of a key file", "PyJWT, from PEM text"))
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: _file_of(folder, kind) for kind in ALGORITHMS.values()}
        time.sleep(SETTLED_SECONDS)
        for alg, kind in ALGORITHMS.items():
            whole = Rounds(_contenders(alg, kind, files[kind], 2 if kind == "RSA" else 100), rounds)
            ratios = [
                f"{whole.best_ratio(name, 'signature'):.2f}"
                for name in ("assertion", "file", "text")
            ]
            table.add(alg, short(whole.best("signature")), *ratios)
    says = (
        "CPU time of one signature by PyJWT with a key that is parsed, and of an assertion, with a "
        "new `jti`, as a multiple of it: with a key that was given, and with one in a file, which "
        "is looked at each time. The last column is what it costs to pass PEM to PyJWT each time: "
        f"the key is parsed and checked for each signature. The aim is {AIM}: an assertion costs "
        f"what its signature costs, plus 20 %. The best of {rounds} rounds. ES256 and EdDSA "
        "sign so fast that a look at the file, about 1 us, shows."
    )
    section = Section("A client assertion", says, [table])
    section.claim(_is_new_each_time(), "two assertions had the same jti")
    return section


def _file_of(folder, kind):
    path = Path(folder, kind)
    path.write_bytes(pem_of(private_key(kind)))
    return path


def _contenders(alg, kind, file, number):
    key = private_key(kind)
    given, in_file = (
        PrivateKeyJwt(key, signing_alg=alg),
        PrivateKeyJwt(private_key_file=file, signing_alg=alg),
    )
    message = given.prove("client", TO).parameters["client_assertion"].rpartition(".")[0].encode()
    algorithm = get_default_algorithms()[alg]
    proves = "subject.prove('client', to)"
    return {
        "signature": calls(
            "sign(message, key)", number, sign=algorithm.sign, message=message, key=key
        ),
        "assertion": calls(proves, number, subject=given, to=TO),
        "file": calls(proves, number, subject=in_file, to=TO),
        "text": calls(
            "encode({'iss': 'client'}, pem, alg)",
            number,
            encode=jwt.encode,
            pem=file.read_bytes(),
            alg=alg,
        ),
    }


def _is_new_each_time():
    subject = PrivateKeyJwt(private_key("P-256"))
    found = {subject.prove("client", TO).parameters["client_assertion"] for _ in range(100)}
    tokens = [jwt.decode(each, options={"verify_signature": False}) for each in found]
    return len({each["jti"] for each in tokens}) == 100
