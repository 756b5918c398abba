"""Reads the OTEL_* variables and exports traces. While tracing is off, nothing of OpenTelemetry is imported.

The variables are those of OpenTelemetry's specification, and its SDK reads them. Values that the SDK would drop, or
only report in each worker's log, are rejected here before startup.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from bookstore.config.text import excerpt
from bookstore.exceptions import ConfigurationError
from bookstore.profile.engine_profile import EngineProfile

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

FLUSH_TIMEOUT_S: Final = 3.0
"""How long shutdown waits for the collector to receive the last spans."""

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

# The headers that the SDK can read. It logs any other one with its value.
_SAMPLERS: Final = ("always_on", "always_off", "traceidratio")
_RATIO: Final = re.compile(r"[0-9]{1,9}|[0-9]{0,9}\.[0-9]{1,18}")
_LIMIT: Final = re.compile(r"OTEL_\w+_LIMIT")
_HEADER: Final = re.compile(r'[^ "(),/:;<=>?@[\]\\{}]+ *=[^",;\\]*')


def is_enabled(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether `environ` enables tracing. Raises ConfigurationError if a variable is invalid or OpenTelemetry is
    not installed."""
    given = {name: text.strip() for name, text in environ.items() if name.startswith("OTEL_") and text.strip()}
    exporter = given.get("OTEL_TRACES_EXPORTER", "").lower()
    if given.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none":
        return False
    if not (exporter or given.keys() & set(_ENDPOINTS)):
        return False
    if exporter not in {"", "otlp", "console"}:
        raise ConfigurationError(f"OTEL_TRACES_EXPORTER: found '{excerpt(exporter)}'; allowed are otlp, console, none")
    for name in given.keys() & set(_PROTOCOLS):
        if given[name] != "http/protobuf":
            raise ConfigurationError(
                f"{name}: found '{excerpt(given[name])}'; allowed is http/protobuf (a collector's port 4318)"
            )
    for name in given.keys() & set(_ENDPOINTS):
        _check_endpoint(name, given[name])
    for name in given.keys() & set(_HEADERS):
        headers = [header.strip() for header in given[name].split(",") if header.strip()]
        if not all(_HEADER.fullmatch(header) and header.isascii() and header.isprintable() for header in headers):
            raise ConfigurationError(f"{name}: invalid value; allowed is NAME=value,NAME=value, URL-encoded")
    if any(find_spec(name) is None for name in _NEEDED):
        raise ConfigurationError(
            "OTEL_… enables tracing, but OpenTelemetry is not installed; run pip install '.[tracing]' in a checkout, "
            "or set OTEL_SDK_DISABLED=true"
        )
    _check_sdk(given)
    return True


def _check_sdk(given: Mapping[str, str]) -> None:
    """Reject values that the SDK would fail on in each worker or ignore. With a misspelt sampler it would trace every
    request."""
    sampler = given.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").lower()
    if sampler.removeprefix("parentbased_") not in _SAMPLERS:
        raise ConfigurationError(
            f"OTEL_TRACES_SAMPLER: found '{excerpt(sampler)}'; allowed are {', '.join(_SAMPLERS)}, "
            f"each also with the prefix parentbased_"
        )
    ratio = given.get("OTEL_TRACES_SAMPLER_ARG", "1")
    if sampler.endswith("ratio") and not (_RATIO.fullmatch(ratio) and float(ratio) <= 1):
        raise ConfigurationError(
            f"OTEL_TRACES_SAMPLER_ARG: found '{excerpt(ratio)}'; allowed is a number from 0 to 1, such as 0.01"
        )
    for name, text in given.items():
        least = 0 if _LIMIT.fullmatch(name) else 1 if name.startswith("OTEL_BSP_") else None
        if least is not None and not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= least):
            raise ConfigurationError(f"{name}: found '{excerpt(text)}'; allowed is a whole number of at least {least}")
    queue = int(given.get("OTEL_BSP_MAX_QUEUE_SIZE", "2048"))
    if (batch := int(given.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512"))) > queue:
        raise ConfigurationError(
            f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE: found {batch}; allowed is at most OTEL_BSP_MAX_QUEUE_SIZE, {queue}"
        )


def _check_endpoint(name: str, text: str) -> None:
    """Reject an endpoint that is invalid, or contains a secret, because messages about an unreachable collector quote
    it."""
    try:
        parts = urlsplit(text)
        fits = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1)
    except ValueError:
        fits = False
    if not fits or "@" in text or "?" in text or "#" in text:
        raise ConfigurationError(
            f"{name}: invalid value; allowed is http://HOST:PORT, and secrets belong in {_HEADERS[1]}"
        )


def make_provider(profile: EngineProfile) -> TracerProvider:
    """Return the tracer provider of this process, with the sampler and limits that the environment sets."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 - only if enabled
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above

    ours = {
        "service.name": "bookstore",
        "service.version": version("bookstore"),
        "service.instance.id": f"{socket.gethostname()}/{os.getpid()}",
        "bookstore.profile": profile.name,
    }
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override ours.
    resource = Resource.create(ours | dict(OTELResourceDetector().detect().attributes))
    return TracerProvider(resource=resource, shutdown_on_exit=False)


@asynccontextmanager
async def exporting(provider: TracerProvider, environ: Mapping[str, str] = os.environ) -> AsyncIterator[None]:
    """Export the provider's spans from a thread while the `async with` block runs. At its end, send the last ones or
    drop them after FLUSH_TIMEOUT_S."""
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415 - only if enabled
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SpanExporter,
    )

    exporter: SpanExporter
    if environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "console":
        exporter = ConsoleSpanExporter(out=sys.stderr)  # stdout is for data
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - as above

        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # log each failed batch, not each attempt
        exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield
    finally:
        flushing = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, FLUSH_TIMEOUT_S)
        if flushing.is_alive():
            exporter.shutdown()  # stops its retries
