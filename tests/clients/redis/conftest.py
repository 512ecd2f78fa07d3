"""redis-py against Valkey, which speaks the same protocol."""

from kit.servers.valkey import server, valkey, valkey_server  # noqa: F401 - fixtures
