"""The former name of :mod:`tokenkeeper.oauth.redaction`."""

from tokenkeeper.oauth.redaction import HIDDEN
from tokenkeeper.oauth.redaction import sanitize as tame

__all__ = ["HIDDEN", "tame"]
