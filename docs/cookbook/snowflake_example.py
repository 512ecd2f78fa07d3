import os

import snowflake.connector
from snowflake.connector.errors import DatabaseError

from tokenkeeper import TokenKeeper

REJECTED = {390303, 390318}  # an invalid or expired OAuth token


def connect(source, **options):
    """Connect, and once more with a new token if Snowflake rejects the first."""
    token = source()
    try:
        return snowflake.connector.connect(authenticator="oauth", token=token, **options)
    except DatabaseError as error:
        if error.errno not in REJECTED:
            raise
        token = source.renew_refused(token)
        return snowflake.connector.connect(authenticator="oauth", token=token, **options)


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        connection = connect(
            keeper.source("oauth2"),
            account="contoso",
            user="reader",
            host=os.environ["SNOWFLAKE_HOST"],
            port=int(os.environ.get("SNOWFLAKE_PORT", "443")),
            protocol=os.environ.get("SNOWFLAKE_PROTOCOL", "https"),
            enable_server_session_keep_alive_auto_detection=True,
        )
        print(connection.cursor().execute("SELECT 42").fetchone()[0])
        connection.close()
