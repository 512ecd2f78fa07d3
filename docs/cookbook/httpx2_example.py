import os

import httpx2

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.httpx2 import KeeperAuth

with TokenKeeper.from_env() as keeper:
    auth = KeeperAuth(keeper.source("oauth2"))
    with httpx2.Client(auth=auth) as client:
        answer = client.get(os.environ["API_URL"])
        print(answer.status_code)
