import os

import requests

from tokenkeeper import TokenKeeper

with TokenKeeper.from_env() as keeper, requests.Session() as session:
    session.auth = keeper.source("oauth2").auth(timeout=20)
    answer = session.get(os.environ["API_URL"], timeout=10)
    print(answer.status_code, answer.json()["path"])
