"""Connect to a database whose passwords are access tokens."""

import os

from sqlalchemy import create_engine, text

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.sqlalchemy import authenticate

# For example postgresql+psycopg://app@db.example.com/app: a user, and no password.
engine = create_engine(os.environ["DATABASE_URL"], pool_pre_ping=True)

with TokenKeeper.from_env() as keeper:
    authenticate(engine, keeper.source("oauth2"))
    with engine.connect() as connection:
        print("connected as", connection.scalar(text("SELECT current_user")))
    engine.dispose()
