"""The former name of :mod:`tokenkeeper.oauth.redaction`."""

from tokenkeeper.hiding import HIDDEN
from tokenkeeper.oauth.redaction import sanitize as tame

__all__ = ["HIDDEN", "tame"]
