"""The files with keys, certificates and tokens that a client proves with who it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokenkeeper.config.credentials import CredentialFile
from tokenkeeper.doctor.certificate import read_certificate
from tokenkeeper.doctor.certificate_file import (
    UnusableError,
    fits,
    is_key_of,
    read_client_certificate,
)
from tokenkeeper.doctor.examination import Examination
from tokenkeeper.doctor.findings import (
    Finding,
    Level,
    Report,
    Step,
    failure,
    note,
    ok,
    skipped,
    warning,
)
from tokenkeeper.doctor.spans import span
from tokenkeeper.exceptions import InvalidConfigurationError, OAuth2Error
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.jwt_claims import jwt_claims
from tokenkeeper.oauth.late_text import read_late
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.providers.generic import GenericOAuth2Provider

__all__ = ["check_files"]

Facts = dict[str, Any]


def check_files(examination: Examination) -> Report:
    """Read each file, and report until when it is valid. Sends no request."""
    facts: Facts = {}
    findings: list[Finding] = []
    files = {each.key: each for each in examination.facts.credential_files}
    now = examination.clock.time()
    for each in files.values():
        if each.kind == "token":
            findings.append(_check_token(each, now, facts))
        elif each.kind == "certificate":
            findings += _check_certificate(each, files, now, facts)
        elif each.key not in ("certificate_key_file", "dpop"):
            findings.append(_check_key(each, facts))
    if all(each.level is not Level.FAILED for each in findings):
        findings += _own_assertion(examination, now, facts)
    if not findings:
        method = examination.facts.auth_method
        kind = examination.facts.kind
        if kind == "azure_managed_identity":
            method = "a managed identity"
        unknown = skipped("those of this class are not known")
        findings.append(unknown if method is None else ok(f"{method} needs no file"))
    return Report(Step.CREDENTIAL_FILES, tuple(findings), facts)


def _check_token(file: CredentialFile, now: float, facts: Facts) -> Finding:
    """Return what the token in *file* claims, without the token."""
    try:
        text = read_late(file.file, file.key)
    except OAuth2Error as error:
        return failure(str(error), "check what writes this file, and that this user can read it")
    claims = jwt_claims(text)
    if not claims:
        return ok(f"{file.key} read; it is not a JWT")
    facts[file.key] = shown = _shown(claims)
    judged = _judged(file.key, shown, now, "check what replaces this file before it expires")
    if file.key == "refresh_token_file" and judged.level is Level.FAILED:
        # It is what the grant began with. Each use replaced it, in custody.
        return note(judged.text, "if custody has none either, store a new refresh token there")
    return judged


def _judged(what: str, claims: Mapping[str, Any], now: float, advice: str) -> Finding:
    """Return the *claims* of a JWT in words, and whether it is still valid."""
    words = [f"{name} {claims[name]}" for name in ("iss", "sub", "aud") if name in claims]
    text = f"{what}: {', '.join(words) or 'no claims about its parties'}"
    expiry = claims.get("exp")
    if expiry is None:
        return ok(f"{text}; it does not expire")
    left = expiry - now
    if left <= 0:
        return failure(f"{text}; expired {span(-left)} ago", advice)
    return ok(f"{text}; expires in {span(left)}")


def _shown(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims about the parties and the expiry, safe to show."""
    shown: dict[str, Any] = {}
    for name in ("iss", "sub"):
        if isinstance(claims.get(name), str):
            shown[name] = sanitize(claims[name], limit=200)
    audience = claims.get("aud")
    several = audience if isinstance(audience, list) else [audience]
    if texts := [sanitize(each, limit=200) for each in several[:5] if isinstance(each, str)]:
        shown["aud"] = ", ".join(texts)
    expiry = claims.get("exp")
    if isinstance(expiry, (int, float)) and not isinstance(expiry, bool):
        shown["exp"] = expiry
    return shown


def _check_key(file: CredentialFile, facts: Facts) -> Finding:
    """Return which algorithm the key in *file* signs with."""
    from tokenkeeper.oauth.signing import SigningKey

    try:
        key = SigningKey.of(private_key_file=file.file, password=file.password)
    except InvalidConfigurationError as error:
        return failure(str(error))
    facts[file.key] = {"alg": key.alg}
    return ok(f"{file.key} read: signs with {key.alg}")


def _check_certificate(
    file: CredentialFile, files: Mapping[str, CredentialFile], now: float, facts: Facts
) -> Iterator[Finding]:
    """Yield until when the certificate in *file* is valid, and whether its key fits."""
    beside = files.get("certificate_key_file")
    signs = "private_key_file" in files  # which was checked with its certificate when it was read
    at_fault = file.key
    try:
        der, key = read_client_certificate(file)
        fitting = True
        if beside is not None:
            at_fault = beside.key
            fitting = fits(der, beside)
        elif key is not None and not signs:
            fitting = is_key_of(key, der)
    except UnusableError as error:
        yield failure(f"{at_fault} {error}")
        return
    certificate = read_certificate(der)
    if certificate is None:
        yield failure(f"{file.key} contains a certificate that can't be read")
        return
    facts[file.key] = certificate.facts
    if beside is None and key is None and not signs:
        yield failure(
            f"{file.key} contains no private key", "set certificate_key_file, or append the key"
        )
    elif not fitting:
        other = file.key if beside is None else beside.key
        yield failure(f"the private key in {other} does not fit the certificate")
    text = f"{file.key}: {certificate.subject}, {certificate.dates(now)}"
    if now < certificate.not_before.timestamp():
        yield failure(f"{text}. It is not valid yet", "check this machine's clock")
    elif certificate.seconds_left(now) <= 0:
        yield failure(text, "renew the certificate")
    elif certificate.expires_soon(now):
        yield warning(text, "renew the certificate")
    else:
        yield ok(text)


def _own_assertion(examination: Examination, now: float, facts: Facts) -> Iterator[Finding]:
    """Yield what an assertion claims that this client signs, without the assertion."""
    provider = examination.facts.provider
    url = examination.facts.url
    if not isinstance(provider, GenericOAuth2Provider) or url is None:
        return
    auth = provider.client_auth
    if not auth.method.endswith("_jwt") or "client_assertion_file" in facts:
        return
    try:
        proof = auth.prove(provider.client_id, Recipient(url, url, examination.facts.issuer))
    except OAuth2Error as error:
        yield failure(str(error))
        return
    claims = jwt_claims(proof.parameters.get("client_assertion", ""))
    if claims:
        facts["client_assertion"] = shown = _shown(claims)
        yield _judged("client assertion", shown, now, "set lifetime_seconds")
    else:
        yield note("the client assertion is not a JWT")
