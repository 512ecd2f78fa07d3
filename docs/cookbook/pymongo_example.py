import os

from pymongo import MongoClient

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.pymongo import KeeperOIDCCallback

with TokenKeeper.from_env() as keeper:
    callback = KeeperOIDCCallback(keeper.source("oauth2"))
    with MongoClient(
        os.environ["MONGODB_URI"],
        authMechanism="MONGODB-OIDC",
        authMechanismProperties={"OIDC_CALLBACK": callback},
    ) as client:
        print(client.admin.command("ping")["ok"])
