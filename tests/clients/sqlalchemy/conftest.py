"""SQLAlchemy against PostgreSQL, with each of its drivers."""

from kit.servers.postgres import postgres, postgres_server  # noqa: F401 - fixtures
