"""Whether a person has signed in, where that is kept, and whether a sign-in is possible."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tokenkeeper._support.checks import is_loopback
from tokenkeeper._support.escaping import escaped
from tokenkeeper.doctor.description import read_description
from tokenkeeper.doctor.examination import Examination
from tokenkeeper.doctor.findings import (
    Finding,
    Report,
    Step,
    failure,
    note,
    ok,
    skipped,
    warning,
)
from tokenkeeper.doctor.spans import span
from tokenkeeper.doctor.store_checks import examine_store
from tokenkeeper.exceptions import InvalidConfigurationError, StoreUnavailableError
from tokenkeeper.stores.settings import StoreSettings
from tokenkeeper.stores.sign_ins import (
    SIGN_INS,
    count_accounts,
    is_volatile,
    kept_in,
    sign_in_of,
)

__all__ = ["check_sign_in"]

Facts = dict[str, Any]


def check_sign_in(examination: Examination) -> Report:
    """Report whether there is a sign-in, and what keeps it. Sends no request to the server."""
    grant = examination.facts.grant_type
    if grant not in SIGN_INS:
        finding = skipped("the grant is not known") if grant is None else ok(f"{grant} needs none")
        return Report(Step.SIGN_IN, (finding,))
    facts: Facts = {}
    findings = [*_redirect(examination, facts), *_kept(examination, facts)]
    return Report(Step.SIGN_IN, tuple(findings), facts)


def _redirect(examination: Examination, facts: Facts) -> Iterator[Finding]:
    """Yield whether a browser can be sent back after the sign-in."""
    if examination.facts.grant_type != "authorization_code":
        return
    described = read_description(examination.facts.provider)
    uri, port = described.get("redirect_uri"), described.get("redirect_port")
    if isinstance(uri, str):
        facts["redirect_uri"] = shown = uri.partition("?")[0]
        where = "this machine" if is_loopback(urlsplit(uri).hostname or "") else "https"
        yield ok(f"the answer goes to your application: {shown} ({where})")
    elif isinstance(port, int):
        facts["redirect_port"] = port
        yield _port(port)
    else:
        yield ok("the answer goes to a free port of 127.0.0.1")


def _port(port: int) -> Finding:
    """Return whether a listener for the answer can be started on *port*."""
    with socket.socket() as listener:
        if os.name == "posix":  # elsewhere the option lets two listeners share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            advice = "stop what listens there, or register another redirect_port with the server"
            if error.errno == errno.EACCES:
                advice = "choose a redirect_port of 1024 or more, and register it with the server"
            return warning(f"redirect_port {port} can't be used: {error.strerror}", advice)
    return ok(f"the answer goes to port {port} of 127.0.0.1, which is free")


def _kept(examination: Examination, facts: Facts) -> Iterator[Finding]:
    """Yield whether what keeps the refresh token can be used, and has one."""
    provider = examination.facts.provider
    try:
        settings = kept_in(provider, examination.store)
    except InvalidConfigurationError as error:
        yield failure(escaped(f"custody: {error}"), "correct custody")
        return
    if settings is None:
        yield failure(
            "the refresh token would be kept in memory, so each process needs a sign-in of its own",
            "set custody, such as sqlite:////var/lib/NAME/tokens.db, or the key store beside "
            "oauth2",
        )
        return
    facts["kept_in"] = label = escaped(settings.label)
    problems = []
    if provider.custody is not None:  # the store has a section of its own
        for each in examine_store(settings).findings:
            if each.status != "ok":
                make = failure if each.status == "problem" else warning
                problems.append(make(f"custody: {each.message}", each.advice or None))
    if is_volatile(settings):
        problems.append(
            warning(
                f"{label} is emptied when you log out, or when the machine restarts",
                "set custody to a file on a disk, such as sqlite:////var/lib/NAME/tokens.db",
            )
        )
    yield from problems or [ok(f"the refresh token is kept in {label}")]
    if any(each.level.value == "failed" for each in problems):
        return
    try:
        yield _present(examination, settings, facts)
    except StoreUnavailableError as error:
        what, _, advice = str(error).partition(". ")
        yield failure(what, advice or None)


def _present(examination: Examination, settings: StoreSettings, facts: Facts) -> Finding:
    """Return whether there is a refresh token, and when it was last used."""
    provider = examination.facts.provider
    found = sign_in_of(provider, settings, examination.clock.time())
    login = f"run: tokenkeeper login {provider.provider_name}"
    facts["signed_in"] = found.is_usable
    if found.unreadable:
        return failure(
            f"the refresh token can't be read: {found.unreadable}",
            "give this process the key file of the others",
        )
    if found.lost is not None:
        return failure(f"a new sign-in is needed: {found.lost}", login)
    if found.is_there:
        ago = found.used_seconds_ago
        facts["used_seconds_ago"] = None if ago is None else round(ago)
        used = "" if ago is None else f"; the refresh token was last used {span(ago)} ago"
        return ok(f"signed in{used}")
    accounts = count_accounts(provider, settings)
    facts["accounts"] = accounts
    if accounts:
        people = "account has" if accounts == 1 else "accounts have"
        return note(f"{accounts} {people} signed in, and none without an account", login)
    return failure("no person has signed in yet", login)
