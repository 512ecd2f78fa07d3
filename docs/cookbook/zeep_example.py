import os

import requests
import zeep

from tokenkeeper import TokenKeeper

with TokenKeeper.from_env() as keeper, requests.Session() as session:
    session.auth = keeper.source("oauth2").auth(timeout=20)
    transport = zeep.Transport(session=session, operation_timeout=10)
    client = zeep.Client(os.environ["WSDL_URL"], transport=transport)
    print(client.service.Price("apples"))
