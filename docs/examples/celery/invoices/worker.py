"""The entry point of a worker: ``celery -A invoices.worker worker``."""

from invoices.app import app
from tokenkeeper import TokenKeeper, set_default_keeper

__all__ = ["app"]

# Runs before the pool forks. Each child keeps the tokens and renews them itself.
set_default_keeper(TokenKeeper.from_env())
