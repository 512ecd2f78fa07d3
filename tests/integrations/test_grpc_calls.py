"""gRPC calls with a keeper's token over real TLS, to a server that refuses some."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import trustme

from tokenkeeper.integrations.grpc import KeeperPlugin, RenewingInterceptor

METHOD = "/things.Things/Get"


class Things(grpc.GenericRpcHandler):
    """Says which token it got, if the API takes it."""

    def __init__(self, api):
        self.api = api

    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(self.get)

    def get(self, request, context):
        header = dict(context.invocation_metadata()).get("authorization", "")
        token = header.removeprefix("Bearer ")
        self.api.seen.append((METHOD, token, request))
        if token not in self.api.valid:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        return token.encode()


@pytest.fixture
def call(api, keeper):
    """Return what makes a call by way of a channel that has plugin and interceptor."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    with ThreadPoolExecutor(64) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((Things(api),))
        pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        server.start()
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(authority.cert_pem.bytes()),
            grpc.metadata_call_credentials(KeeperPlugin(keeper, "api")),
        )
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            watched = grpc.intercept_channel(channel, RenewingInterceptor(keeper, "api"))
            yield lambda: watched.unary_unary(METHOD)(b"", timeout=30).decode()
        server.stop(None).wait(30)


def test_a_revoked_token(api, provider, call):
    """A call that is refused renews once, and is made again."""
    assert call() == "token-1"
    api.valid.clear()
    assert call() == "token-2"
    assert provider.minted == 2


def test_a_second_refusal(api, provider, call):
    """A second refusal is the caller's."""
    provider.good = False
    with pytest.raises(grpc.RpcError) as raised:
        call()
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert api.tokens == ["token-1", "token-2"]


def test_a_crowd(api, provider, call, crowd):
    """Of 50 calls at once, all refused, each succeeds, with one renewal for all."""
    call()
    api.valid.clear()
    assert set(crowd(50, call)) == {"token-2"}
    assert provider.minted == 2


def test_no_token(keeper, call):
    """A call for which there is no token ends with the reason."""
    keeper.close()
    with pytest.raises(Exception, match="closed"):
        call()
