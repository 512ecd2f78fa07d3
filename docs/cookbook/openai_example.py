import os

from openai import OpenAI

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.openai import http_client

PROMPT = {"role": "user", "content": "Does the token work?"}

with TokenKeeper.from_env() as keeper:
    source = keeper.source("oauth2")
    with OpenAI(api_key=source, http_client=http_client(source)) as client:
        answer = client.chat.completions.create(model=os.environ["MODEL"], messages=[PROMPT])
        print(answer.choices[0].message.content)
