"""Connect a pool to PostgreSQL with access tokens as passwords."""

import os

from psycopg_pool import ConnectionPool

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.psycopg import connection_class

with TokenKeeper.from_env() as keeper:
    pool = ConnectionPool(
        os.environ["DATABASE_URL"],  # for example postgresql://app@db.example.com/app
        connection_class=connection_class(keeper.source("oauth2")),
        check=ConnectionPool.check_connection,
        open=False,
    )
    with pool, pool.connection() as connection:
        [user] = connection.execute("SELECT current_user").fetchone()
        print("connected as", user)
