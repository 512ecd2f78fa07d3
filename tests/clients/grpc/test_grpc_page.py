"""The cookbook's page on gRPC."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from kit.guards import GUARD_SECONDS
from kit.servers.guarded import certificate_in

from tokenkeeper.integrations.grpc import KeeperPlugin, RenewingInterceptor


@pytest.fixture
def certificate(tmp_path):
    """Return the certificate of the gRPC server."""
    return certificate_in(tmp_path)


@pytest.fixture
def target(server, certificate):
    """Return the address of a gRPC server that refuses what the authorization server revoked."""

    def get(request, context):
        token = dict(context.invocation_metadata()).get("authorization", "")
        if not server.is_alive(token.removeprefix("Bearer ")):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "invalid token")
        return b"thing " + request

    pair = (certificate.key.read_bytes(), certificate.chain.read_bytes())
    with ThreadPoolExecutor(8) as pool:
        things = grpc.server(pool)
        things.add_registered_method_handlers(
            "things.Things", {"Get": grpc.unary_unary_rpc_method_handler(get)}
        )
        port = things.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        things.start()
        yield f"localhost:{port}"
        things.stop(None).wait(GUARD_SECONDS)


def test_the_example_runs(run_example, target, certificate):
    """The example makes a call."""
    roots = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": certificate.ca}
    assert run_example("grpc", GRPC_TARGET=target, **roots) == "thing 7\n"


def test_a_crowd_recovers_with_one_renewal(server, source, target, certificate, crowd, requests_of):
    """Calls whose token was revoked share one renewal, and each gets its answer."""
    secure = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(certificate.ca.read_bytes()),
        grpc.metadata_call_credentials(KeeperPlugin(source)),
    )
    with grpc.secure_channel(target, secure) as channel:
        renewing = grpc.intercept_channel(channel, RenewingInterceptor(source))
        get = renewing.unary_unary("/things.Things/Get")

        def call():
            return get(b"7", timeout=GUARD_SECONDS)

        assert crowd(8, call) == [b"thing 7"] * 8
        server.revoke_all()
        assert crowd(8, call) == [b"thing 7"] * 8
    assert requests_of() == 2
