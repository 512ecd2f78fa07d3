"""A store in memory, for tests."""

from tokenkeeper.stores.memory import MemoryTokenStore

__all__ = ["MemoryTokenStore"]
