"""Authenticate at Redis or Valkey with access tokens as the passwords of a user."""

import os

import redis

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.redis import StreamingKeeperCredentialProvider

with TokenKeeper.from_env() as keeper:
    credentials = StreamingKeeperCredentialProvider(keeper.source("oauth2"), username="app")
    with redis.Redis(
        host=os.environ["REDIS_HOST"],
        port=int(os.environ["REDIS_PORT"]),
        credential_provider=credentials,
        redis_connect_func=credentials.on_connect,
        decode_responses=True,
    ) as client:
        print("connected as", client.acl_whoami())
