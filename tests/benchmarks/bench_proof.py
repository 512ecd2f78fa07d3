"""What a DPoP proof costs more than its signature."""

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms
from kit.servers.dpop import opened
from measure import Rounds, calls
from report import Section, Table

from tokenkeeper.oauth.dpop import DPoPKey

URL = "https://api.example.com/orders/4711?page=2"
TOKEN = "x" * 900  # as long as a JWT
AIM = 1.2

KEYS = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
}


def run(quick):
    rounds = 15 if quick else 60
    table = Table(("algorithm", "signature", "proof", "x the signature, best"))
    for alg, make in KEYS.items():
        whole = Rounds(_contenders(alg, make(), 5 if alg == "RS256" else 200), rounds)
        table.add(
            alg,
            f"{whole.best('signature') * 1e6:.1f} us",
            f"{whole.best('proof') * 1e6:.1f} us",
            f"{whole.best_ratio('proof', 'signature'):.2f}",
        )
    says = (
        "CPU time of one signature by PyJWT with a key that is parsed, and of a proof for a "
        "request with a token of 900 characters: its `jti`, the digest of the token, the URL in "
        f"its normal form, and the signature. The aim is {AIM}: a proof costs what its signature "
        f"costs, plus 20 %. The best of {rounds} rounds."
    )
    section = Section("A DPoP proof", says, [table])
    section.claim(_is_new_each_time(), "two proofs had the same jti")
    return section


def _contenders(alg, private, number):
    key = DPoPKey(private, signing_alg=alg)
    proof = "subject.proof('GET', url, token=token)"
    message = key.proof("GET", URL, token=TOKEN).rpartition(".")[0].encode()
    sign = get_default_algorithms()[alg].sign
    return {
        "signature": calls("sign(message, key)", number, sign=sign, message=message, key=private),
        "proof": calls(proof, number, subject=key, url=URL, token=TOKEN),
    }


def _is_new_each_time():
    key = DPoPKey()
    return len({opened(key.proof("GET", URL))[1]["jti"] for _ in range(100)}) == 100
