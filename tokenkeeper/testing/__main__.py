"""``python -m tokenkeeper.testing`` runs the loopback authorization server from a shell."""

from __future__ import annotations

import argparse
import errno
import math
import os
import shlex
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenkeeper.testing.server import LoopbackAuthorizationServer

__all__ = ["PORT", "main", "parser"]

PORT = 6749
"""The default port, fixed so that a file can name it; after RFC 6749."""

VARIABLE = "BILLING_SECRET"
"""The variable with the secret: a secret in the printed configuration would cause warnings."""


def main() -> None:
    """Print a configuration for a client, then serve until a signal ends the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    arguments = parser()
    options = arguments.parse_args()
    # Not at the top: it is slow, and Ctrl-C may arrive meanwhile.
    from tokenkeeper.testing.server import LoopbackAuthorizationServer

    server = LoopbackAuthorizationServer(lifetime_seconds=options.lifetime, port=options.port)
    try:
        server.start()
    except OSError as problem:
        arguments.exit(1, _refused(options.port, problem))
    print(_configuration(server), end="", flush=True)  # noqa: T201 - its purpose
    print(_words(server), end="", flush=True, file=sys.stderr)  # noqa: T201
    while True:  # Windows notices a signal only between two waits
        threading.Event().wait(1.0)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parser = argparse.ArgumentParser(
        "python -m tokenkeeper.testing",
        description="Run an authorization server on 127.0.0.1, to try things out. "
        "Print a configuration file for one of its clients, and serve until Ctrl-C.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--port", type=_port, default=PORT, help="port to listen on; 0 for a free one"
    )
    parser.add_argument(
        "--lifetime",
        type=_lifetime,
        default=3600,
        metavar="SECONDS",
        help="lifetime of its tokens",
    )
    return parser


def _configuration(server: LoopbackAuthorizationServer) -> str:
    return f"""\
oauth2:
  provider_name: billing
  provider_type: generic
  client_id: {server.client_id}
  client_secret: ${{{VARIABLE}}}
  token_url: {server.token_url}
  scope: read
"""


def _words(server: LoopbackAuthorizationServer) -> str:
    secret = shlex.quote(server.client_secret)
    return (
        f"Serving {server.issuer}. Tokens are valid for {server.lifetime_seconds:g} s. "
        "Press Ctrl-C to stop.\n"
        f"Protected API: {server.api_url}\n"
        "Client secret, for the other shell: "
        f"export {VARIABLE}={secret}\n"
        f"Or, without a file: export OAUTH2_CLIENT_ID={server.client_id} "
        f"OAUTH2_CLIENT_SECRET={secret} OAUTH2_TOKEN_URL={server.token_url}\n"
    )


def _refused(port: int, problem: OSError) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"Port {port} is in use. Stop its program, or choose another with --port.\n"
    return f"Can't listen on port {port} of 127.0.0.1: {problem.strerror}\n"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def _lifetime(text: str) -> float:
    with suppress(ValueError):
        seconds = float(text)
        if 0 < seconds < math.inf:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)  # at once: there is nothing to clean up


if __name__ == "__main__":
    main()
