import os

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tokenkeeper import TokenKeeper

with TokenKeeper.from_env() as keeper:
    session = requests.Session()
    session.auth = keeper.auth("oauth2")
    exporter = OTLPSpanExporter(endpoint=os.environ["OTLP_URL"], session=session)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with provider.get_tracer("billing").start_as_current_span("invoice"):
        print("traced")
    provider.shutdown()  # sends what is left, so before the keeper is closed
