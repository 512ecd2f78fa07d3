"""The options of ``python -m tokenkeeper.testing``."""

from __future__ import annotations

import argparse
import math
from contextlib import suppress
from typing import Any, get_args

from tokenkeeper.testing.faults import Outage

__all__ = ["PORT", "parser"]

PORT = 6749
"""The default port, fixed so that a file can name it; after RFC 6749."""

CA_FILE = "loopback-ca.pem"
CONTROL_FILE = "loopback-control.txt"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parser = argparse.ArgumentParser(
        "python -m tokenkeeper.testing",
        description="Run an authorization server on 127.0.0.1, to try things out. "
        "Print a configuration file for one of its clients, and serve until Ctrl-C.",
        formatter_class=_Formatter,
    )
    add = parser.add_argument
    add("--port", type=_port, default=PORT, help="port to listen on; 0 for a free one")
    add(
        "--lifetime",
        type=_lifetime,
        default=3600,
        metavar="SECONDS",
        help="lifetime of its tokens",
    )
    add("--scope", type=_scope, default="read write", help="what its client may ask for")
    _add_formats(parser)
    _add_faults(parser)
    return parser


def _add_formats(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--jwt", action="store_true", help="grant signed JWTs, with their keys under /jwks")
    add(
        "--audience",
        default="loopback-api",
        help="the JWTs' audience, if the client doesn't ask for one",
    )
    add(
        "--tls",
        nargs="?",
        const=CA_FILE,
        metavar="FILE",
        help=f"serve https, and write the certificate of its CA to FILE ({CA_FILE})",
    )


def _add_faults(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--outage",
        choices=get_args(Outage),
        help="begin with an outage: answer 503, reset connections, or do not answer",
    )
    add(
        "--refuse",
        type=_refusal,
        action="append",
        default=[],
        metavar="ERROR[:TIMES]",
        help="refuse the first token requests, for example by invalid_client:3; repeatable",
    )
    add(
        "--control",
        nargs="?",
        const=CONTROL_FILE,
        metavar="FILE",
        help="let requests under /control/ cause faults if they have the header that is written "
        f"to FILE ({CONTROL_FILE})",
    )


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, []):
            return action.help
        return super()._get_help_string(action)


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


def _scope(text: str) -> str:
    if not text.split() or not text.isascii() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is not a scope")
    return " ".join(text.split())


def _refusal(text: str) -> dict[str, Any]:
    error, colon, times = text.partition(":")
    if not error or not (error.isidentifier() and error.isascii()):
        raise argparse.ArgumentTypeError(f"{text!r} is not an error code, such as invalid_client")
    if colon and not (times.isdecimal() and 1 <= int(times) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not ERROR:TIMES, with 1 to 10000 times")
    return {"error": error, "times": int(times) if colon else 1}
