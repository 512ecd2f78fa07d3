import os
from pathlib import Path

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.grpc import KeeperPlugin

with TokenKeeper.from_env() as keeper:
    exporter = OTLPSpanExporter(
        endpoint=os.environ["OTLP_URL"],
        credentials=grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(Path(os.environ["OTLP_CA"]).read_bytes()),
            grpc.metadata_call_credentials(KeeperPlugin(keeper.source("oauth2"))),
        ),
    )
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with provider.get_tracer("billing").start_as_current_span("invoice"):
        print("traced")
    provider.shutdown()  # sends what is left, so before the keeper is closed
