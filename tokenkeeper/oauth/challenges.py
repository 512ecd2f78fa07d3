"""Reads the ``WWW-Authenticate`` header of a refusal (RFC 9110 §11.6.1, RFC 6750 §3)."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Challenge", "parameters_in", "read_challenge"]

LONGEST_HEADER = 4000
"""Characters of the header that are read."""

_PARAMETER = r"\b([\w-]{1,40})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))"


class Challenge(NamedTuple):
    """The content of a challenge, as the server sent it.

    :ivar scheme: the authentication scheme, such as ``Basic``.
    :ivar realm: the protected area; "" if it names none.
    :ivar error: the error code (RFC 6750 §3.1); "" if it names none.
    :ivar error_description: the server's description; "" if there is none.
    """

    scheme: str
    realm: str = ""
    error: str = ""
    error_description: str = ""


def read_challenge(header: str) -> Challenge | None:
    """Return the first challenge of *header*, or ``None`` if there is none."""
    header = header[:LONGEST_HEADER]
    if not header.strip():
        return None
    parameters = parameters_in(header)
    return Challenge(
        header.split()[0].rstrip(","),
        parameters.get("realm", ""),
        parameters.get("error", ""),
        parameters.get("error_description", ""),
    )


def parameters_in(header: str) -> dict[str, str]:
    """Return the parameters of *header* by their names in lower case; the first of each name."""
    return {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted or bare)
        for name, quoted, bare in reversed(re.findall(_PARAMETER, header[:LONGEST_HEADER]))
    }
