import os
import struct

import mssql_python

from tokenkeeper import TokenKeeper

SQL_COPT_SS_ACCESS_TOKEN = 1256


def connect(source):
    """Connect, and once more with a new token if the server rejects the first."""
    token = source()
    try:
        return connect_with(token)
    except mssql_python.Error as error:
        if "Login failed" not in str(error):
            raise
        return connect_with(source.renew_refused(token))


def connect_with(token):
    packed = token.encode("utf-16-le")
    attributes = {SQL_COPT_SS_ACCESS_TOKEN: struct.pack("<I", len(packed)) + packed}
    return mssql_python.connect(os.environ["MSSQL"], attrs_before=attributes)


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        # The scope of the source is https://database.windows.net/.default
        connection = connect(keeper.source("oauth2"))
        print(connection.execute("SELECT 42").fetchone()[0])
        connection.close()
