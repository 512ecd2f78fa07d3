"""Stores: where the processes of a fleet share tokens, failures and claims."""

from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.base import Claim, Record, SharedFailure, TokenStore

__all__ = ["Claim", "Record", "SharedFailure", "StoreUnavailableError", "TokenStore"]
