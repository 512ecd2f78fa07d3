"""``python -m tokenkeeper.testing`` runs the loopback authorization server from a shell."""

from __future__ import annotations

import argparse
import errno
import json
import os
import secrets
import shlex
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from tokenkeeper.testing.options import PORT, parser

if TYPE_CHECKING:
    from tokenkeeper.testing.server import LoopbackAuthorizationServer

__all__ = ["PORT", "main", "parser"]

VARIABLE = "BILLING_SECRET"
"""The variable with the secret: a secret in the printed configuration would cause warnings."""


def main() -> None:
    """Print a configuration for a client, then serve until a signal ends the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    arguments = parser()
    options = arguments.parse_args()
    key = secrets.token_urlsafe(24) if options.control else None
    try:
        server = _server(options, key)
        server.start()
        if key is not None:
            _write_header(Path(options.control), key)
    except OSError as problem:
        arguments.exit(1, _refused(options.port, problem))
    print(_configuration(server, options), end="", flush=True)  # noqa: T201 - its purpose
    print(_words(server, options), end="", flush=True, file=sys.stderr)  # noqa: T201
    while True:  # Windows notices a signal only between two waits
        threading.Event().wait(1.0)


def _server(options: argparse.Namespace, key: str | None) -> LoopbackAuthorizationServer:
    # Not at the top: it is slow, and Ctrl-C may arrive meanwhile.
    from tokenkeeper.testing import JWTAccessTokens, LoopbackAuthorizationServer

    server = LoopbackAuthorizationServer(
        lifetime_seconds=options.lifetime,
        port=options.port,
        scopes=options.scope.split(),
        jwt=JWTAccessTokens(audience=options.audience) if options.jwt else False,
        ca_file=options.tls,
        control_key=key,
    )
    for refusal in options.refuse:
        server.refuse(**refusal)
    if options.outage:
        server.go_down(options.outage)
    return server


def _write_header(path: Path, key: str) -> None:
    """Write the header with the control key to a file that only this user can read.

    A key in a file is not in the list of processes, as it would be if curl had it as an argument.
    """
    from tokenkeeper.testing.control_endpoint import KEY_HEADER

    try:
        handle, new = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as problem:
        problem.filename = path  # the one that the user knows
        raise
    try:
        with open(handle, "w", encoding="ascii") as file:
            file.write(f"{KEY_HEADER}: {key}\n")
        os.replace(new, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise


def _configuration(server: LoopbackAuthorizationServer, options: argparse.Namespace) -> str:
    scopes = options.scope.split()
    text = f"""\
oauth2:
  provider_name: billing
  provider_type: generic
  client_id: {server.client_id}
  client_secret: ${{{VARIABLE}}}
  token_url: {server.token_url}
  scope: {"read" if "read" in scopes else json.dumps(options.scope)}
"""
    if options.tls:
        # JSON is YAML; a $ would begin a variable.
        text += f"  verify: {json.dumps(os.path.abspath(options.tls)).replace('$', '$$')}\n"
    return text


def _words(server: LoopbackAuthorizationServer, options: argparse.Namespace) -> str:
    secret = shlex.quote(server.client_secret)
    ca_file = options.tls and shlex.quote(os.path.abspath(options.tls))
    trust = f" REQUESTS_CA_BUNDLE={ca_file}" if ca_file else ""
    words = (
        f"Serving {server.issuer}. Tokens are valid for {server.lifetime_seconds:g} s. "
        "Press Ctrl-C to stop.\n"
        f"Protected API: {server.api_url}\n"
        "Client secret, for the other shell: "
        f"export {VARIABLE}={secret}\n"
        f"Or, without a file: export OAUTH2_CLIENT_ID={server.client_id} "
        f"OAUTH2_CLIENT_SECRET={secret} OAUTH2_TOKEN_URL={server.token_url}{trust}\n"
    )
    if ca_file:
        words += f"CA certificate: curl --cacert {ca_file}\n"
    if options.jwt:
        words += f"Keys of the JWTs: {server.jwks_url}\n"
    if options.control:
        file = shlex.quote(f"@{os.path.abspath(options.control)}")
        words += f"Control: curl -H {file} {server.issuer}/control/stats\n"
    return words


def _refused(port: int, problem: OSError) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"Port {port} is in use. Stop its program, or choose another with --port.\n"
    if problem.filename is not None:
        return f"Can't write {problem.filename}: {problem.strerror}\n"
    return f"Can't listen on port {port} of 127.0.0.1: {problem.strerror}\n"


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)  # at once: there is nothing to clean up


if __name__ == "__main__":
    main()
