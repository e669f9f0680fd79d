"""Traces to an OpenTelemetry collector: Serve makes a span of every hop, and this says where they go.

Switched on in the Serve config file, for the whole cluster (Serve samples 1 % unless told otherwise):

    tracing_config: {enabled: true, exporter_import_path: "deployments.tracing:collector", sampling_ratio: 0.01}

The collector's address and headers come from the variables that OpenTelemetry's SDK itself reads, on every node:
OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME. A caller's `traceparent` header is taken up.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def collector() -> list[SpanProcessor]:
    """What Serve sends spans to: batches over HTTP, from a thread of their own."""
    # Here, because only who traces needs the package (extra `trace`).
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return [BatchSpanProcessor(OTLPSpanExporter())]


def describe(**attributes: str | float | list[str]) -> None:
    """Adds attributes to the span of the request under way; nothing where tracing is off."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attributes({f"aisle.{name}": value for name, value in attributes.items()})


def stages(timings_ms: Mapping[str, float]) -> dict[str, float]:
    """A batch's stage times as attributes."""
    return {f"{stage}_ms": ms for stage, ms in timings_ms.items()}
