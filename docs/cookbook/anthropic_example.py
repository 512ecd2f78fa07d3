import os

from anthropic import Anthropic

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.anthropic import http_client

PROMPT = {"role": "user", "content": "Does the token work?"}
UNUSED = "the HTTP client has the token"

with TokenKeeper.from_env() as keeper:
    http = http_client(keeper.source("oauth2"))
    with Anthropic(auth_token=UNUSED, http_client=http) as client:
        answer = client.messages.create(
            model=os.environ["MODEL"], max_tokens=100, messages=[PROMPT]
        )
        print(answer.content[0].text)
