import os
from pathlib import Path

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.grpc import KeeperPlugin, RenewingInterceptor


def exporter(source, endpoint, authority):
    class Exporter(OTLPSpanExporter):
        def _initialize_channel_and_stub(self):  # private: there is no other way to the channel
            super()._initialize_channel_and_stub()
            channel = grpc.intercept_channel(self._channel, RenewingInterceptor(source))
            self._client = self._stub(channel)

    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(authority),
        grpc.metadata_call_credentials(KeeperPlugin(source)),
    )
    return Exporter(endpoint=endpoint, credentials=credentials)


if __name__ == "__main__":
    authority = Path(os.environ["OTLP_CA"]).read_bytes()
    with TokenKeeper.from_env() as keeper:
        provider = TracerProvider()
        sent = exporter(keeper.source("oauth2"), os.environ["OTLP_URL"], authority)
        provider.add_span_processor(BatchSpanProcessor(sent))
        with provider.get_tracer("billing").start_as_current_span("invoice"):
            print("traced")
        provider.shutdown()  # sends what is left, so before the keeper is closed
