import os

from qdrant_client import QdrantClient

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.httpx import KeeperAuth

with TokenKeeper.from_env() as keeper:
    auth = KeeperAuth(keeper.source("oauth2"), timeout=20)
    client = QdrantClient(os.environ["QDRANT_URL"], auth=auth, check_compatibility=False)
    print([each.name for each in client.get_collections().collections])
    client.close()
