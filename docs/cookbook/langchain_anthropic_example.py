import os
from functools import cached_property
from typing import Any

from anthropic import Anthropic, AsyncAnthropic
from langchain_anthropic import ChatAnthropic

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.anthropic import async_http_client, http_client


class KeeperChatAnthropic(ChatAnthropic):
    source: Any

    @cached_property
    def _client(self):
        return Anthropic(**self._options(http_client(self.source)))

    @cached_property
    def _async_client(self):
        return AsyncAnthropic(**self._options(async_http_client(self.source)))

    def _options(self, client):
        ours = {"api_key": None, "auth_token": "unused", "http_client": client}
        return self._client_params | ours


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        model = KeeperChatAnthropic(model=os.environ["MODEL"], source=keeper.source("oauth2"))
        print(model.invoke("Does the token work?").text)
