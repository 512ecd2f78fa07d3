"""The entry point of a worker: ``celery -A invoices.worker worker``."""

from invoices.app import app
from tokenkeeper import TokenKeeper, set_default_keeper

__all__ = ["app"]

# Runs before the pool forks. Each child is a member of the fleet, and so is every other worker.
set_default_keeper(TokenKeeper.from_env())
