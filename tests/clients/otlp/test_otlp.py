"""The OTLP exporters against collectors that ask the authorization server about each token."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import requests
import trustme
from kit.cookbook import example
from kit.guards import GUARD_SECONDS
from kit.servers.base import Answer
from kit.servers.bearer_api import BearerApi
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as otlp_grpc
from opentelemetry.exporter.otlp.proto.http import trace_exporter as otlp_http
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from tokenkeeper.integrations.grpc import KeeperPlugin

CROWD = 12
SUCCESS, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE


@pytest.fixture
def spans():
    """Return a span that has ended, in a list."""
    span = TracerProvider().get_tracer("billing").start_span("invoice")
    span.end()
    return [span]


@pytest.fixture
def collector(server):
    """Return a collector for OTLP over HTTP."""
    with BearerApi(server.is_alive, lambda request: Answer(200)) as collector:
        yield collector


class GrpcCollector(grpc.GenericRpcHandler):
    """A collector for OTLP over gRPC and TLS.

    :ivar tokens: the tokens that were presented, in order.
    """

    def __init__(self, is_alive):
        self._is_alive = is_alive
        self.tokens = []

    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(self._export)

    def _export(self, request, context):
        metadata = dict(context.invocation_metadata())
        self.tokens.append(metadata.get("authorization", "").removeprefix("Bearer "))
        if not self._is_alive(self.tokens[-1]):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "invalid token")
        return b""


@pytest.fixture
def grpc_collector(server):
    """Return a collector for OTLP over gRPC, with its address and the CA that it needs."""
    collector, authority = GrpcCollector(server.is_alive), trustme.CA()
    certificate = authority.issue_cert("localhost")
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    with ThreadPoolExecutor(4) as pool:
        served = grpc.server(pool)
        served.add_generic_rpc_handlers((collector,))
        port = served.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        served.start()
        collector.address = f"localhost:{port}"
        collector.authority = authority
        yield collector
        served.stop(None).wait(GUARD_SECONDS)


def test_a_crowd_of_http_exporters_recovers_with_one_renewal(
    server, collector, source, spans, crowd, requests_of
):
    """Exporters recover from a revocation with one renewal, and lose no spans."""
    session = requests.Session()
    session.auth = source.auth()

    def export():
        exporter = otlp_http.OTLPSpanExporter(endpoint=collector.origin, session=session)
        return exporter.export(spans)

    assert crowd(CROWD, export) == [SUCCESS] * CROWD
    server.revoke_all()
    assert crowd(CROWD, export) == [SUCCESS] * CROWD
    assert requests_of() == 2
    assert len({request.body for request in collector.received}) == 1


def test_a_crowd_of_grpc_exporters_recovers_with_one_renewal(
    server, grpc_collector, source, spans, crowd, requests_of
):
    """Exporters with the interceptor recover from a revocation with one renewal."""
    authority = grpc_collector.authority.cert_pem.bytes()
    exporter = example("otlp_grpc").exporter(source, grpc_collector.address, authority)
    assert crowd(CROWD, lambda: exporter.export(spans)) == [SUCCESS] * CROWD
    server.revoke_all()
    assert crowd(CROWD, lambda: exporter.export(spans)) == [SUCCESS] * CROWD
    exporter.shutdown()
    assert requests_of() == 2


def test_a_plain_grpc_exporter_loses_spans_until_the_token_is_renewed(
    server, grpc_collector, source, spans, requests_of
):
    """The plugin is asked for each export, but never hears of ``UNAUTHENTICATED``."""
    exporter = otlp_grpc.OTLPSpanExporter(
        endpoint=grpc_collector.address,
        credentials=grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(grpc_collector.authority.cert_pem.bytes()),
            grpc.metadata_call_credentials(KeeperPlugin(source)),
        ),
    )
    assert exporter.export(spans) == SUCCESS
    server.revoke_all()
    assert [exporter.export(spans), exporter.export(spans)] == [FAILURE] * 2
    assert requests_of() == 1
    source.renew_refused(source())
    assert exporter.export(spans) == SUCCESS
    exporter.shutdown()


def test_the_example_for_http(collector, run_example):
    """The program of the page sends its span before it ends."""
    assert run_example("otlp", OTLP_URL=collector.origin) == "traced\n"
    assert [b"invoice" in request.body for request in collector.received] == [True]


def test_the_example_for_grpc(grpc_collector, run_example, tmp_path):
    """The program of the page sends its span before it ends."""
    file = tmp_path / "ca.pem"
    file.write_bytes(grpc_collector.authority.cert_pem.bytes())
    assert run_example("otlp_grpc", OTLP_URL=grpc_collector.address, OTLP_CA=file) == "traced\n"
    assert len(grpc_collector.tokens) == 1
