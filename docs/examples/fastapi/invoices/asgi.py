"""The entry point of a server: ``uvicorn invoices.asgi:app``."""

from invoices.app import create_app
from tokenkeeper import TokenKeeper, set_default_keeper

set_default_keeper(TokenKeeper.from_env())
app = create_app()
