"""A gRPC server over real TLS that refuses what the API refuses, and a call of each kind to it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import trustme
from kit.guards import GUARD_SECONDS

from tokenkeeper.integrations.grpc import KeeperPlugin

GET, LIST, PUT, CHAT = (f"/things.Things/{name}" for name in ("Get", "List", "Put", "Chat"))


class Things(grpc.GenericRpcHandler):
    """Responds with the token of a call; with many responses, one for each letter of a request.

    :ivar late: whether a list is refused after its first response, instead of before it.
    :ivar refusal: the status for a token that the API refuses.
    :ivar plain: the address at which the server speaks no TLS.
    :ivar open: while it is cleared, no call gets a response.
    :ivar calls: for each call its metadata, and the seconds until its deadline.
    :ivar called: set when a call arrives.
    :ivar ended: set when a call ends, cancelled or answered.
    """

    def __init__(self, api):
        self.api = api
        self.late = False
        self.refusal = grpc.StatusCode.UNAUTHENTICATED
        self.calls = []
        self.called = threading.Event()
        self.ended = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def service(self, handler_call_details):
        return {
            GET: grpc.unary_unary_rpc_method_handler(self.get),
            LIST: grpc.unary_stream_rpc_method_handler(self.list),
            PUT: grpc.stream_unary_rpc_method_handler(self.put),
            CHAT: grpc.stream_stream_rpc_method_handler(self.chat),
        }[handler_call_details.method]

    def check(self, context):
        metadata = dict(context.invocation_metadata())
        self.calls.append((metadata, context.time_remaining()))
        token = metadata.get("authorization", "").removeprefix("Bearer ")
        self.api.note("grpc", token, b"")
        context.add_callback(self.ended.set)
        self.called.set()
        assert self.open.wait(GUARD_SECONDS)
        if token not in self.api.valid:
            context.abort(self.refusal, "no")
        if not self.late:
            context.send_initial_metadata([("x-token", token)])
        return token.encode()

    def get(self, request, context):
        return self.check(context)

    def list(self, request, context):
        if self.late:
            yield b"first"
        token = self.check(context)
        for letter in request:
            yield token + b" " + bytes([letter])

    def put(self, requests, context):
        return self.check(context) + b" " + b"".join(requests)

    def chat(self, requests, context):
        token = self.check(context)
        for request in requests:
            yield token + b" " + request


@contextmanager
def served(api):
    """Yield the server's handler, its address and the channel credentials that it needs."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    things = Things(api)
    with ThreadPoolExecutor(64) as pool:
        server = things.server = grpc.server(pool)
        server.add_generic_rpc_handlers((things,))
        pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        things.plain = f"localhost:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
            yield things, f"localhost:{port}", trusted
        finally:
            server.stop(None).wait(GUARD_SECONDS)


def with_tokens_of(keeper, trusted, provider_name="api"):
    """Return channel credentials with the plugin."""
    return grpc.composite_channel_credentials(
        trusted, grpc.metadata_call_credentials(KeeperPlugin(keeper, provider_name))
    )


async def everything(call):
    """Return all responses of a call of ``grpc.aio``."""
    return [answer async for answer in call]


CALLS = {
    "unary": lambda channel, **options: channel.unary_unary(GET)(b"", **options),
    "future": lambda channel, **options: channel.unary_unary(GET).future(b"", **options).result(),
    "answers": lambda channel, **options: list(channel.unary_stream(LIST)(b"a", **options)),
    "requests": lambda channel, **options: channel.stream_unary(PUT)(iter([b"a"]), **options),
    "both": lambda channel, **options: list(channel.stream_stream(CHAT)(iter([b"a"]), **options)),
}
"""A blocking call of each kind."""
