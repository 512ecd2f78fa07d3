import os

from gql import Client, gql
from gql.transport.httpx import HTTPXTransport

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.httpx2 import KeeperAuth

with TokenKeeper.from_env() as keeper:
    auth = KeeperAuth(keeper.source("oauth2"))
    transport = HTTPXTransport(os.environ["GRAPHQL_URL"], auth=auth)
    with Client(transport=transport) as session:
        print(session.execute(gql("{ greeting }")))
