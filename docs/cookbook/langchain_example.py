import os

from langchain_openai import ChatOpenAI

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.openai import http_client

with TokenKeeper.from_env() as keeper, http_client(keeper.source("oauth2")) as http:
    model = ChatOpenAI(model=os.environ["MODEL"], api_key="unused", http_client=http)
    print(model.invoke("Does the token work?").text)
