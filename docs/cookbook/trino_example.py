import os

import requests
from trino.dbapi import connect

from tokenkeeper import TokenKeeper


def connection(source):
    session = requests.Session()
    session.auth = source.auth()
    return connect(host=os.environ["TRINO_URL"], user="billing", http_session=session)


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper, connection(keeper.source("oauth2")) as trino:
        cursor = trino.cursor()
        cursor.execute("SELECT 1")
        print(cursor.fetchone()[0])
