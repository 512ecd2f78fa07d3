"""psycopg and psycopg_pool against PostgreSQL."""

from kit.servers.postgres import postgres, postgres_server  # noqa: F401 - fixtures
