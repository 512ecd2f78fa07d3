"""The page that compares libraries: its programs do one task, and its tables are complete."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kit.guards import PROGRAM_SECONDS
from kit.programs import program
from kit.signing_keys import pem_of, private_key

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "comparison.md"
TEXT = PAGE.read_text(encoding="utf-8")
TESTS = Path(__file__).parents[1]
CODE = {
    name: (language, code)
    for name, language, code in re.findall(
        r"^\*\*([\w.-]+)\*\*\n\n```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL
    )
}
"""The language and the code of the program with each library."""

MODULES = {
    "Tokenkeeper": "tokenkeeper",
    "msal": "msal",
    "requests_oauth2client": "requests_oauth2client",
    "Authlib": "authlib.integrations.requests_client",
}
"""The module that each program in Python needs."""

SERVER = """
import json
import runpy
import sys
from urllib.parse import parse_qs

import jwt
import responses
from cryptography.hazmat.primitives.serialization import load_pem_private_key

ISSUER = "https://id.example.com/tenant1"
TOKEN_URL = "https://id.example.com/oauth2/token"

with open("billing.pem", "rb") as file:
    key = load_pem_private_key(file.read(), None).public_key()


def grant(request):
    body = request.body if isinstance(request.body, str) else request.body.decode()
    form = {name: values[0] for name, values in parse_qs(body).items()}
    assertion = form.pop("client_assertion")
    claims = jwt.decode(assertion, key, ["RS256", "PS256"], audience=[ISSUER, TOKEN_URL])
    assert claims["iss"] == claims["sub"] == "my-service"
    assert claims["jti"]
    assert form["grant_type"] == "client_credentials"
    assert form["scope"] == "invoices.read"
    assert form["client_assertion_type"].endswith(":jwt-bearer")
    return 200, {}, json.dumps({"access_token": "abcd1234", "token_type": "Bearer"})


mock = responses.RequestsMock(assert_all_requests_are_fired=False)
document = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://id.example.com/authorize",
    "token_endpoint": TOKEN_URL,
}
for place in (
    "https://id.example.com/.well-known/oauth-authorization-server/tenant1",
    ISSUER + "/.well-known/openid-configuration",
):
    mock.add("GET", place, json=document)
mock.add_callback("POST", TOKEN_URL, grant)
with mock:
    runpy.run_path(sys.argv[1])
"""
"""A server that checks what the programs send."""


def certificate_of(key):
    """Return a self-signed certificate of *key* in PEM; msal knows a key by its certificate."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "my-service")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - timedelta(days=1))
    builder = builder.not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_there_are_six():
    """The page has a program for each library that speaks the protocol for any server."""
    languages = {name: language for name, (language, _) in CODE.items()}
    others = {"openid-client": "js", "Duende.AccessTokenManagement": "csharp"}
    assert languages == dict.fromkeys(MODULES, "python") | others


@pytest.mark.parametrize("name", MODULES)
def test_each_program_does_the_task(name, tmp_path):
    """A program prints the token of a server that verifies the client's assertion."""
    compile(CODE[name][1], name, "exec")  # even where its library is not installed
    pytest.importorskip(MODULES[name])
    key = private_key("RSA")
    (tmp_path / "billing.pem").write_bytes(pem_of(key))
    (tmp_path / "billing.crt").write_bytes(certificate_of(key))
    (tmp_path / "program.py").write_text(CODE[name][1])
    (tmp_path / "server.py").write_text(SERVER)
    done = subprocess.run(
        [sys.executable, "-W", "error", "server.py", "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
    )
    assert (done.returncode, done.stdout) == (0, "abcd1234\n"), done.stderr


def test_javascript_can_be_parsed(tmp_path):
    """The program in JavaScript has no error of syntax."""
    node = program("node", package="nodejs")
    (tmp_path / "program.mjs").write_text(CODE["openid-client"][1])
    done = subprocess.run(
        [node, "--check", "program.mjs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
    )
    assert done.returncode == 0, done.stderr


def test_ours_is_the_plainest():
    """The program with Tokenkeeper uses the fewest different words of those on the page."""
    words = {name: len(set(re.findall(r"[\w']+", code))) for name, (_, code) in CODE.items()}
    assert min(words, key=words.get) == "Tokenkeeper", words


def rows():
    """Return the rows of the tables, as lists of cells."""
    lines = re.findall(r"^\| (\d+ \|.*) \|$", TEXT, re.MULTILINE)
    return [line.split(" | ") for line in lines]


def test_rows_are_numbered_and_complete():
    """Each row has its number and a cell for each of the eight libraries."""
    assert [row[0] for row in rows()] == [str(number) for number in range(1, len(rows()) + 1)]
    assert {len(row) for row in rows()} == {10}
    assert all(cell.strip() for row in rows() for cell in row)


def test_notes_belong_to_rows():
    """Each note below a table explains a row that exists."""
    noted = re.findall(r"^- \*\*([\d, ]+)\.\*\*", TEXT, re.MULTILINE)
    numbers = {number for note in noted for number in note.split(", ")}
    assert numbers
    assert numbers <= {row[0] for row in rows()}
