import os

import grpc

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.grpc import KeeperPlugin, RenewingInterceptor

with TokenKeeper.from_env() as keeper:
    source = keeper.source("oauth2")
    tokens = grpc.metadata_call_credentials(KeeperPlugin(source))
    secure = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(), tokens)
    with grpc.secure_channel(os.environ["GRPC_TARGET"], secure) as channel:
        renewing = grpc.intercept_channel(channel, RenewingInterceptor(source))
        get = renewing.unary_unary("/things.Things/Get")  # or ThingsStub(renewing).Get
        print(get(b"7", timeout=20).decode())
